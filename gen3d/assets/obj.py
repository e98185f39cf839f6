"""Meshes as Wavefront OBJ, with the vertex colours that most programs read (`v x y z r g b`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gen3d.runtime.files import replacing


def write_obj(path: str | Path, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> None:
    """Writes triangles [F, 3] of vertices [V, 3] with sRGB colours [V, 3] in 0..1; equal meshes make equal bytes."""
    lines = ["# gen3d: +Y up, front +Z, sRGB vertex colours"]
    lines += ["v {:.7g} {:.7g} {:.7g} {:.4f} {:.4f} {:.4f}".format(*row) for row in np.hstack([vertices, colors])]
    lines += ["f {} {} {}".format(*row) for row in np.asarray(faces) + 1]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
