"""Splats as the `.ply` of 3D Gaussian Splatting (Kerbl et al. 2023), which every splat viewer reads; and what else a
PLY may hold.

Binary little-endian float32, one vertex a splat: `x y z nx ny nz f_dc_0..2 f_rest_* opacity scale_0..2 rot_0..3`.
Opacities are logits, scales natural logarithms, rotations wxyz, and `f_rest` is channel-major: all coefficients of
red, then green, then blue. Y points down in such files, as in the cameras that they were made from.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gen3d.assets.arrays import to_numpy
from gen3d.assets.axes import UPS, Up, from_y_up, to_y_up
from gen3d.assets.ply_elements import Element, read_elements
from gen3d.assets.ply_mesh import mesh_of_ply
from gen3d.assets.ply_packed import unpacked
from gen3d.assets.reading import Malformed, Reading
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_motion import moved_splats
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.rendering.harmonics import MAX_DEGREE
from gen3d.runtime.files import replacing

__all__ = ["SplatCloud", "read_ply", "splats_to_bytes", "write_splats"]

DEFAULT_UP: Up = "-y"
"""What 3DGS and its viewers have: up is where Y falls."""

FAR = 100.0
"""How many of its own sizes a cloud may lie from the origin; one farther away is moved there, as single precision would
blur it.
"""

_COMMENT = re.compile(r"gen3d( \w+=\S+)+")
_MOST_LOGIT = 20.0
_LEAST_LOG_SCALE = -23.0  # 1e-10
_THIN = math.log(0.01)
_POSITION = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_DC = tuple(f"f_dc_{i}" for i in range(3))
_SCALE = tuple(f"scale_{i}" for i in range(3))
_ROTATION = tuple(f"rot_{i}" for i in range(4))
_REST = re.compile(r"f_rest_\d+")


def write_splats(path: str | Path, cloud: SplatCloud, *, up: Up = DEFAULT_UP) -> None:
    """Writes splats; equal splats make equal bytes.

    up: which way is up in the file. A comment says that, and whatever else of the cloud the format leaves open. Raises
    ValueError where the shapes disagree.
    """
    content = splats_to_bytes(cloud, up=up)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def splats_to_bytes(cloud: SplatCloud, *, up: Up = DEFAULT_UP) -> bytes:
    """The content of the file that `write_splats` writes."""
    count = len(to_numpy(cloud.means, (None, 3), "means"))
    shapes: dict[str, tuple[int | None, ...]] = {
        "means": (count, 3), "quats": (count, 4), "log_scales": (count, 3), "opacity_logits": (count,),
        "sh_dc": (count, 3), "sh_rest": (count, None, 3),
    }  # fmt: skip
    if cloud.sh_rest is None:
        del shapes["sh_rest"]
    checked: dict[str, Any] = {
        name: torch.from_numpy(to_numpy(getattr(cloud, name), shape, name)) for name, shape in shapes.items()
    }
    if cloud.sh_rest is not None:
        _sh_degree(cloud.sh_rest.shape[1] * 3)
    cloud = replace(cloud, **checked)
    turned = moved_splats(cloud, from_y_up(up))
    rows = np.zeros((count, 0), np.float32)
    if turned.sh_rest is not None:
        rows = turned.sh_rest.numpy().transpose(0, 2, 1).reshape(count, turned.sh_rest.shape[1] * 3)
    columns = [
        turned.means.numpy(), np.zeros((count, 3), np.float32), turned.sh_dc.numpy(), rows,
        turned.opacity_logits.numpy()[:, None], turned.log_scales.numpy(), turned.quats.numpy(),
    ]  # fmt: skip
    names = [*_POSITION, *_NORMAL, *_DC, *_rest_names(rows.shape[1]), "opacity", *_SCALE, *_ROTATION]
    header = ["ply", "format binary_little_endian 1.0", _comment(up, turned), f"element vertex {count}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    return "\n".join(header).encode("ascii") + np.concatenate(columns, 1).astype("<f4").tobytes()


def read_ply(
    content: bytes, reading: Reading, folder: Path | None = None, up: Up | None = None
) -> SplatCloud | SurfaceMesh:
    """The splats or the mesh in a PLY file of any kind.

    folder: where the textures of a mesh lie. up: which way is up in the file; None takes its own word for it, else
    Y down for splats and Y up for meshes. Raises Malformed.
    """
    ply = read_elements(content, reading)
    vertex = ply.elements.get("vertex")
    if vertex is None:
        raise Malformed(f"it has no element 'vertex', but {', '.join(f'{name[:40]!r}' for name in ply.elements)[:200]}")
    said = _said(ply.comments)
    declared: Up | None = said["up"] if said.get("up") in UPS else None  # type: ignore[assignment]
    if vertex.has("packed_position"):
        columns = unpacked(ply, reading)
    elif any(name in vertex.columns for name in (*_DC, "scale_0", "rot_0")):
        columns = _columns(vertex, reading)
    else:
        return mesh_of_ply(ply, reading, folder).transformed(to_y_up(up or declared or "y"))
    chosen = up or declared
    if chosen is None:
        chosen = DEFAULT_UP
        reading.assume(
            "its splats were taken to have Y down, as in 3D Gaussian Splatting (--from-up y if they have not)"
        )
    widened, volume = _numbers(said, "widened", 1), _numbers(said, "volume", 1)
    cloud = replace(
        _cloud(columns, reading), lit=said.get("light") == "studio", widened=widened[0] if widened else 0.0,
        volume=volume[0] if volume else None, bounds=_numbers(said, "bounds", 6),
    )  # fmt: skip
    return moved_splats(cloud, to_y_up(chosen), back=True)


def _comment(up: Up, cloud: SplatCloud) -> str:
    """The line of the header in which the file tells what the format leaves open, in the axes of the file."""
    words = [f"up={up}", f"light={'studio' if cloud.lit else 'none'}"]
    words += [f"widened={cloud.widened:.6g}"] if cloud.widened else []
    words += [f"volume={cloud.volume:.6g}"] if cloud.volume is not None else []
    words += ["bounds=" + ",".join(f"{x:.9g}" for x in cloud.bounds)] if cloud.bounds is not None else []
    return " ".join(["comment gen3d", *words])


def _said(comments: list[str]) -> dict[str, str]:
    """What such a line among the comments says, by name."""
    for line in comments:
        if _COMMENT.fullmatch(line.strip()):
            return dict(word.split("=", 1) for word in line.split()[1:])
    return {}


def _numbers(said: dict[str, str], name: str, count: int) -> tuple[float, ...] | None:
    """So many numbers of a name, None where they are not there or make no sense."""
    try:
        values = tuple(float(word) for word in said[name].split(","))
    except (KeyError, ValueError):
        return None
    return values if len(values) == count and all(abs(value) < 1e9 for value in values) else None


def _columns(vertex: Element, reading: Reading) -> dict[str, np.ndarray]:
    """What a splat is made of by name, float64 for positions: see `_cloud`."""
    names = vertex.columns
    rest = _rest_names(sum(_REST.fullmatch(name) is not None for name in names))
    try:
        degree = _sh_degree(len(rest))
    except ValueError as error:
        raise Malformed(str(error).rstrip(".")) from None
    scales = tuple(name for name in _SCALE if name in names)
    if scales not in (_SCALE, _SCALE[:2], _SCALE[:1]):
        scales = _SCALE
    wanted = (*_POSITION, *_DC, *rest, "opacity", *scales, *_ROTATION)
    if missing := [name for name in wanted if name not in names]:
        raise Malformed(f"it is no whole file of splats: it lacks the properties {', '.join(missing)[:80]}")
    reading.spend("splats", vertex.count)
    for name in (*names, *vertex.lists):
        if name not in wanted and name not in _NORMAL:
            reading.leave_out(f"property '{name[:40]}'", many=f"properties '{name[:40]}'")
    if degree > MAX_DEGREE:
        reading.assume(f"harmonics above degree {MAX_DEGREE} (of {degree}) were dropped")
    log_scales = vertex.table(scales)
    if len(scales) == 2:
        reading.assume("its splats have two scales, so they were given a thin third axis")
        log_scales = np.concatenate([log_scales, log_scales.min(1, keepdims=True) + _THIN], 1)
    elif len(scales) == 1:
        log_scales = np.repeat(log_scales, 3, axis=1)
    kept = 3 * ((min(degree, MAX_DEGREE) + 1) ** 2 - 1) // 3
    channels = len(rest) // 3
    return {
        "means": vertex.table(_POSITION, np.float64), "quats": vertex.table(_ROTATION), "log_scales": log_scales,
        "opacity_logits": vertex.table(("opacity",)), "sh_dc": vertex.table(_DC),
        "sh_rest": vertex.table(rest).reshape(vertex.count, 3, channels)[:, :, :kept].reshape(vertex.count, 3 * kept),
    }  # fmt: skip


def _cloud(columns: dict[str, np.ndarray], reading: Reading) -> SplatCloud:
    """Splats without the rows that cannot be drawn. columns: those of `SplatCloud` by name, [N, C] each, means in
    float64, harmonics channel by channel.
    """
    # Files keep certainty as infinity: an opacity of 1 is a logit of +inf, a flat axis a log scale of -inf.
    logits = np.clip(columns["opacity_logits"], -_MOST_LOGIT, _MOST_LOGIT)
    log_scales = np.maximum(columns["log_scales"], _LEAST_LOG_SCALE)
    parts = {**columns, "opacity_logits": logits, "log_scales": log_scales}
    good = np.all([np.isfinite(part).all(1) for part in parts.values()], axis=0)
    good &= np.abs(parts["quats"]).max(1, initial=0) > 0
    reading.leave_out("splat that is not finite", int((~good).sum()), "splats that are not finite")
    parts = {name: part[good] for name, part in parts.items()}
    if not len(parts["means"]) and len(good):
        raise Malformed(f"none of its {len(good):,} splats is finite")
    tensors = {name: torch.from_numpy(np.ascontiguousarray(part, np.float32)) for name, part in parts.items()}
    tensors["means"] = torch.from_numpy(near_origin(parts["means"], reading).astype(np.float32))
    rest = tensors["sh_rest"]
    return SplatCloud(
        tensors["means"], tensors["quats"], tensors["log_scales"], tensors["opacity_logits"][:, 0], tensors["sh_dc"],
        rest.view(len(rest), 3, rest.shape[1] // 3).transpose(1, 2).contiguous() if rest.shape[1] else None,
    )  # fmt: skip


def near_origin(points: np.ndarray, reading: Reading) -> np.ndarray:
    """Points [N, 3] float64, moved to the origin where they lie so far from it that float32 would blur them."""
    if not len(points):
        return points
    low, middle, high = np.quantile(points, [0.02, 0.5, 0.98], axis=0)
    size = float((high - low).max())
    if not size > 0 or np.abs(middle).max() <= FAR * size:  # a single place has no detail to lose
        return points
    place = ", ".join(f"{x:.10g}" for x in middle)
    reading.assume(f"its splats were moved from ({place}) to the origin, as single precision would blur them there")
    return points - middle


def _rest_names(count: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{i}" for i in range(count))


def _sh_degree(rest: int) -> int:
    """The spherical-harmonics degree with `rest` values of f_rest a splat; ValueError where there is none."""
    degree = math.isqrt(rest // 3 + 1) - 1
    if rest != 3 * ((degree + 1) ** 2 - 1):
        raise ValueError(f"{rest} values of f_rest fit no degree of spherical harmonics.")
    return degree
