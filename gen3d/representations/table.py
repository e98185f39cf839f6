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
    """The representation that `config.representation` names, as its `state` told; on the CPU, as `build` makes it,
    wherever the state was taken.
    """
    settings = getattr(config, config.representation)
    return cast(Representation, _class_of(config).from_state(_on_cpu(state), settings, generator))


def build(shape: Shape, config: RunConfig, generator: torch.Generator) -> Representation:
    """The representation that `config.representation` names, as `shape`, with the settings of its section."""
    return cast(Representation, _class_of(config).from_shape(shape, getattr(config, config.representation), generator))


def _on_cpu(state: Any) -> Any:
    """A nested state with its tensors on the CPU."""
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    return state.cpu() if isinstance(state, torch.Tensor) else state


def _class_of(config: RunConfig) -> Any:
    module, _, name = REPRESENTATIONS[config.representation].partition(":")
    return getattr(importlib.import_module(module), name)
