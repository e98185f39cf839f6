"""The one door for files that anyone may have made: splats (PLY, GLB), meshes (GLB, OBJ, PLY), and lists of parts.

What a file declares is counted before memory is taken for it (see `reading.LIMITS`), nothing outside of its folder is
opened, and everything that is left out or assumed is said in one warning.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from gen3d.assets.axes import UPS, Up, to_y_up
from gen3d.assets.gltf_scene import read_gltf
from gen3d.assets.obj_read import read_obj
from gen3d.assets.parts import mesh_of_parts, parts_of
from gen3d.assets.ply import read_ply
from gen3d.assets.reading import Malformed, Reading
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.files import printable, user_path

logger = logging.getLogger(__name__)

READABLE = (".ply", ".glb", ".obj", ".json")

Asset = SplatCloud | SurfaceMesh


def read_asset(path: str | Path, up: Up | None = None) -> Asset:
    """What the file holds, Y up; its suffix says how it is read, its content whether it holds splats or a mesh.

    up: which way is up in a PLY or an OBJ; None takes the file's own word for it, else Y down for splats in a PLY and Y
    up for meshes. Raises UsageError for another suffix, a file that is not there, or `up` of a file that says itself
    what is up; Gen3DError for one that is damaged or too large. Logs a warning of what was left out or assumed.
    """
    path = user_path(path)
    shown, suffix = printable(path), path.suffix.lower()
    if suffix not in READABLE:
        raise UsageError(f"The file {shown} is not one that can be read: its name has to end in {', '.join(READABLE)}.")
    if up is not None and (up not in UPS or suffix not in (".ply", ".obj")):
        raise UsageError(f"In a {suffix} Y is up: which way is up ('{up}') can be said of a .ply or an .obj alone.")
    reading = Reading()
    try:
        if "\0" in str(path) or not path.is_file():
            raise UsageError(f"There is no file {shown}: check the path.")
        reading.spend("bytes", os.stat(path).st_size)
        asset = _read(path.read_bytes(), suffix, reading, path.parent, up)
    except OSError as error:
        raise Gen3DError(f"The file {shown} cannot be read ({error.strerror}): check the path.") from None
    except Malformed as error:
        raise Gen3DError(f"The file {shown} cannot be used: {printable(error)}.") from None
    except MemoryError:
        raise Gen3DError(f"There is not enough memory to read {shown}.") from None
    if summary := reading.summary(str(path)):
        logger.warning("%s", summary)
    return asset


def read_splats(path: str | Path, up: Up | None = None) -> SplatCloud:
    """The splats in a file, as `read_asset` reads it. Raises Gen3DError where it holds a mesh."""
    asset = read_asset(path, up)
    if isinstance(asset, SurfaceMesh):
        raise Gen3DError(f"The file {printable(path)} holds a mesh and no splats: convert it to a .ply first.")
    return asset


def _read(content: bytes, suffix: str, reading: Reading, folder: Path, up: Up | None) -> Asset:
    if suffix == ".json":
        return SurfaceMesh.of(*mesh_of_parts(parts_of(content)))
    if suffix == ".ply":
        asset = read_ply(content, reading, folder, up)
    elif suffix == ".glb":
        asset = read_gltf(content, reading)
    else:
        asset = read_obj(content, reading, folder)
        asset = asset.transformed(to_y_up(up)) if up is not None and up != "y" else asset
    return _checked(asset) if isinstance(asset, SurfaceMesh) else asset


def _checked(mesh: SurfaceMesh) -> SurfaceMesh:
    """The mesh if all its triangles lie somewhere; vertices that none uses do not matter and go to one that is used."""
    if not len(mesh.faces):
        raise Malformed("it holds no triangles")
    if int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= len(mesh.vertices):
        raise Malformed(f"a triangle names a vertex outside 0..{len(mesh.vertices) - 1}")
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    if not (np.abs(mesh.vertices[used]) < 1e9).all():
        raise Malformed("its vertices are not finite, or beyond all measure")
    if used.all():
        return mesh
    return replace(mesh, vertices=np.where(used[:, None], mesh.vertices, mesh.vertices[mesh.faces[0, 0]]))
