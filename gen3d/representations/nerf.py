"""The `nerf` representation: a small network that knows density and colour at every point.

It sees points through a multi-resolution hash grid (Müller et al. 2022, instant-ngp) or through frequencies (Mildenhall
et al. 2020). Colours are those of the lit object, the same from every side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from gen3d.config.schema import NerfConfig
from gen3d.rendering.encodings import frequency_encode, hash_encode, hash_resolutions
from gen3d.representations.network import Network
from gen3d.representations.shape import Shape
from gen3d.representations.volume import VolumeScene
from gen3d.representations.volume_fit import fitted

FEATURES = 2
"""How many features each level of the hash grid has."""


class Nerf(VolumeScene):
    """A radiance field. table: [levels, rows, 2] of the hash grid; [0, 0, 0] with frequencies. network: from features
    to raw density and colour logits.
    """

    gain = 8.0  # with it, what a network has to reach at its start is of the order of one

    def __init__(self, config: NerfConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        self.config = config
        hashed = config.encoding == "hash"
        shape = (config.levels, config.rows, FEATURES) if hashed else (0, 0, 0)
        self.table = Parameter(2e-2 * (torch.rand(shape, generator=self.generator) - 0.5))
        self.resolutions = hash_resolutions(config.levels, config.coarsest, config.finest)
        inputs, width = (config.levels * FEATURES, config.width) if hashed else (3 + 6 * config.bands, 2 * config.width)
        self.network = Network((inputs, width, width, 4), self.generator)

    @classmethod
    def from_shape(cls, shape: Shape, config: NerfConfig, generator: torch.Generator) -> Nerf:
        """A network that has learned the shape in `config.fit_steps` steps."""
        return fitted(cls(config, generator), shape, config.fit_steps)

    def param_groups(self) -> list[dict[str, Any]]:
        table: dict[str, Any] = {"name": "table", "params": [self.table], "lr": self.config.lr_table}
        weights: dict[str, Any] = {
            "name": "network",
            "params": list(self.network.parameters()),
            "lr": self.config.lr_network,
        }
        groups = [table, weights] if self.table.numel() else [weights]
        return [{**group, "lr_final": group["lr"] / 10} for group in groups]

    def raw(self, points: Tensor) -> Tensor:
        if self.config.encoding == "hash":
            features = hash_encode(points, self.table, self.resolutions)
        else:
            features = frequency_encode(points, self.config.bands)
        raw: Tensor = self.network(features)
        return raw
