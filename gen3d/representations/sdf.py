"""The `sdf` representation: a signed distance field with colours, volume rendered by NeuS or VolSDF.

Distances come from one smooth hidden layer over hash or tri-plane features, whose derivative is written out: normals
and the eikonal term then cost one pass forward and one back.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import normalize, softplus

from gen3d.config.schema import SdfConfig
from gen3d.rendering.encodings import hash_encode, hash_encode_jacobian, hash_resolutions, triplane_encode
from gen3d.rendering.occupancy import PackedSamples
from gen3d.rendering.regularizers import eikonal
from gen3d.rendering.views import Render
from gen3d.rendering.volume import Rays, composite
from gen3d.representations.network import CHUNK, Network
from gen3d.representations.shape import Shape
from gen3d.representations.triplane import planes_of
from gen3d.representations.volume import CELL, VolumeRender, VolumeScene
from gen3d.representations.volume_fit import fitted, settle
from gen3d.runtime.transfers import constant

HASH_FEATURES = 2
PLANE_CHANNELS = 8
SMOOTHNESS = 10.0
"""How sharply the softplus in the hidden layer bends: the larger, the more it is a ReLU."""

MAX_SHARPNESS = 8 / CELL
"""The greatest sharpness: beyond it the surface would lie between two samples of a ray."""

TRUNCATION = 0.2
"""Distances of a first shape beyond which the fit does not care."""

FIT_RATE = 20.0
"""How many times the learning rates of the run those of the fit are: a sharp surface cannot bear large steps."""

_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
_EAGER = 1.5  # the coarse field underestimates what the fine one hides
_PROBE = 0.5 * CELL  # how far around a point tri-planes are asked for its gradient


class Sdf(VolumeScene):
    """A field of distances and colours. features: [levels, rows, 2] of a hash grid or [3, 8, R, R] planes. hidden: from
    features to a smooth layer.
    distance: from that to the signed distance, world units, negative inside. color: from features to logits.
    log_sharpness: of the logistic (NeuS) or Laplace (VolSDF) distribution around the surface.
    """

    outputs = frozenset({"rgb", "alpha", "depth", "normal"})
    firm = 0.25 * CELL
    faint = -2 * CELL

    def __init__(self, config: SdfConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        self.config, self.hashed = config, config.encoding == "hash"
        self.resolutions = hash_resolutions(config.levels, config.coarsest, config.finest)
        if self.hashed:
            start = torch.rand(config.levels, config.rows, HASH_FEATURES, generator=self.generator)
            start, inputs = 2e-2 * (start - 0.5), config.levels * HASH_FEATURES
        else:
            start, inputs = planes_of(config.resolution, PLANE_CHANNELS, self.generator), 3 * PLANE_CHANNELS
        self.features = Parameter(start)
        self.hidden = Network((inputs, config.width), self.generator)
        self.distance = Network((config.width, 1), self.generator)
        self.color = Network((inputs, config.width, 3), self.generator)
        self.log_sharpness = Parameter(torch.tensor(math.log(config.sharpness)))

    @classmethod
    def from_shape(cls, shape: Shape, config: SdfConfig, generator: torch.Generator) -> Sdf:
        """A field that has learned the shape's distances and lit colours in `config.fit_steps` steps."""
        scene = fitted(cls(config, generator), shape, config.fit_steps, _truncated, unit=CELL, rate=FIT_RATE)
        settle(scene, shape, config.settle_steps)
        return scene

    @property
    def sharpness(self) -> Tensor:
        return self.log_sharpness.exp().clamp(max=MAX_SHARPNESS)

    def param_groups(self) -> list[dict[str, Any]]:
        network = [*self.hidden.parameters(), *self.distance.parameters(), *self.color.parameters()]
        groups: list[dict[str, Any]] = [
            {"name": "features", "params": [self.features], "lr": self.config.lr_features},
            {"name": "network", "params": network, "lr": self.config.lr_network},
            {"name": "sharpness", "params": [self.log_sharpness], "lr": self.config.lr_sharpness},
        ]
        return [{**group, "lr_final": group["lr"] / 10} for group in groups]

    def inside(self, points: Tensor) -> Tensor:
        return -self._distances(self._encode(points))

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        features = self._encode(points)
        return -self._distances(features), self.color(features).sigmoid()

    def blend(self, samples: PackedSamples, rays: Rays) -> tuple[Tensor, ...]:
        distances, gradients, features = self.gradients(samples.positions)
        if self.config.density == "neus":
            slopes = (gradients * rays.directions[samples.ray_index]).sum(1)
            depths = neus_depths(distances, slopes, samples.delta, self.sharpness)
        else:
            depths = volsdf_density(distances, self.sharpness) * samples.delta
        values = torch.cat([self.color(features).sigmoid(), samples.t[:, None], normalize(gradients, dim=1)], 1)
        return *composite(depths, values, samples.offsets), gradients

    def gradients(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances [N], their gradients [N, 3] and the features behind them, at points [N, 3]."""
        if self.hashed:
            features, jacobian = hash_encode_jacobian(points, self.features, self.resolutions)
            return *self._with_gradients(features, jacobian), features
        features = self._encode(points)
        return self._distances(features), self._probed_gradients(points), features

    def transmission(self, inside: Tensor, samples: PackedSamples) -> Tensor:
        """Optical depths [N]; NeuS here takes the next sample of the ray for the far end of an interval."""
        if self.config.density == "volsdf":
            return volsdf_density(-inside, self.sharpness) * samples.delta
        ahead = torch.cat([inside[1:], inside[-1:]])
        goes_on = torch.cat([samples.ray_index[1:] == samples.ray_index[:-1], samples.ray_index.new_zeros(1).bool()])
        rise = softplus(self.sharpness * ahead) - softplus(self.sharpness * inside)
        return torch.where(goes_on[: len(rise)], _EAGER * rise.relu(), 0.0)

    def visibility(self, inside: Tensor) -> Tensor:
        return 1 - torch.exp(-volsdf_density(-inside, self.sharpness) * CELL)

    def regularization(self, render: Render, progress: float) -> Tensor:
        """What all fields are asked for, and that the gradients have the length one."""
        assert isinstance(render, VolumeRender)
        assert render.gradients is not None
        total = super().regularization(render, progress)
        return total + self.config.eikonal * eikonal(render.gradients) if len(render.gradients) else total

    def _encode(self, points: Tensor) -> Tensor:
        if self.hashed:
            return hash_encode(points, self.features, self.resolutions)
        return triplane_encode(points, self.features)

    def _distances(self, features: Tensor) -> Tensor:
        parts = [self.distance(softplus(self.hidden(some), SMOOTHNESS)) for some in features.split(CHUNK)]
        return torch.cat(parts)[:, 0]

    def _with_gradients(self, features: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [N] and their gradients [N, 3], by those of the features [N, F, 3]."""
        inner, outer = self.hidden.layers[0], self.distance.layers[0]
        assert isinstance(inner, torch.nn.Linear)
        assert isinstance(outer, torch.nn.Linear)
        distances, gradients = [], []
        for some, slopes in zip(features.split(CHUNK), jacobian.split(CHUNK), strict=True):
            before = inner(some)
            distances.append(outer(softplus(before, SMOOTHNESS))[:, 0])
            by_features = (torch.sigmoid(SMOOTHNESS * before) * outer.weight[0]) @ inner.weight  # [n, F]
            gradients.append((by_features[:, None] @ slopes)[:, 0])
        return torch.cat(distances), torch.cat(gradients)

    def _probed_gradients(self, points: Tensor) -> Tensor:
        """Gradients [N, 3] from distances at the corners of a small tetrahedron: those of planes jump at texels."""
        corners = constant(_TETRAHEDRON, points)
        around = [self._distances(self._encode(points + _PROBE * corner)) for corner in corners]
        return torch.stack(around, 1) @ corners / (4 * _PROBE)


def _truncated(distances: Tensor) -> Tensor:
    return -distances.clamp(-TRUNCATION, TRUNCATION)


def neus_depths(distances: Tensor, slopes: Tensor, delta: Tensor, sharpness: Tensor) -> Tensor:
    """Optical depths [N] of intervals (Wang et al. 2021, NeuS, equation 13): 1 - alpha = Phi(end) / Phi(begin), where
    Phi is the logistic function of the distance times the sharpness; nothing where the ray leaves the object.

    distances: [N] in the middle of the intervals. slopes: [N] of the distance along the ray. delta: [N] lengths.
    """
    half = 0.5 * delta * slopes.clamp(max=0)
    return softplus(-sharpness * (distances + half)) - softplus(-sharpness * (distances - half))


def volsdf_density(distances: Tensor, sharpness: Tensor) -> Tensor:
    """Densities [N] (Yariv et al. 2021, VolSDF, equations 2 and 3): the sharpness times the Laplace distribution
    function of minus the distance, with 1 / sharpness as its scale.
    """
    tail = 0.5 * torch.exp(-distances.abs() * sharpness)
    return sharpness * torch.where(distances > 0, tail, 1 - tail)
