"""Splats as binary glTF with KHR_gaussian_splatting: points whose attributes are Gaussians.

The format is the opposite of the PLY in everything but position and harmonics: linear scales, opacities in 0..1,
rotations xyzw. Colours are display-referred sRGB, as they were optimised. Viewers without the extension show coloured
points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gen3d.assets.arrays import to_numpy
from gen3d.assets.colors import srgb_to_linear
from gen3d.assets.glb import ARRAY_BUFFER, FLOAT, UNSIGNED_SHORT, Buffer, pack_glb
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.runtime.files import replacing

EXTENSION = "KHR_gaussian_splatting"
MAX_DEGREE = 3
"""The highest degree of harmonics that the extension has names for."""

_POINTS = 0
_SH_C0 = 0.28209479177387814


def write_splat_glb(path: str | Path, cloud: SplatCloud, name: str) -> None:
    """Writes the splats; equal splats make equal bytes. Raises ValueError where there are none."""
    content = splat_glb_bytes(cloud, name)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def splat_glb_bytes(cloud: SplatCloud, name: str) -> bytes:
    """The content of the file that `write_splat_glb` writes. Harmonics above degree 3 are left out."""
    means = to_numpy(cloud.means, (None, 3), "means")
    if not len(means):
        raise ValueError("No splats: an empty GLB cannot be written.")
    quats = to_numpy(cloud.quats, (len(means), 4), "quats").astype(np.float64)
    length = np.linalg.norm(quats, axis=1, keepdims=True)
    quats = np.where(length > 1e-12, quats / np.maximum(length, 1e-12), [1.0, 0, 0, 0])
    logits = to_numpy(cloud.opacity_logits, (len(means),), "opacity_logits").astype(np.float64)
    opacities = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    dc = to_numpy(cloud.sh_dc, (len(means), 3), "sh_dc")
    log_scales = to_numpy(cloud.log_scales, (len(means), 3), "log_scales")
    points = np.empty((len(means), 4), "<u2")
    points[:, :3] = np.round(srgb_to_linear(np.clip(0.5 + _SH_C0 * dc, 0, 1)) * 65535)
    points[:, 3] = np.round(opacities * 65535)

    buffer = Buffer()
    attributes = {
        "POSITION": buffer.add_positions(means),
        "COLOR_0": buffer.add(points, UNSIGNED_SHORT, "VEC4", ARRAY_BUFFER, normalized=True),
        f"{EXTENSION}:ROTATION": _add(buffer, quats[:, [1, 2, 3, 0]], "VEC4"),
        f"{EXTENSION}:SCALE": _add(buffer, np.exp(np.clip(log_scales, -60, 60)), "VEC3"),
        f"{EXTENSION}:OPACITY": _add(buffer, opacities, "SCALAR"),
        f"{EXTENSION}:SH_DEGREE_0_COEF_0": _add(buffer, dc, "VEC3"),
    }
    if cloud.sh_rest is not None:
        rest = to_numpy(cloud.sh_rest, (len(means), None, 3), "sh_rest")
        for coefficient, semantic in enumerate(rest_semantics(rest.shape[1])):
            attributes[semantic] = _add(buffer, rest[:, coefficient], "VEC3")
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "mode": _POINTS,
        "extras": {"light": "studio" if cloud.lit else "none"},
        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
    }
    return pack_glb({"extensionsUsed": [EXTENSION]}, [primitive], buffer, name)


def rest_semantics(coefficients: int) -> list[str]:
    """Names of the attributes of the first `coefficients` harmonics above degree 0, to degree 3, degree by degree."""
    names = [
        f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{order}"
        for degree in range(1, MAX_DEGREE + 1)
        for order in range(2 * degree + 1)
    ]
    return names[:coefficients]


def _add(buffer: Buffer, array: np.ndarray, kind: str) -> int:
    return buffer.add(array.astype("<f4"), FLOAT, kind, ARRAY_BUFFER)
