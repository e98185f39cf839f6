"""Converts assets from one file format to another, and draws pictures of them: `gen3d convert` and `gen3d render`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gen3d.assets.axes import UPS, Up
from gen3d.assets.drawing import drawer
from gen3d.assets.framing import framed
from gen3d.assets.glb import write_glb
from gen3d.assets.images import contact_sheet, write_png, write_video
from gen3d.assets.laying import laid_on
from gen3d.assets.obj import write_obj
from gen3d.assets.ply import DEFAULT_UP, write_splats
from gen3d.assets.read import Asset, read_asset
from gen3d.assets.reading import Reading
from gen3d.assets.sizes import placed, size_of
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_glb import write_splat_glb
from gen3d.assets.splat_mesh import mesh_of_splats
from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import turntable
from gen3d.runtime.files import printable, user_path

logger = logging.getLogger(__name__)

WRITABLE = (".ply", ".glb", ".obj")
VIDEO_FPS = 24

_NOT_WRITTEN = {
    ".compressed.ply": "compressed splats are read, but not written: leave out '.compressed'",
    ".splat": "splats are written as .ply or .glb", ".ksplat": "splats are written as .ply or .glb",
    ".spz": "splats are written as .ply or .glb", ".sog": "splats are written as .ply or .glb",
    ".stl": "a mesh is written as .obj, which slicers read too, or as .glb",
    ".3mf": "a mesh is written as .obj, which slicers read too, or as .glb",
    ".gltf": "glTF is written as one file: give the name an ending of .glb",
    ".usdz": "a mesh is written as .glb or .obj", ".usd": "a mesh is written as .glb or .obj",
    ".usda": "a mesh is written as .glb or .obj", ".usdc": "a mesh is written as .glb or .obj",
    ".fbx": "a mesh is written as .glb or .obj", ".dae": "a mesh is written as .glb or .obj",
    ".json": "parts are read, but not written: they come from a run with representation=primitives",
}  # fmt: skip
"""Endings that are asked for, and what there is instead."""


@dataclass(frozen=True)
class ConvertOptions:
    """How `convert` makes one file of another.

    splats: whether a GLB is to hold splats, not a mesh. count: how many Gaussians are laid on a mesh. faces,
    texture_size: triangles and texels a side of a mesh that is made from splats; texture_size 0 gives it vertex
    colours. seed: decides where Gaussians are laid. up, from_up: which way is up in the file that is written and in the
    one that is read; None for what their formats have. scale: metres that the largest extent shall measure. ground:
    whether the asset is to stand on y = 0, its middle above the origin. lit: whether splats are laid on a mesh in its
    colours under the studio lighting, which a run's splats have.
    """

    splats: bool = False
    count: int = 30000
    faces: int = 30000
    texture_size: int = 512
    seed: int = 0
    up: Up | None = None
    from_up: Up | None = None
    scale: float | None = None
    ground: bool = False
    lit: bool = False


def convert(source: Path, target: Path, options: ConvertOptions) -> str:
    """Writes what `source` holds to `target`, whose suffix says as what; returns a sentence on the result.

    Raises UsageError for suffixes and folders that cannot be, Gen3DError for a file that cannot be used. `target`
    appears whole or not at all.
    """
    source, target = user_path(source), user_path(target)
    _check(source, target, options)
    asset = read_asset(source, options.from_up)
    as_splats = target.suffix.lower() == ".ply" or options.splats
    if as_splats and not isinstance(asset, SplatCloud):
        asset = laid_on(asset, options.count, options.seed, options.lit)
    elif not as_splats and isinstance(asset, SplatCloud):
        asset = mesh_of_splats(asset, options.faces, options.texture_size)
    if isinstance(asset, SplatCloud) and not len(asset.means):
        raise Gen3DError("The file holds no splats, so there is nothing to convert.")
    asset = placed(asset, options.scale, options.ground)
    losses = Reading()
    try:
        written = _write(asset, target, options, losses)
    except OSError as error:
        raise Gen3DError(
            f"{printable(target)} could not be written ({error.strerror}): check the folder's permissions and space."
        ) from None
    if summary := losses.summary(str(target), "written"):
        logger.warning("%s", summary)
    return printable(written)


def render(source: Path, folder: Path, size: int, azimuths: int, frames: int, from_up: Up | None = None) -> list[Path]:
    """Writes a contact sheet of `azimuths` views, front first, and a turntable video of `frames` (none for 0) views of
    the asset, `size` pixels a side, to `folder`, which is made. Returns the files, named after the asset.
    """
    source, folder = user_path(source), user_path(folder)
    draw = drawer(framed(read_asset(source, from_up))[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sheet = folder / f"{source.stem}.png"
        cameras = turntable(azimuths, size)
        labels = [f"{round(i * 360 / azimuths)}°" for i in range(azimuths)]
        images = torch.cat([draw(cameras[i : i + 1]) for i in range(azimuths)])
        write_png(sheet, contact_sheet(images, 4, labels))
        if not frames:
            return [sheet]
        video = folder / f"{source.stem}.mp4"
        cameras = turntable(frames, size)
        write_video(video, (draw(cameras[i : i + 1])[0] for i in range(frames)), VIDEO_FPS)
        return [sheet, video]
    except OSError as error:
        raise Gen3DError(
            f"The pictures could not be written to {printable(folder)} ({error.strerror}): check its permissions and "
            "space."
        ) from None


def _check(source: Path, target: Path, options: ConvertOptions) -> None:
    """Raises UsageError for what cannot be written, before anything is read."""
    name, shown = target.name.lower(), printable(target)
    for ending, instead in _NOT_WRITTEN.items():
        if name.endswith(ending):
            raise UsageError(f"The file {shown} cannot be written: {instead}.")
    suffix = target.suffix.lower()
    if suffix not in WRITABLE:
        raise UsageError(f"The file {shown} cannot be written: its name has to end in {', '.join(WRITABLE)}.")
    if options.splats and suffix == ".obj":
        raise UsageError("An OBJ holds no splats: leave --splats out, or write a .ply or .glb.")
    if options.up is not None and (suffix == ".glb" or options.up not in UPS):
        raise UsageError(f"In a .glb Y is up: leave --up {options.up} out, or write a .ply or .obj.")
    if not target.parent.is_dir():
        raise UsageError(
            f"There is no folder {printable(target.parent)} to write {printable(target.name)} to: make it first."
        )
    if target.is_dir():
        raise UsageError(f"{shown} is a folder: give the name of a file.")
    if source.resolve() == target.resolve():
        raise UsageError(f"{printable(source)} would be written over itself: give another name.")


def _write(asset: Asset, target: Path, options: ConvertOptions, losses: Reading) -> str:
    """Writes the asset; returns what was written, with its size, in words."""
    suffix = target.suffix.lower()
    low, high = size_of(asset)
    unit = "no unit, as OBJ and PLY have none" if suffix != ".glb" else "metres"
    extents = " x ".join(f"{x:.4g}" for x in np.asarray(high) - low)
    if isinstance(asset, SplatCloud):
        if suffix == ".glb":
            write_splat_glb(target, asset, target.stem)
        else:
            write_splats(target, asset, up=options.up or DEFAULT_UP)
        return f"{target}: {len(asset.means):,} splats, {extents} ({unit})"
    files = [target]
    if suffix == ".glb":
        write_glb(target, asset, target.stem)
    else:
        files = write_obj(target, asset, up=options.up or "y", losses=losses)
    beside = f", with {', '.join(path.name for path in files[1:])}" if files[1:] else ""
    return f"{target}: {len(asset.faces):,} triangles, {extents} ({unit}){beside}"
