"""Every representation by name. A new one is one file and one line here (and its settings in `gen3d.config.schema`)."""

from __future__ import annotations

import importlib
from typing import Any, cast

import torch

from gen3d.config.schema import RunConfig
from gen3d.representations.contract import Representation
from gen3d.representations.shape import Shape

REPRESENTATIONS = {
    "splats": "gen3d.representations.adaptive:SplatScene",
    "dmtet": "gen3d.representations.dmtet:Dmtet",
    "mesh": "gen3d.representations.mesh:TexturedMesh",
    "points": "gen3d.representations.points:PointCloud",
    "primitives": "gen3d.representations.primitives:Primitives",
    "voxels": "gen3d.representations.voxels:Voxels",
    "nerf": "gen3d.representations.nerf:Nerf",
    "triplane": "gen3d.representations.triplane:Triplane",
    "sdf": "gen3d.representations.sdf:Sdf",
}
"""Name -> class, which is made by `from_shape(shape, settings, generator)`; the settings are `config.<name>`."""


def rebuild(state: dict[str, Any], config: RunConfig, generator: torch.Generator) -> Representation:
    """The representation that `config.representation` names, as its `state` told."""
    return cast(Representation, _class_of(config).from_state(state, getattr(config, config.representation), generator))


def build(shape: Shape, config: RunConfig, generator: torch.Generator) -> Representation:
    """The representation that `config.representation` names, as `shape`."""
    return cast(Representation, _class_of(config).from_shape(shape, getattr(config, config.representation), generator))


def _class_of(config: RunConfig) -> Any:
    module, _, name = REPRESENTATIONS[config.representation].partition(":")
    return getattr(importlib.import_module(module), name)
