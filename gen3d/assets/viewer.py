"""One HTML file that shows a run's splats and mesh offline: `viewer.html` and `viewer.js` with the data inside."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.visual import ColorVisuals

from gen3d.assets.arrays import to_numpy
from gen3d.assets.ply import SplatCloud
from gen3d.geometry.cameras import DEFAULT_FOV, DEFAULT_RADIUS
from gen3d.rendering.lighting import AMBIENT, LIGHTS
from gen3d.runtime.files import replacing

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + SH_C0 * sh_dc."""

_BLUR = math.sqrt(0.3)  # pixels: the standard deviation of the filter that the rasteriser adds ("eps2d")
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -12.0, 2.0


def write_viewer(
    path: str | Path,
    title: str,
    splats: SplatCloud,
    mesh: trimesh.Trimesh | None = None,
    *,
    trained_size: int = 128,
) -> None:
    """Writes the viewer of `splats`, and of a mesh with unlit vertex colours where one is given, drawn under the
    studio lighting that the splats hold already.

    title: the prompt; any text is safe. trained_size: pixels a side at which the splats were optimised; the viewer
    scales the rasteriser's low-pass filter with it, so that they do not look thinner on a larger screen. Splats that
    are not finite are left out. The file is about 27 bytes a splat and 17 a triangle, plus 20 kB.
    """
    content = viewer_html(title, splats, mesh, trained_size=trained_size)
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", "replace"))


def viewer_html(title: str, splats: SplatCloud, mesh: trimesh.Trimesh | None = None, *, trained_size: int = 128) -> str:
    """The page that `write_viewer` writes."""
    template, script = _sources()
    data = {
        "distance": DEFAULT_RADIUS,
        "splats": _pack_splats(splats, trained_size),
        "mesh": None if mesh is None else _pack_mesh(mesh),
    }
    fields = {
        "TITLE": html.escape(" ".join(title.split())) or "untitled",
        # Numbers and base64 alone: nothing in it can end the script element that holds it.
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False),
        "SCRIPT": script,
        # The page runs this script and no other, whatever its texts hold.
        "SCRIPT_HASH": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    # In one pass: a prompt that spells a placeholder stays text.
    return re.sub("@(" + "|".join(fields) + ")@", lambda match: fields[match[1]], template)


@lru_cache(maxsize=1)
def _sources() -> tuple[str, str]:
    folder = resources.files("gen3d.assets")
    return folder.joinpath("viewer.html").read_text("utf-8"), folder.joinpath("viewer.js").read_text("utf-8")


def _pack_splats(splats: SplatCloud, trained_size: int) -> dict[str, Any]:
    means, log_scales = to_numpy(splats.means, (None, 3), "means"), to_numpy(splats.log_scales, (None, 3), "log_scales")
    quats = to_numpy(splats.quats, (len(means), 4), "quats")
    logits, dc = (
        to_numpy(splats.opacity_logits, (len(means),), "opacity_logits"),
        to_numpy(splats.sh_dc, (len(means), 3), "sh_dc"),
    )
    finite = np.isfinite(np.concatenate([means, quats, log_scales, logits[:, None], dc], 1)).all(1)
    means, quats, log_scales, logits, dc = (part[finite] for part in (means, quats, log_scales, logits, dc))
    quats = quats / np.maximum(np.abs(quats).max(1, keepdims=True), 1e-12)  # the largest component uses all of int8
    opacities = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    rgba = np.concatenate([np.clip(0.5 + SH_C0 * dc, 0, 1), opacities[:, None]], 1)
    focal = 0.5 * trained_size / math.tan(math.radians(DEFAULT_FOV) / 2)
    return {
        "count": len(means),
        "means": _quantise(means),
        "log_scales": _quantise(np.clip(log_scales, _MIN_LOG_SCALE, _MAX_LOG_SCALE)),
        "quats": _base64(np.round(quats * 127).astype("i1")),
        "rgba": _base64(np.round(rgba * 255).astype("u1")),
        "blur": _BLUR * DEFAULT_RADIUS / focal,  # the filter's standard deviation in world units at the object
    }


def _pack_mesh(mesh: trimesh.Trimesh) -> dict[str, Any]:
    if not isinstance(mesh.visual, ColorVisuals):
        raise ValueError("The viewer shows meshes with vertex colours, and this one has none.")
    wide = len(mesh.vertices) > 65536
    return {
        "count": len(mesh.faces),
        "vertices": _quantise(np.asarray(mesh.vertices, dtype=np.float32)),
        "rgb": _base64(np.ascontiguousarray(mesh.visual.vertex_colors[:, :3], dtype="u1")),
        "faces": _base64(np.asarray(mesh.faces, dtype="<u4" if wide else "<u2")),
        "wide": wide,
        "ambient": AMBIENT,
        "lights": [
            part for way, strength in LIGHTS for part in (*(np.array(way) / np.linalg.norm(way)).tolist(), strength)
        ],
    }


def _quantise(values: np.ndarray) -> dict[str, Any]:
    """Columns of [N, C] as 16-bit steps between their smallest and largest value."""
    low = values.min(0) if len(values) else np.zeros(values.shape[1], np.float32)
    high = values.max(0) if len(values) else low
    steps = np.round((values - low) / np.maximum(high - low, 1e-12) * 65535)
    return {"low": low.tolist(), "high": high.tolist(), "data": _base64(steps.astype("<u2"))}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
