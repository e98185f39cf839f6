"""Variational score distillation (ProlificDreamer, Wang et al. 2023): SDS against the scene's own score.

SDS pulls every sample to a mode. VSD keeps n particles (scenes) and a student that predicts the noise of *their*
renders, a low-rank adapter on the prior's own network; the difference of the two predictions moves the distribution of
the particles to the prior's, not to its mode. The student learns by the denoising loss, one step for each of theirs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from gen3d.errors import UsageError
from gen3d.guidance.contract import Draw, NoisePath
from gen3d.guidance.paths import add_noise
from gen3d.guidance.rules import Weight, one_minus_abar
from gen3d.guidance.timesteps import Window, draw_times
from gen3d.runtime.transfers import like

NoisePredict = Callable[[Tensor, Tensor], Tensor]
"""A function (noisy [B, ...], t [B]) -> noise prediction under the prompt, with gradients: the student's."""

ATTENTION = r"to_(q|k|v|out)"
"""Layers that ProlificDreamer adapts, in the names of diffusers' networks."""


def vsd(draw: Draw, student: NoisePredict, weight: Weight = one_minus_abar) -> Tensor:
    """Variational score distillation: w (e_s - e_student) at the same x_t (Wang et al. 2023). Two predictions.

    It rests where the particles are distributed as the prior under the prompt, for scale 1. With an untrained student,
    which predicts c, it is CSD at scale s - 1. A student that has learned a single particle exactly predicts e, and
    VSD is SDS.
    """
    noisy = draw.noisy()
    predicted = draw.predict(noisy, draw.t).guided(draw.scale)
    with torch.no_grad():
        own = student(noisy, draw.t)
    return draw.spread(weight(draw.path.alpha(draw.t), draw.path.sigma(draw.t))) * (predicted - own)


_SAME_PIXELS = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
"""What makes a convolution look at the same pixels as another."""


class _LowRank(nn.Module):
    """The change scale up(down(x)) of a layer, with `up` zero at first; kept in float32 whatever the layer beside it
    computes in.
    """

    def __init__(
        self,
        layer: nn.Linear | nn.Conv2d,
        rank: int,
        scale: float,
        generator: torch.Generator,
        device: torch.device | None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.down: nn.Module
        self.up: nn.Module
        # The layers are built without memory first: their own initialisation would draw from the global generator.
        if isinstance(layer, nn.Linear):
            self.down = nn.Linear(layer.in_features, rank, bias=False, device="meta")
            self.up = nn.Linear(rank, layer.out_features, bias=False, device="meta")
        else:
            pixels: dict[str, Any] = {name: getattr(layer, name) for name in _SAME_PIXELS}
            self.down = nn.Conv2d(layer.in_channels, rank, bias=False, device="meta", **pixels)
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False, device="meta")
        self.to_empty(device=device or layer.weight.device)
        down, up = next(self.down.parameters()), next(self.up.parameters())
        with torch.no_grad():
            down.copy_(torch.randn(down.shape, generator=generator) / math.sqrt(down[0].numel()))
            up.zero_()

    def forward(self, hidden: Tensor) -> Tensor:
        changed: Tensor = self.up(self.down(hidden.float()))
        return self.scale * changed


class LowRankAdapter(nn.Module):
    """Low-rank changes (LoRA, Hu et al. 2021) to the linear and convolution layers of any network, off by default.

    network: for example a diffusers U-Net or transformer, or `CodeDenoiser`; it is frozen, and stays as it is: hooks
    add the changes, only within `with adapter.active():`, so the same network is prior and student. targets: a regular
    expression searched in the names of its layers (`ATTENTION`, or everything). view_layer: the name of a linear layer
    whose output is one vector a sample (a U-Net's "time_embedding.linear_2", `CodeDenoiser`'s "time"), to which an
    embedding of the camera (view_size numbers a sample) is added, zero at first: the student knows which view it sees.
    device: where the network computes, if its weights may be elsewhere while it does not; None for where they are.

    Its parameters and state_dict are the changes alone. Raises UsageError when nothing matches.
    """

    def __init__(
        self,
        network: nn.Module,
        rank: int = 4,
        targets: str = "",
        scale: float = 1.0,
        view_layer: str | None = None,
        view_size: int = 12,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if rank < 1:
            raise UsageError(f"The rank of a low-rank adapter must be at least 1, not {rank}.")
        generator = torch.Generator().manual_seed(seed)
        layers = _adaptable(network, targets)
        if not layers:
            raise UsageError(
                f"{type(network).__name__} has no linear or ungrouped convolution layer whose name matches "
                f"{targets!r}: choose other targets, or '' for all of them."
            )
        if view_layer is not None and not isinstance(dict(network.named_modules()).get(view_layer), nn.Linear):
            raise UsageError(
                f"The view layer must be a linear layer of {type(network).__name__}, and {view_layer!r} is none."
            )
        network.requires_grad_(False)
        self.names = list(layers)
        self.changes = nn.ModuleList(_LowRank(layer, rank, scale, generator, device) for layer in layers.values())
        self.view_embedding: nn.Sequential | None = None
        self._on = False
        self._views: Tensor | None = None
        pairs = zip(layers.values(), self.changes, strict=True)
        self._handles = [layer.register_forward_hook(self._adding(change)) for layer, change in pairs]
        if view_layer is not None:
            self._handles.append(self._embed_views(network, view_layer, view_size, generator, device))

    @contextmanager
    def active(self, views: Tensor | None = None) -> Iterator[None]:
        """The network predicts as the student inside. views: [B, view_size] of the cameras, for a view layer."""
        before = self._on, self._views
        self._on, self._views = True, views
        try:
            yield
        finally:
            self._on, self._views = before

    def remove(self) -> None:
        """Takes the changes off the network for good."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _adding(self, change: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return output + change(inputs[0]).to(output) if self._on else None

        return hook

    def _embed_views(
        self, network: nn.Module, name: str, size: int, generator: torch.Generator, device: torch.device | None
    ) -> RemovableHandle:
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        embedding = nn.Sequential(
            nn.Linear(size, 64, device="meta"), nn.SiLU(), nn.Linear(64, layer.out_features, device="meta")
        )
        embedding.to_empty(device=device or layer.weight.device)
        with torch.no_grad():
            for parameter in embedding.parameters():
                parameter.zero_()
            first = next(embedding.parameters())
            first.copy_(torch.randn(first.shape, generator=generator) / math.sqrt(size))
        self.view_embedding = embedding

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._on or self._views is None:
                return None
            if len(self._views) != len(output):
                raise UsageError(f"The adapter has views of {len(self._views)} samples for a batch of {len(output)}.")
            added: Tensor = embedding(self._views.to(output.device).float())
            return output + added.to(output)

        return layer.register_forward_hook(hook)


def _adaptable(network: nn.Module, targets: str) -> dict[str, nn.Linear | nn.Conv2d]:
    return {
        name: layer
        for name, layer in network.named_modules()
        if re.search(targets, name)
        and (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1))
    }


def denoising_loss(student: NoisePredict, path: NoisePath, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the student learns by: the mean of |student(x_t) - e|^2 over samples [B, ...] at times t [B]."""
    return F.mse_loss(student(add_noise(path, clean, noise, t), t).float(), noise.float())


def train_student(student: NoisePredict, optimizer: torch.optim.Optimizer, draw: Draw, window: Window) -> Tensor:
    """One step of the student on the particles draw.clean [n, ...], at new times of the window and noise: the loss [],
    detached.
    """
    t = like(draw_times(window, len(draw.clean), draw.generator), draw.t)
    shape, generator = draw.clean.shape, draw.generator
    noise = like(torch.randn(shape, generator=generator, dtype=draw.clean.dtype), draw.clean)
    optimizer.zero_grad(set_to_none=True)
    loss = denoising_loss(student, draw.path, draw.clean, noise, t)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


@dataclass
class VariationalRule:
    """VSD as a rule: the gradient of the n particles draw.clean, and then `updates` steps of the student on them.

    student: predicts with the adapter's network, under the prompt. window: of the times it is trained at. views: the
    cameras' features [n, view_size] of this step, set before each call where the adapter has a view layer. loss: the
    student's last one, NaN before the first.
    """

    adapter: LowRankAdapter
    student: NoisePredict
    optimizer: torch.optim.Optimizer
    window: Window = field(default_factory=lambda: Window(0.02, 0.98))
    updates: int = 1
    weight: Weight = one_minus_abar
    views: Tensor | None = None
    loss: Tensor | float = math.nan

    def __call__(self, draw: Draw) -> Tensor:
        gradient = vsd(draw, self._predict, self.weight)
        # The adapter is active until after the backward pass: a network with checkpointing runs forward again in it.
        with torch.enable_grad(), self.adapter.active(self.views):
            for _ in range(self.updates):
                self.loss = train_student(self.student, self.optimizer, draw, self.window)
        return gradient

    def state_dict(self) -> dict[str, Any]:
        """What the student has learned; plain data."""
        return {
            "adapter": {name: value.detach().clone() for name, value in self.adapter.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            "loss": float(self.loss),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self.adapter.load_state_dict(state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.loss = state["loss"]

    def _predict(self, noisy: Tensor, t: Tensor) -> Tensor:
        with self.adapter.active(self.views):
            return self.student(noisy, t)


def adam(adapter: LowRankAdapter, learning_rate: float = 1e-4) -> torch.optim.Adam:
    """The student's optimiser; 1e-4 is ProlificDreamer's rate."""
    return torch.optim.Adam(adapter.parameters(), lr=learning_rate)
