"""Assets from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from torch import Tensor

from gen3d.assets.asset import Asset, AssetMesh
from gen3d.assets.drawing import drawer
from gen3d.assets.laying import laid_on
from gen3d.assets.read import read_asset
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_mesh import mesh_of_splats
from gen3d.assets.surface_mesh import SurfaceMesh, merged_places
from gen3d.config.schema import ExportConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.runtime.files import printable, user_path

LAID_SPLATS = 30000
"""Gaussians that are laid on a mesh which came without splats."""

RUN_MESH, RUN_SPLATS, RUN_PROMPT = "mesh.glb", "splats.ply", "config.yaml"


class FileSource:
    """What files held as the source of an asset: a mesh, splats, or both. What is missing is made of the other."""

    def __init__(self, surface: SurfaceMesh | None, splats: SplatCloud | None) -> None:
        """Raises ValueError where there is neither."""
        if surface is None and splats is None:
            raise ValueError("An asset needs a mesh or splats.")
        self._surface, self._splats = surface, splats
        self._draw: Callable[[Cameras], Tensor] | None = None

    def draw(self, cameras: Cameras) -> Tensor:
        """Splats where there are any, else the mesh under the studio lighting."""
        if self._draw is None:
            shown = self._surface if self._splats is None else self._splats
            assert shown is not None
            self._draw = drawer(shown)
        return self._draw(cameras)

    def mesh(self) -> AssetMesh:
        surface = self._surface
        if surface is None:
            assert self._splats is not None
            settings = ExportConfig()
            surface = mesh_of_splats(self._splats, settings.mesh_faces, settings.texture_size)
        return AssetMesh(surface, connected(surface), {})

    def splats(self, mesh: Callable[[], AssetMesh]) -> SplatCloud:
        return laid_on(mesh().surface, LAID_SPLATS, seed=0, lit=True) if self._splats is None else self._splats

    def parts(self) -> list[dict[str, Any]] | None:
        return None


def connected(surface: SurfaceMesh) -> trimesh.Trimesh:
    """A mesh whose vertices at one place are one, with the unlit sRGB colours of the materials there."""
    places, rows = merged_places(surface.vertices)
    colors = np.round(surface.colors[places] * 255).astype(np.uint8)
    return trimesh.Trimesh(surface.vertices[places], rows[surface.faces], vertex_colors=colors, process=False)


def load(path: str | Path) -> Asset:
    """The asset that a file holds: splats (`.ply`, `.glb`), a mesh (`.glb`, `.obj`, `.ply`) or `parts.json`; or a run's
    folder, of which mesh, splats and prompt are read.

    Raises UsageError for a path that does not exist, Gen3DError for a file that cannot be used.
    """
    path = user_path(path)
    if path.is_dir():
        return _load_folder(path)
    asset = read_asset(path)
    if isinstance(asset, SplatCloud):
        return Asset(FileSource(None, asset))
    return Asset(FileSource(asset, None))


def _load_folder(folder: Path) -> Asset:
    surface = read_asset(folder / RUN_MESH) if (folder / RUN_MESH).is_file() else None
    splats = read_asset(folder / RUN_SPLATS) if (folder / RUN_SPLATS).is_file() else None
    if surface is None and splats is None:
        raise UsageError(f"The folder {printable(folder)} holds neither {RUN_MESH} nor {RUN_SPLATS}: name a file.")
    assert surface is None or isinstance(surface, SurfaceMesh)
    assert splats is None or isinstance(splats, SplatCloud)
    prompt = ""
    if (folder / RUN_PROMPT).is_file():
        from gen3d.config.load import load_stages

        prompt = load_stages(str(folder / RUN_PROMPT))[0].prompt
    return Asset(FileSource(surface, splats), prompt)
