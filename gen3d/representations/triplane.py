"""The `triplane` representation: three planes of features, whose values at a point a small network reads (Chan et al.
2022, EG3D).

The planes see the point from the front, from above and from the side. Colours are those of the lit object.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from gen3d.config.schema import TriplaneConfig
from gen3d.rendering.encodings import triplane_encode
from gen3d.rendering.regularizers import total_variation
from gen3d.rendering.views import Render
from gen3d.representations.network import Network
from gen3d.representations.shape import Shape
from gen3d.representations.volume import VolumeScene
from gen3d.representations.volume_fit import fitted

_START = 0.1  # standard deviation of the features before the fit


class Triplane(VolumeScene):
    """A field on planes: [3, C, R, R], xy, xz and yz, channels last in memory. network: from 3 C features to raw
    density and colour logits.
    """

    gain = 8.0  # with it, what a network has to reach at its start is of the order of one

    def __init__(self, config: TriplaneConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        self.config = config
        size, channels = config.resolution, config.channels
        self.planes = Parameter(planes_of(size, channels, self.generator))
        self.network = Network((3 * channels, config.width, config.width, 4), self.generator)

    @classmethod
    def from_shape(cls, shape: Shape, config: TriplaneConfig, generator: torch.Generator) -> Triplane:
        """Planes and a network that have learned the shape in `config.fit_steps` steps."""
        return fitted(cls(config, generator), shape, config.fit_steps)

    def param_groups(self) -> list[dict[str, Any]]:
        planes: dict[str, Any] = {"name": "planes", "params": [self.planes], "lr": self.config.lr_planes}
        network: dict[str, Any] = {
            "name": "network",
            "params": list(self.network.parameters()),
            "lr": self.config.lr_network,
        }
        return [{**group, "lr_final": group["lr"] / 10} for group in (planes, network)]

    def regularization(self, render: Render, progress: float) -> Tensor:
        """What all fields are asked for, and smooth planes."""
        return super().regularization(render, progress) + self.config.variation * total_variation(self.planes, 2)

    def raw(self, points: Tensor) -> Tensor:
        raw: Tensor = self.network(triplane_encode(points, self.planes))
        return raw


def planes_of(size: int, channels: int, generator: torch.Generator) -> Tensor:
    """Random planes [3, channels, size, size] whose channels lie side by side in memory, as the kernels like them."""
    return _START * torch.randn(3, size, size, channels, generator=generator).permute(0, 3, 1, 2)
