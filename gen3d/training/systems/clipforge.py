"""CLIP-Forge: shape codes given a picture."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch
from torch import Tensor

from gen3d.corpus.fields import TRUNCATION
from gen3d.encoders.conditional_flow import ConditionalFlow, FlowSizes
from gen3d.encoders.trained import save_encoder
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.priors.linear_code import DISTANCE_RANGE, LinearCode, surface_grids
from gen3d.training import losses
from gen3d.training.encoder_data import EncoderData, Frozen
from gen3d.training.systems.base import (
    Batch,
    Objective,
    Options,
    System,
    unit,
    with_clip,
)


class FlowObjective(Objective):
    """The likelihood of shape codes given the frozen feature of one picture of the shape. It sees no text."""

    def __init__(self, flow: ConditionalFlow) -> None:
        super().__init__()
        self.net = flow
        self.log_scale.requires_grad_(False)

    def forward(self, batch: Batch) -> Tensor:
        return losses.flow_loss(*self.net(batch["codes"], batch["images"]))


def clipforge_system(
    data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options
) -> System:
    codes = shape_codes(data, load_linear_code())
    sizes = FlowSizes(codes.shape[1], clip.dimension, **options.sizes)
    flow = ConditionalFlow(sizes)
    flow.fit(codes)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator)
        view = torch.randint(data.view_count, (len(objects),), generator=generator)
        # Noise on the condition is what lets texts, which lie beside the pictures, take their place.
        images = frozen.views[objects, view]
        noise = torch.randn(images.shape, generator=generator) / math.sqrt(images.shape[1])
        return {"codes": codes[objects], "images": unit(images + 0.2 * noise)}

    def save(objective: FlowObjective, out: Path) -> Path:
        details = {"sizes": dataclasses.asdict(sizes)}
        return with_clip(folder, out, save_encoder(out, "clipforge", objective.net, details))

    return System(FlowObjective(flow), batch, save)


def load_linear_code() -> LinearCode:
    """The linear code of the packaged shape prior, which learned shapes without texts."""
    from gen3d.priors.shape_prior import ShapePrior

    return ShapePrior.load().code


@torch.no_grad()
def shape_codes(data: EncoderData, code: LinearCode) -> Tensor:
    """The codes [N, K] of the training objects: shape, then appearance."""
    grid, surface, rgb = (data.corpus.array(name) for name in ("grid", "surface", "surface_rgb"))
    found = []
    for row in data.rows.tolist():
        distances = torch.from_numpy(grid[row].copy()).float().flatten() * (TRUNCATION / 127)
        points, colors = (torch.from_numpy(array[row].copy()).float()[None] for array in (surface, rgb))
        areas = torch.full(points.shape[:2], data.corpus.records[row].area / points.shape[1])
        appearance = surface_grids(SurfaceCloud(points, areas, colors / 255))[1]
        distances = distances.clamp(-DISTANCE_RANGE, DISTANCE_RANGE)[None]
        found.append(torch.cat([code.encode_distance(distances), code.encode_color(appearance)], 1))
    return torch.cat(found)
