"""What is left of assets converted there and back: `python benchmarks/round_trips.py ASSET... [--runs RUN...]`.

Every asset (GLB, OBJ) goes from GLB to PLY to GLB and from GLB to OBJ to GLB. Compared are the colours without light
from eight sides (the means over all pixels that both cover, and how far pixels differ on average), extents, and
textures. Of runs (folders with mesh.glb and splats.ply), the mesh that is made of the splats is held against the run's
own: Euler number, volume, silhouettes. Exit code 1 where colours differ by more than 2 of 255 in the mean, extents by
more than 1e-4, a texture is lost, or a mesh of splats has another Euler number, 5 % of another volume, or an IoU below
.95.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gen3d.assets.convert import ConvertOptions, convert
from gen3d.assets.drawing import MeshViews
from gen3d.assets.framing import frame
from gen3d.assets.load import connected
from gen3d.assets.read import read_asset
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.geometry.cameras import orbit

SIZE = 192
CAMERAS = orbit(torch.arange(8) * 45.0, torch.tensor([20.0, -20.0] * 4), SIZE)
MAX_COLOR, MAX_EXTENT, MAX_VOLUME, MIN_OVERLAP = 2.0, 1e-4, 0.05, 0.95


def mesh_in(path: Path) -> SurfaceMesh:
    asset = read_asset(path)
    assert isinstance(asset, SurfaceMesh), path
    return asset


def views_of(mesh: SurfaceMesh, centre: np.ndarray, scale: float) -> np.ndarray:
    """RGBA [8, H, W, 4] without light, premultiplied."""
    unlit = tuple(replace(material, unlit=True) for material in mesh.materials)
    return MeshViews(replace(mesh, vertices=(mesh.vertices - centre) * scale, materials=unlit))(CAMERAS).numpy()


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The mean over the views [B, H, W, 4] of intersection over union."""
    masks = one[..., 3] > 0.5, other[..., 3] > 0.5
    return float(np.mean([(a & b).sum() / max((a | b).sum(), 1) for a, b in zip(*masks, strict=True)]))


def textures_of(mesh: SurfaceMesh) -> list[tuple[int, int]]:
    """The sizes of the different pictures that base colours come from, sorted."""
    pictures = {id(m.base_texture.picture): m.base_texture.picture for m in mesh.materials if m.base_texture}
    return sorted((picture.width, picture.height) for picture in pictures.values())


def trip(source: Path, by: Path, back: Path, options: ConvertOptions) -> tuple[str, list[str]]:
    """A row of figures for the way of a GLB to `by` and to the GLB `back`, and what is wrong."""
    start = time.perf_counter()
    convert(source, by, options)
    convert(by, back, ConvertOptions())
    seconds = time.perf_counter() - start
    first, last = mesh_in(source), mesh_in(back)
    centre, scale = frame(first)
    one, other = views_of(first, centre, scale), views_of(last, centre, scale)
    both = (one[..., 3] > 0.99) & (other[..., 3] > 0.99)
    colors = [255 * views[both][:, :3].astype(np.float64) for views in (one, other)]
    mean = float(np.abs(colors[0].mean(0) - colors[1].mean(0)).max())
    pixels = float(np.abs(colors[0] - colors[1]).mean())
    sizes = [np.ptp(mesh.bounds(), axis=0) for mesh in (first, last)]
    extent = float(np.abs(sizes[0] - sizes[1]).max() / sizes[0].max())
    before, after = textures_of(first), textures_of(last)
    kept = len(after) > 0 if by.suffix == ".ply" else before == after
    wrong = ["colours"] if mean > MAX_COLOR else []
    wrong += ["extents"] if extent > MAX_EXTENT else []
    wrong += [] if kept else ["textures"]
    figures = f"{mean:.2f} | {pixels:.2f} | {extent:.1e} | {len(before)} → {len(after)}"
    return f"{figures} | {overlap(one, other):.3f} | {seconds:.0f}", wrong


def of_splats(run: Path, folder: Path) -> tuple[str, list[str]]:
    """The mesh of a run's splats against the run's own mesh."""
    made = folder / "made.glb"
    convert(run / "splats.ply", made, ConvertOptions())
    own, other = mesh_in(run / "mesh.glb"), mesh_in(made)
    whole, whole_other = connected(own), connected(other)
    euler = int(whole.euler_number), int(whole_other.euler_number)
    ratio = float(whole_other.volume / whole.volume)
    centre, scale = frame(own)
    iou = overlap(views_of(own, centre, scale), views_of(other, centre, scale))
    wrong = ["Euler number"] if euler[0] != euler[1] else []
    wrong += ["volume"] if abs(ratio - 1) > MAX_VOLUME else []
    wrong += ["silhouette"] if iou < MIN_OVERLAP else []
    closed = "yes" if whole_other.is_watertight else "no"
    return f"{euler[0]} → {euler[1]} | {ratio:.4f} | {closed} | {iou:.3f}", wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("assets", nargs="*", type=Path, metavar="ASSET", help="meshes: .glb or .obj")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="folders with mesh.glb and splats.ply")
    options = parser.parse_args()
    failed = 0
    head = "Asset | By | Mean colour off by (of 255) | Pixels off by | Extents off by | Textures | IoU | s |"
    print(f"| {head} |\n|{'---|' * 9}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, asset in enumerate([*options.assets, *(run / "mesh.glb" for run in options.runs)]):
            source = folder / f"{number}.glb"
            convert(asset, source, ConvertOptions())
            label = asset.parent.name.partition("@")[0] + "/" + asset.name
            for ending in (".ply", ".obj"):
                row, wrong = trip(source, folder / f"by{number}{ending}", folder / "back.glb", ConvertOptions())
                print(f"| {label} | {ending} | {row} | {', '.join(wrong) or 'right'} |", flush=True)
                failed += bool(wrong)
        if options.runs:
            print(f"\n| Splats of | Euler number | Volume | Closed | Silhouette IoU | |\n|{'---|' * 6}")
        for run in options.runs:
            row, wrong = of_splats(run, folder)
            print(f"| {run.name.partition('@')[0]} | {row} | {', '.join(wrong) or 'right'} |", flush=True)
            failed += bool(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
