"""Training material of the view prior: the coarse view of an object's decoded field beside its true view.

Each training object is encoded, decoded and rendered once from the cameras of its corpus views. The coarse views are
kept on disk in shards: an interrupted preparation goes on where it stopped, and a training step costs no geometry.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from gen3d.corpus.fields import TRUNCATION
from gen3d.corpus.store import Corpus
from gen3d.encoders.minilm import FEATURES, TextEncoder
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.priors.linear_code import DISTANCE_RANGE, surface_grids
from gen3d.priors.shape_prior import ShapePrior
from gen3d.priors.view_prior import camera_directions
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import render_mesh, vertex_normals
from gen3d.runtime.progress import Reporter
from gen3d.runtime.tensors import load_weights, save_tensors
from gen3d.training.recolor import LUMA

COARSE_GRID = 48
"""Cells a side of the grid on which a decoded field's surface is found: finer ones change a 64-pixel view no more."""
SHARD_OBJECTS = 32
MIRRORED = 0.5
RECOLORED = 0.4


@torch.no_grad()
def encode_object(prior: ShapePrior, corpus: Corpus, index: int) -> Tensor:
    """The code [1, K] of a corpus object in its own colours."""
    grid = torch.from_numpy(np.array(corpus.array("grid")[index])).float() * (TRUNCATION / 127)
    points = torch.from_numpy(np.array(corpus.array("surface")[index])).float()[None]
    colors = torch.from_numpy(np.array(corpus.array("surface_rgb")[index])).float()[None] / 255
    areas = torch.full(points.shape[:2], corpus.records[index].area / points.shape[1])
    shape = prior.code.encode_distance(grid.clamp(-DISTANCE_RANGE, DISTANCE_RANGE).view(1, -1))
    return torch.cat([shape, prior.code.encode_color(surface_grids(SurfaceCloud(points, areas, colors))[1])], 1)


@torch.no_grad()
def coarse_views(prior: ShapePrior, code: Tensor, cameras: Cameras, grid: int = COARSE_GRID) -> Tensor:
    """Lit premultiplied RGBA views [V, H, W, 4] of the field that `code` [1, K] decodes to; empty if it is."""
    field = prior.field(code)
    distances = prior.distance_grid(code, grid, field).numpy()
    if not (distances < 0).any():
        return torch.zeros(len(cameras), cameras.height, cameras.width, 4)
    closed = np.pad(-distances, 1, constant_values=-TRUNCATION)
    indices, triangles, _, _ = marching_cubes(closed, 0.0)
    # Marching cubes winds its triangles for z, y, x seen as a right-handed frame: in x, y, z they face outwards.
    vertices = torch.from_numpy(((indices - 0.5) * 2 / grid - 1)[:, ::-1].copy()).float()
    faces = torch.from_numpy(triangles.copy()).int()
    albedo = prior.albedo_at(code, vertices, field)
    lit = (albedo * studio_shading(vertex_normals(vertices, faces))).clamp(0, 1)
    return torch.cat(render_mesh(vertices, faces, lit, cameras), -1)


def corpus_cameras(corpus: Corpus, index: int) -> Cameras:
    """The cameras of an object's corpus views."""
    angles = torch.from_numpy(np.array(corpus.array("cameras")[index])).float()
    return orbit(angles[:, 0], angles[:, 1], corpus.array("views").shape[2])


def premultiplied(views: np.ndarray) -> Tensor:
    """Corpus views uint8 [..., 4] with straight alpha as premultiplied floats in 0..1."""
    rgba = torch.from_numpy(np.array(views)).float() / 255
    return torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1)


@dataclass(frozen=True)
class ViewBatch:
    """Coarse and true views [B, 64, 64, 4], premultiplied; camera directions [B, 3]; text features [B, 768]."""

    coarse: Tensor
    true: Tensor
    camera: Tensor
    text: Tensor


class ViewPairs:
    """Draws batches of augmented pairs of the training objects."""

    def __init__(
        self, corpus: Corpus, indices: Sequence[int], shards: list[np.ndarray], features: dict[str, Tensor]
    ) -> None:
        """Takes pairs of the corpus objects `indices`, in the order of the shards' uint8 rows [n, V, 64, 64, 4].
        features: by caption.
        """
        self.indices = list(indices)
        self.records = [corpus.records[i] for i in self.indices]
        self.shards, self.features = shards, features
        self.views, self.angles = corpus.array("views"), corpus.array("cameras")

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, size: int, generator: torch.Generator, augmented: bool = True) -> ViewBatch:
        """A random batch of `size` views of as many random objects."""
        rows = torch.randint(len(self), (size,), generator=generator).tolist()
        columns = torch.randint(self.views.shape[1], (size,), generator=generator).tolist()
        coarse, true = self.images(rows, columns)
        angles = np.stack([self.angles[self.indices[row], view] for row, view in zip(rows, columns, strict=True)])
        camera = camera_directions(orbit(torch.from_numpy(angles[:, 0]), torch.from_numpy(angles[:, 1]), 1))
        recolored = torch.rand(size, generator=generator) < RECOLORED * augmented
        choices = torch.rand(size, generator=generator).tolist()
        texts = [self._caption(*row) for row in zip(rows, choices, recolored.tolist(), strict=True)]
        if augmented:
            coarse, true, camera = self._mirror(rows, coarse, true, camera, generator)
            matrices = _color_maps(coarse, recolored, generator)
            coarse, true = (_map_colors(images, matrices) for images in (coarse, true))
        return ViewBatch(coarse, true, camera, torch.stack([self.features[text] for text in texts]))

    def images(self, rows: list[int], columns: list[int]) -> tuple[Tensor, Tensor]:
        """The coarse and the true views of objects (rows of this set) from some of their cameras."""
        places = list(zip(rows, columns, strict=True))
        coarse = np.stack([self.shards[row // SHARD_OBJECTS][row % SHARD_OBJECTS, view] for row, view in places])
        true = np.stack([self.views[self.indices[row], view] for row, view in places])
        return torch.from_numpy(coarse).float() / 255, premultiplied(true)

    def _caption(self, row: int, choice: float, recolored: bool) -> str:
        record = self.records[row]
        # A recoloured view is not what the captions with colours say; the bare nouns stay true.
        options = record.nouns if recolored else view_captions(record.captions, record.nouns)
        return options[int(choice * len(options))]

    def _mirror(
        self, rows: list[int], coarse: Tensor, true: Tensor, camera: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Generated scenes say left and right, so they are never mirrored.
        may = torch.tensor([self.records[row].category != "primitives" for row in rows])
        mirror = may & (torch.rand(len(rows), generator=generator) < MIRRORED)
        pick = mirror.view(-1, 1, 1, 1)
        flipped = camera * camera.new_tensor([-1.0, 1.0, 1.0])
        return (
            torch.where(pick, coarse.flip(2), coarse),
            torch.where(pick, true.flip(2), true),
            torch.where(mirror[:, None], flipped, camera),
        )


def view_captions(captions: list[str], nouns: list[str]) -> list[str]:
    return list(dict.fromkeys([*captions, *nouns]))


def prepare_pairs(
    corpus: Corpus, prior: ShapePrior, folder: Path, reporter: Reporter, text: TextEncoder | None = None
) -> ViewPairs:
    """The pairs of the training objects, from `folder` as far as they are there. Held-out objects are never touched.

    Coarse views belong to one corpus and one shape prior: another of either gets a folder of its own.
    """
    indices = [int(i) for i in corpus.training_indices() if corpus.records[int(i)].nouns]
    folder = folder / f"pairs-{fingerprint(corpus, prior)}"
    folder.mkdir(parents=True, exist_ok=True)
    reporter.stage("rendering the coarse views")
    shards = []
    for start in range(0, len(indices), SHARD_OBJECTS):
        path, some = folder / f"coarse-{start // SHARD_OBJECTS:04d}.npy", indices[start : start + SHARD_OBJECTS]
        shard = _read_shard(path, (len(some), *corpus.array("views").shape[1:]))
        if shard is None:
            _write_shard(path, corpus, prior, some)
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
        shards.append(shard)
        reporter.step(min(start + SHARD_OBJECTS, len(indices)), len(indices), {})
    return ViewPairs(corpus, indices, shards, _caption_features(corpus, indices, folder, reporter, text))


def fingerprint(corpus: Corpus, prior: ShapePrior) -> str:
    """Twelve hexadecimal digits that change with the corpus' objects and with what the prior's codes decode to."""
    digest = hashlib.sha256((corpus.folder / "objects.json").read_bytes())
    for module in (prior.code, prior.decoder, *([prior.refiner] if prior.refiner else [])):
        for value in module.state_dict().values():
            digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    return digest.hexdigest()[:12]


def _read_shard(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The uint8 images of a shard; None where it is missing, cut off, or of another shape."""
    try:
        shard: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return shard if shard.shape == shape and shard.dtype == np.uint8 else None


def _write_shard(path: Path, corpus: Corpus, prior: ShapePrior, indices: list[int]) -> None:
    views = [coarse_views(prior, encode_object(prior, corpus, i), corpus_cameras(corpus, i)) for i in indices]
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp.npy")
    np.save(temporary, (torch.stack(views) * 255).round().to(torch.uint8).numpy())
    os.replace(temporary, path)


def _caption_features(
    corpus: Corpus, indices: list[int], folder: Path, reporter: Reporter, text: TextEncoder | None
) -> dict[str, Tensor]:
    lists = [view_captions(corpus.records[i].captions, corpus.records[i].nouns) for i in indices]
    captions = list(dict.fromkeys(caption for some in lists for caption in some))
    path = folder / "captions.safetensors"
    if not path.is_file():
        reporter.stage("encoding the captions")
        save_tensors(path, {"features": (text or TextEncoder()).encode(captions).half()})
    features = load_weights(path, {"features": (len(captions), FEATURES)})["features"]
    return dict(zip(captions, features.float(), strict=True))


def _color_maps(coarse: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Linear maps of colours [B, 3, 3]: the identity, or for the chosen ones [B] a swap of channels or a tint.

    A tint turns every colour to a brightness of one hue, as bright on average as the hue itself.
    """
    maps = torch.eye(3).repeat(len(coarse), 1, 1)
    weights = torch.tensor(LUMA)
    for row in chosen.nonzero()[:, 0].tolist():
        if torch.rand((), generator=generator) < 0.5:
            maps[row] = torch.eye(3)[torch.randperm(3, generator=generator)]
        else:
            hue = 0.05 + 0.9 * torch.rand(3, generator=generator)
            brightness = (coarse[row, ..., :3] @ weights).sum() / coarse[row, ..., 3].sum().clamp(min=1)
            maps[row] = hue[:, None] * weights / brightness.clamp(min=0.15)
    return maps


def _map_colors(images: Tensor, maps: Tensor) -> Tensor:
    # Linear maps act on premultiplied colours as on straight ones.
    alpha = images[..., 3:]
    return torch.cat([torch.einsum("bij,bhwj->bhwi", maps, images[..., :3]).minimum(alpha), alpha], -1)
