"""Makes representations by name: a new one is a file here, and settings and a line in `config.representations`."""

from __future__ import annotations

import importlib
from typing import Any, cast

import torch

from gen3d.config.representations import REPRESENTATIONS
from gen3d.config.schema import RunConfig
from gen3d.representations.contract import Representation
from gen3d.representations.shape import Shape


def rebuild(state: dict[str, Any], config: RunConfig, generator: torch.Generator) -> Representation:
    """The representation that `config.representation` names, as its `state` told."""
    return cast(Representation, _class_of(config).from_state(state, getattr(config, config.representation), generator))


def build(shape: Shape, config: RunConfig, generator: torch.Generator) -> Representation:
    """The representation that `config.representation` names, as `shape`, with the settings of its section."""
    return cast(Representation, _class_of(config).from_shape(shape, getattr(config, config.representation), generator))


def _class_of(config: RunConfig) -> Any:
    module, _, name = REPRESENTATIONS[config.representation].partition(":")
    return getattr(importlib.import_module(module), name)
