"""Splats as the `.ply` of 3D Gaussian Splatting (Kerbl et al. 2023), which every splat viewer reads.

Binary little-endian float32, one vertex a splat: `x y z nx ny nz f_dc_0..2 f_rest_* opacity scale_0..2 rot_0..3`.
Opacities are logits, scales natural logarithms, rotations wxyz, and `f_rest` is channel-major: all coefficients of
red, then green, then blue.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from gen3d.assets.arrays import to_numpy
from gen3d.errors import Gen3DError
from gen3d.runtime.files import replacing

MAX_HEADER_BYTES = 65536
MAX_SH_DEGREE = 4
_TYPES = {
    "char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4", "float": "<f4",
    "double": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4",
    "float32": "<f4", "float64": "<f8",
}  # fmt: skip
_POSITION = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_DC = tuple(f"f_dc_{i}" for i in range(3))
_SCALE = tuple(f"scale_{i}" for i in range(3))
_ROTATION = tuple(f"rot_{i}" for i in range(4))


@dataclass(frozen=True)
class SplatCloud:
    """Splats as a file holds them, float32.

    means [N, 3]; quats [N, 4] wxyz; log_scales [N, 3]; opacity_logits [N]; sh_dc [N, 3]; sh_rest [N, K, 3] with
    K = (degree + 1)² - 1, or None for degree 0.
    """

    means: Tensor
    quats: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    sh_dc: Tensor
    sh_rest: Tensor | None


def write_splats(
    path: str | Path,
    means: Tensor | np.ndarray,
    quats: Tensor | np.ndarray,
    log_scales: Tensor | np.ndarray,
    opacity_logits: Tensor | np.ndarray,
    sh_dc: Tensor | np.ndarray,
    sh_rest: Tensor | np.ndarray | None = None,
) -> None:
    """Writes splats (shapes as in `SplatCloud`); equal arrays make equal bytes.

    Raises ValueError where the shapes disagree.
    """
    content = splats_to_bytes(means, quats, log_scales, opacity_logits, sh_dc, sh_rest)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def splats_to_bytes(
    means: Tensor | np.ndarray,
    quats: Tensor | np.ndarray,
    log_scales: Tensor | np.ndarray,
    opacity_logits: Tensor | np.ndarray,
    sh_dc: Tensor | np.ndarray,
    sh_rest: Tensor | np.ndarray | None = None,
) -> bytes:
    """The content of the file that `write_splats` writes."""
    positions = to_numpy(means, (None, 3), "means")
    count = len(positions)
    rest = np.zeros((count, 0), np.float32)
    if sh_rest is not None:
        coefficients = to_numpy(sh_rest, (count, None, 3), "sh_rest")
        _sh_degree(coefficients.shape[1] * 3)
        rest = coefficients.transpose(0, 2, 1).reshape(count, coefficients.shape[1] * 3)
    columns = [
        positions,
        np.zeros((count, 3), np.float32),
        to_numpy(sh_dc, (count, 3), "sh_dc"),
        rest,
        to_numpy(opacity_logits, (count,), "opacity_logits")[:, None],
        to_numpy(log_scales, (count, 3), "log_scales"),
        to_numpy(quats, (count, 4), "quats"),
    ]
    names = [*_POSITION, *_NORMAL, *_DC, *_rest_names(rest.shape[1]), "opacity", *_SCALE, *_ROTATION]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    return "\n".join(header).encode("ascii") + np.concatenate(columns, 1).astype("<f4").tobytes()


def read_splats(path: str | Path) -> SplatCloud:
    """Reads a splat file, with or without normals and of any SH degree up to 4.

    Raises Gen3DError for a file that is missing, not a binary little-endian splat PLY, cut short, or not finite.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            count, dtype = _read_header(file)
            needed = count * dtype.itemsize
            if size - file.tell() < needed:
                raise _Malformed(f"it is cut short: {count} splats need {needed} bytes, {size - file.tell()} follow")
            table = np.frombuffer(file.read(needed), dtype=dtype, count=count)
    except OSError as error:
        raise Gen3DError(f"The splat file {path} cannot be read ({error.strerror}): check the path.") from None
    except _Malformed as error:
        raise Gen3DError(
            f"The file {path} is not a usable splat PLY: {error}. "
            "Export it again as a binary 3D Gaussian Splatting file."
        ) from None
    rest_names = _rest_names(sum(name.startswith("f_rest_") for name in dtype.names or ()))
    rest = _columns(table, rest_names).reshape(count, 3, len(rest_names) // 3).transpose(1, 2) if rest_names else None
    cloud = SplatCloud(
        means=_columns(table, _POSITION),
        quats=_columns(table, _ROTATION),
        log_scales=_columns(table, _SCALE),
        opacity_logits=_columns(table, ("opacity",))[:, 0],
        sh_dc=_columns(table, _DC),
        sh_rest=None if rest is None else rest.contiguous(),
    )
    if not all(bool(torch.isfinite(part).all()) for part in vars(cloud).values() if part is not None):
        raise Gen3DError(f"The splat file {path} holds values that are not finite: export it again.")
    return cloud


class _Malformed(Exception):
    """Why a header is refused, as the middle of a sentence."""


def _read_header(file: BinaryIO) -> tuple[int, np.dtype]:
    """The number of splats and the layout of one, with the file left at the first."""
    if file.readline(8).strip() != b"ply":
        raise _Malformed("it does not begin with 'ply'")
    count, element, fields, binary, budget = -1, "", [], False, MAX_HEADER_BYTES
    while True:
        line = file.readline(budget)
        budget -= len(line)
        if not line.endswith(b"\n"):
            raise _Malformed(f"its header has no end within {MAX_HEADER_BYTES} bytes")
        words = line.decode("ascii", "replace").split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "end_header":
            break
        if words[0] == "format":
            binary = words[1:] == ["binary_little_endian", "1.0"]
            if not binary:
                raise _Malformed(f"its format is '{' '.join(words[1:])[:40]}', not 'binary_little_endian 1.0'")
        elif words[0] == "element" and len(words) == 3:
            if count < 0 and words[1] != "vertex":
                raise _Malformed(f"its first element is '{words[1][:40]}', not 'vertex'")
            element = words[1]
            if element == "vertex":
                count = _parse_count(words[2])
        elif words[0] == "property" and len(words) >= 3:
            if element == "vertex":
                fields.append(_parse_property(words))
        else:
            raise _Malformed(f"its header has the unknown line '{' '.join(words)[:60]}'")
    if not binary or count < 0:
        raise _Malformed("its header names no format or no vertices")
    return count, _layout(fields)


def _parse_count(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 12):
        raise _Malformed(f"its number of vertices is '{word[:40]}'")
    return int(word)


def _parse_property(words: list[str]) -> tuple[str, str]:
    if len(words) != 3 or words[1] not in _TYPES:
        raise _Malformed(f"it has the unsupported property '{' '.join(words[1:])[:60]}'")
    return words[2], _TYPES[words[1]]


def _layout(fields: list[tuple[str, str]]) -> np.dtype:
    names = [name for name, _ in fields]
    if len(set(names)) != len(names):
        raise _Malformed("a property is named twice")
    rest = sum(name.startswith("f_rest_") for name in names)
    try:
        _sh_degree(rest)
    except ValueError as error:
        raise _Malformed(str(error).rstrip(".")) from None
    wanted = (*_POSITION, *_DC, *_rest_names(rest), "opacity", *_SCALE, *_ROTATION)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise _Malformed(f"it lacks the properties {', '.join(missing)[:80]}")
    return np.dtype(fields)


def _rest_names(count: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{i}" for i in range(count))


def _sh_degree(rest: int) -> int:
    """The spherical-harmonics degree with `rest` values of f_rest a splat; ValueError where there is none."""
    degree = math.isqrt(rest // 3 + 1) - 1
    if rest != 3 * ((degree + 1) ** 2 - 1) or degree > MAX_SH_DEGREE:
        raise ValueError(f"{rest} values of f_rest fit no spherical-harmonics degree from 0 to {MAX_SH_DEGREE}.")
    return degree


def _columns(table: np.ndarray, names: tuple[str, ...]) -> Tensor:
    values = np.empty((len(table), len(names)), np.float32)
    for index, name in enumerate(names):
        values[:, index] = table[name]
    return torch.from_numpy(values)
