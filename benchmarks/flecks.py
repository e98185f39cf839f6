"""Whether splats are dense in other programs: `python benchmarks/flecks.py RUN... [--size 768] [--out DIR]`.

Draws the splats.ply of runs (folders with mesh.glb too) as the formulas of 3D Gaussian Splatting say and every viewer
does, with the usual filter of 0.3 pixels squared and no other: as the file has them, and without what gen3d widened
them by. Printed are the shares of the pixels inside of the outline through which more than 2 % of the background is
seen, and of those that are flecks: a tenth clearer than what is around them. Exit code 1 where the files have more than
1 % of the first or .1 % of the second.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from gen3d.assets.density import narrowed
from gen3d.assets.read import read_splats
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.geometry.cameras import Cameras, orbit

SH_C0 = 0.28209479177387814
FILTER = 0.3  # pixels squared, added to the variances
EDGE = 10  # pixels of 768 inside of the outline where the inside begins
CLEAR, FLECK, AROUND = 0.98, 0.1, 15
MAX_CLEAR, MAX_FLECKS = 0.01, 0.001


def drawn(cloud: SplatCloud, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied RGB [H, W, 3] and alpha [H, W] of splats of constant colour, by Kerbl et al. 2023, section 4."""
    view, k = camera.viewmats()[0].double().numpy(), camera.intrinsics[0].double().numpy()
    means = cloud.means.double().numpy() @ view[:3, :3].T + view[:3, 3]
    w, x, y, z = torch.nn.functional.normalize(cloud.quats.double(), dim=1).numpy().T
    turns = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]).transpose(2, 0, 1)  # fmt: skip
    axes = turns * np.exp(cloud.log_scales.double().numpy())[:, None]
    depth, zero = means[:, 2], np.zeros(len(means))
    jacobian = np.stack([
        np.stack([k[0, 0] / depth, zero, -k[0, 0] * means[:, 0] / depth**2], 1),
        np.stack([zero, k[1, 1] / depth, -k[1, 1] * means[:, 1] / depth**2], 1),
    ], 1)  # fmt: skip
    flat = jacobian @ view[:3, :3] @ axes
    variance = flat @ flat.transpose(0, 2, 1) + FILTER * np.eye(2)
    conics, places = np.linalg.inv(variance), (means / depth[:, None]) @ k.T
    opacities = torch.sigmoid(cloud.opacity_logits.double()).numpy()
    colors = (0.5 + SH_C0 * cloud.sh_dc.double().numpy()).clip(0, 1)
    rgb, light = np.zeros((camera.height, camera.width, 3)), np.ones((camera.height, camera.width))
    for i in np.argsort(depth):
        reach = 3 * np.sqrt(np.diag(variance[i]))
        low = np.floor(places[i, :2] - reach).clip(0, [camera.width, camera.height]).astype(int)
        high = np.ceil(places[i, :2] + reach + 1).clip(0, [camera.width, camera.height]).astype(int)
        if (low >= high).any():
            continue
        dx = np.arange(low[0], high[0]) + 0.5 - places[i, 0]
        dy = (np.arange(low[1], high[1]) + 0.5 - places[i, 1])[:, None]
        (a, b), (_, c) = conics[i]
        alpha = np.minimum(0.99, opacities[i] * np.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy))
        alpha[alpha < 1 / 255] = 0
        box = np.s_[low[1] : high[1], low[0] : high[0]]
        rgb[box] += (light[box] * alpha)[..., None] * colors[i]
        light[box] *= 1 - alpha
    return rgb, 1 - light


def gaps(alpha: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """The shares of the pixels inside that are clear, and that are flecks."""
    around = ndimage.median_filter(alpha, AROUND)
    return float((alpha < CLEAR)[inside].mean()), float((around - alpha > FLECK)[inside].mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--size", type=int, default=768, help="pixels a side")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    camera = orbit(torch.tensor([30.0]), 20.0, options.size)
    failed = 0
    print("| Splats of | Alpha < .98: not widened | as in the file | Flecks: not widened | as in the file |")
    print("|---|---|---|---|---|")
    for run in options.runs:
        cloud = read_splats(run / "splats.ply")
        pictures = [drawn(splats, camera) for splats in (narrowed(cloud), cloud)]
        whole = ndimage.binary_fill_holes(pictures[1][1] > 0.5)
        inside = ndimage.binary_erosion(whole, iterations=max(1, round(EDGE * options.size / 768)))
        before, after = (gaps(alpha, inside) for _, alpha in pictures)
        name = run.resolve().name.partition("@")[0]
        figures = (before[0], after[0], before[1], after[1])
        print(f"| {name} | {' | '.join(f'{100 * value:.2f} %' for value in figures)} |", flush=True)
        failed += after[0] > MAX_CLEAR or after[1] > MAX_FLECKS
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            white = np.concatenate([rgb + 1 - alpha[..., None] for rgb, alpha in pictures], 1)
            Image.fromarray(np.round(white.clip(0, 1) * 255).astype(np.uint8)).save(options.out / f"{name}.png")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
