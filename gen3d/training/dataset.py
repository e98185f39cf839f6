"""Training material of the shape prior: augmented surface clouds, field samples and captions of training objects."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.corpus.fields import TRUNCATION
from gen3d.corpus.store import Corpus, ObjectRecord
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.geometry.grids import cell_centers
from gen3d.language import captions
from gen3d.priors.linear_code import DISTANCE_GRID, DISTANCE_RANGE
from gen3d.training.recolor import FINISHES, Dominant, find_dominant, random_proportions, recolor, refinish

CLOUD_POINTS = 6144
COLOR_NAMES = tuple(captions.COLORS)
APPEARANCES = ("own", *COLOR_NAMES, *FINISHES, "wooden-light")
"""Every appearance an object is trained with: its own, one colour each, and finishes."""


def appearance_index(name: str) -> int:
    return APPEARANCES.index(name)


class FieldDataset:
    """Augmented samples of the training objects of a corpus, held in memory."""

    def __init__(self, corpus: Corpus) -> None:
        self.indices = corpus.training_indices()
        self.records = [corpus.records[i] for i in self.indices]
        load = lambda name: np.asarray(corpus.array(name)[self.indices])  # noqa: E731
        self.surface = torch.from_numpy(load("surface"))
        self.surface_rgb = torch.from_numpy(load("surface_rgb"))
        self.surface_part = torch.from_numpy(load("surface_part"))
        self.volume = torch.from_numpy(load("volume"))
        self.grid = torch.from_numpy(load("grid"))
        self.volume_rgb = torch.from_numpy(load("volume_rgb"))
        self.volume_part = torch.from_numpy(load("volume_part"))
        self.dominant: list[Dominant] = [
            find_dominant(rgb[::8].float() / 255, part[::8])
            for rgb, part in zip(self.surface_rgb, self.surface_part, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.records)

    def paint(self, index: int, rgb: Tensor, points: Tensor, part: Tensor, appearance: str) -> Tensor:
        """Colours [P, 3] in 0..1 of an object's points under one of APPEARANCES."""
        colors = rgb.float() / 255
        dominant = self.dominant[index]
        if appearance == "own":
            return colors
        if appearance in captions.COLORS:
            return recolor(colors, part, dominant, appearance)
        finish, _, light = appearance.partition("-")
        return refinish(colors, points, part, dominant, finish, tone=1 if light else 0)

    def cloud(
        self, index: int, appearance: str, mirror: bool, proportions: Tensor, generator: torch.Generator
    ) -> SurfaceCloud:
        """A surface cloud of one object, batch size 1."""
        pick = torch.randint(self.surface.shape[1], (CLOUD_POINTS,), generator=generator)
        points = self.surface[index, pick].float()
        colors = self.paint(index, self.surface_rgb[index, pick], points, self.surface_part[index, pick], appearance)
        area = self.records[index].area * float(proportions.prod()) ** (2 / 3)
        return SurfaceCloud(
            (points * self._flip(index, mirror) * proportions)[None],
            torch.full((1, CLOUD_POINTS), area / CLOUD_POINTS),
            colors[None],
        )

    def distance_grid(self, index: int, mirror: bool, proportions: Tensor) -> Tensor:
        """Clamped signed distances [40^3] (z, y, x) of one augmented object."""
        grid = self.grid[index].float() * (TRUNCATION / 127)
        source = cell_centers(DISTANCE_GRID) * self._flip(index, mirror) / proportions
        # Outside of the cube an object has nothing: the border's distances grow no further.
        sampled = F.grid_sample(grid[None, None], source[None], padding_mode="border", align_corners=False)
        return (sampled.flatten() * float(proportions.mean())).clamp(-DISTANCE_RANGE, DISTANCE_RANGE)

    def may_mirror(self, index: int) -> bool:
        """Generated scenes say left and right, so they are never mirrored."""
        return self.records[index].category != "primitives"

    def _flip(self, index: int, mirror: bool) -> Tensor:
        return torch.tensor([-1.0 if mirror and self.may_mirror(index) else 1.0, 1.0, 1.0])

    def field_samples(
        self, index: int, appearance: str, mirror: bool, proportions: Tensor, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Points [count, 3], signed distances [count] and colours [count, 3] of one augmented object."""
        pick = torch.randint(self.volume.shape[1], (count,), generator=generator)
        volume = self.volume[index, pick].float()
        points, distance = volume[:, :3], volume[:, 3]
        colors = self.paint(index, self.volume_rgb[index, pick], points, self.volume_part[index, pick], appearance)
        # Under unequal scaling a distance is only known up to the factors; their mean keeps the zero level exact.
        return points * self._flip(index, mirror) * proportions, distance * float(proportions.mean()), colors

    def proportions(self, generator: torch.Generator) -> Tensor:
        """Unit proportions half of the time, random ones otherwise."""
        return torch.ones(3) if torch.rand((), generator=generator) < 0.5 else random_proportions(generator)


def caption_choices(record: ObjectRecord, appearance: str) -> list[str]:
    """Captions of an object under an appearance; empty when the pair is held out of training."""
    if appearance == "own":
        return list(dict.fromkeys([*record.captions, *record.nouns]))
    adjective = appearance.split("-")[0]
    nouns = record.nouns[:3]
    if record.category == "primitives":
        return []  # their captions name the colours already
    choices = []
    for noun in nouns:
        if adjective in captions.COLORS:
            if captions.is_held_out_pair(adjective, record.nouns):
                return []
            choices += captions.recolored(noun, adjective)
        else:
            choices += [f"{adjective} {noun}", f"a {adjective} {noun}"]
            choices += [f"{noun} made of wood"] if adjective == "wooden" else [f"{noun} made of metal"]
    return choices
