"""What a run returns, and what a file holds, in memory: splats, a mesh, pictures, and files of either."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import trimesh
from torch import Tensor

from gen3d.assets.density import footprint, narrowed, widened
from gen3d.assets.glb import write_glb
from gen3d.assets.images import contact_sheet, png_bytes, write_png, write_video
from gen3d.assets.obj import write_obj
from gen3d.assets.ply import write_splats
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_motion import moved_splats
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.assets.viewer import write_viewer
from gen3d.config.schema import ExportConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras, turntable

SHEET_VIEWS, SHEET_COLUMNS = 8, 4
NOTEBOOK_SIZE = 160
"""Pixels a side of the views that a notebook shows."""


@dataclass(frozen=True)
class AssetMesh:
    """A mesh as an asset has it. surface: with its materials and textures, as files hold it. mesh: its connected
    triangles with unlit sRGB vertex colours. stats: what is to be reported of it.
    """

    surface: SurfaceMesh
    mesh: trimesh.Trimesh
    stats: Mapping[str, Any]


class AssetSource(Protocol):
    """Where an asset comes from: an optimised scene, or a file. Each part is made when it is first asked for."""

    def draw(self, cameras: Cameras) -> Tensor:
        """Images [B, H, W, 3] in 0..1 before white."""

    def mesh(self) -> AssetMesh:
        """The asset as a mesh. Raises Gen3DError where it has no surface."""

    def splats(self, mesh: Callable[[], AssetMesh]) -> SplatCloud:
        """The asset as splats; mesh: gives its mesh, for an asset that has none of its own."""

    def parts(self) -> list[dict[str, Any]] | None:
        """The asset as an editable list of primitives, where it is made of some."""


class Asset:
    """A 3D asset in memory. Its parts are made when they are asked for, and kept.

    prompt: what it was made from, empty for a file without one. settings: how large pictures, meshes and textures
    are. trained_size: pixels a side at which splats were optimised, for their viewer.
    """

    def __init__(
        self,
        source: AssetSource,
        prompt: str = "",
        settings: ExportConfig | None = None,
        metrics: Callable[[Asset], Mapping[str, Any]] | None = None,
        trained_size: int = 128,
    ) -> None:
        self.prompt, self.settings, self.trained_size = prompt, settings or ExportConfig(), trained_size
        self._source, self._measure = source, metrics

    @cached_property
    def _made_mesh(self) -> AssetMesh:
        return self._source.mesh()

    @property
    def surface(self) -> SurfaceMesh:
        """The mesh with its materials and textures, +Y up, front +Z, as files hold it."""
        return self._made_mesh.surface

    @property
    def mesh(self) -> trimesh.Trimesh:
        """The mesh as connected triangles, +Y up, front +Z, with unlit sRGB vertex colours."""
        return self._made_mesh.mesh

    @property
    def mesh_report(self) -> Mapping[str, Any]:
        """What is to be reported of the mesh, such as whether it is watertight; empty for one from a file."""
        return self._made_mesh.stats

    @cached_property
    def splats(self) -> SplatCloud:
        """The 3D Gaussians, in the colours of the studio lighting."""
        return self._source.splats(lambda: self._made_mesh)

    def dense_splats(self) -> SplatCloud:
        """The Gaussians as files hold them: as wide as in the pictures that they were optimised in, so that other
        programs, with finer pixels or another filter, show no gaps between them.
        """
        splats = self.splats
        if not splats.lit or splats.widened:
            return splats
        return replace(widened(splats, footprint(self.trained_size)), volume=self._volume())

    def _volume(self) -> float | None:
        """What the mesh encloses, for whoever makes one of the splats again; None where it is not closed."""
        try:
            mesh = self.mesh
        except Gen3DError:
            return None
        return float(mesh.volume) if mesh.is_watertight else None

    @cached_property
    def parts(self) -> list[dict[str, Any]] | None:
        """The editable primitives that the asset is made of, the largest first; None for other representations."""
        return self._source.parts()

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """How well the asset matches its prompt, and what it cost; empty for an asset from a file."""
        return self._measure(self) if self._measure else {}

    def render(self, cameras: Cameras) -> Tensor:
        """Images [B, H, W, 3] in 0..1, before white, from any cameras."""
        return self._source.draw(cameras)

    def turntable(self, views: int = 48, size: int = 320) -> Tensor:
        """Images [views, size, size, 3] in 0..1 all around the asset, front first, from 20 degrees above."""
        return self.render(turntable(views, size))

    def contact_sheet(self, size: int = 128) -> np.ndarray:
        """One uint8 picture [h, w, 3] of eight azimuths, front first, each `size` pixels a side."""
        return sheet_of(self.turntable(SHEET_VIEWS, size))

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Writes everything that the asset is to a folder, which is made, each file whole or not at all: contact sheet,
        turntable video, mesh, splats, parts and web page. Returns the paths by name.

        Raises Gen3DError where a file cannot be written.
        """
        folder, settings = Path(folder).expanduser(), self.settings
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: folder / file for name, file in {"preview": "preview.png", "video": "turntable.mp4"}.items()}
        write_png(files["preview"], self.contact_sheet(settings.image_size))
        frames = turntable(settings.video_frames, settings.video_size)
        write_video(files["video"], (self.render(frames[i : i + 1])[0] for i in range(len(frames))), settings.video_fps)
        files["mesh"], files["splats"] = folder / "mesh.glb", folder / "splats.ply"
        write_glb(files["mesh"], self.surface, self.prompt or "asset")
        write_splats(files["splats"], self.dense_splats())
        if settings.viewer:
            files["viewer"] = folder / "viewer.html"
            write_viewer(files["viewer"], self.prompt, narrowed(self.splats), self.mesh, trained_size=self.trained_size)
        return files

    def export(self, path: str | Path) -> Path:
        """Writes one file, by its suffix: `.ply` splats, `.glb` a textured mesh, `.obj` a mesh.

        Raises UsageError for another suffix, and for a folder that does not exist.
        """
        path = Path(path).expanduser()
        suffix = path.suffix.lower()
        if suffix not in EXPORTS:
            raise UsageError(f"The file {path} cannot be written: its name has to end in {', '.join(EXPORTS)}.")
        if not path.parent.is_dir():
            raise UsageError(f"There is no folder {path.parent} to write {path.name} to: make it first.")
        EXPORTS[suffix](self, path)
        return path

    def transformed(self, matrix: np.ndarray) -> Asset:
        """The asset moved by a matrix [4, 4] that is a rotation, a translation and a scale. Its metrics stay behind, as
        they are of another place.

        Raises ValueError for a matrix of another shape.
        """
        from gen3d.assets.load import FileSource  # which knows this module

        matrix = np.asarray(matrix, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"A finite matrix [4, 4] is needed, not one of the shape {matrix.shape}.")
        source = FileSource(self.surface.transformed(matrix), moved_splats(self.splats, matrix))
        return Asset(source, self.prompt, self.settings, None, self.trained_size)

    def __repr__(self) -> str:
        return f"<gen3d.Asset {self.prompt!r}>"

    def _repr_html_(self) -> str:
        """The contact sheet, for notebooks."""
        picture = base64.b64encode(png_bytes(self.contact_sheet(NOTEBOOK_SIZE))).decode()
        title = html.escape(self.prompt or "a gen3d asset", quote=True)
        image = f'<img alt="{title}, from eight sides" src="data:image/png;base64,{picture}">'
        return f"<figure>{image}<figcaption>{title}</figcaption></figure>"


def sheet_of(images: Tensor) -> np.ndarray:
    """The contact sheet of views that stand evenly around an asset, each with its azimuth below."""
    labels = [f"{round(i * 360 / len(images))}°" for i in range(len(images))]
    return contact_sheet(images, SHEET_COLUMNS, labels)


EXPORTS: Mapping[str, Callable[[Asset, Path], object]] = {
    ".ply": lambda asset, path: write_splats(path, asset.dense_splats()),
    ".glb": lambda asset, path: write_glb(path, asset.surface, asset.prompt or "asset"),
    ".obj": lambda asset, path: write_obj(path, asset.surface),
}
"""What `Asset.export` writes for each suffix."""
