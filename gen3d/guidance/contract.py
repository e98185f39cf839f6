"""What score distillation asks of a diffusion prior, and what every rule gets to see. Any prior x any rule.

Times run from 0 (clean) to 1 (noise) for all priors. Every prediction is one of the noise, whatever the network
itself predicts, and its two halves are named: nothing depends on the order of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras


class NoisePath(Protocol):
    """The forward process x_t = alpha(t) x + sigma(t) e of a prior, for times [B] in 0..1."""

    def alpha(self, t: Tensor) -> Tensor:
        """The share [B] of the clean sample at times t [B]; it falls from about 1 to about 0."""

    def sigma(self, t: Tensor) -> Tensor:
        """The share [B] of the noise at times t [B]; it rises from about 0 to about 1."""


@dataclass(frozen=True)
class Halves:
    """Noise predictions under the prompt and under the empty (or negative) prompt, same shape."""

    conditional: Tensor
    unconditional: Tensor

    def guided(self, scale: float) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022): uncond + scale (cond - uncond)."""
        return self.unconditional + scale * (self.conditional - self.unconditional)


@dataclass(frozen=True)
class PromptSet:
    """The texts of a run. views: the prompt for "front", "side", "back" and "overhead" views, or nothing."""

    positive: str
    negative: str = ""
    views: dict[str, str] | None = None


class DiffusionPrior(Protocol):
    """A frozen text-to-image (or text-to-view) diffusion model.

    resolution: side in pixels of the images it sees. channels: 3 for RGB before a background, 4 for premultiplied RGBA.
    views: how many views of one object it denoises jointly (1, or 4 for MVDream-like models); batches are multiples.
    path: its forward process.
    """

    resolution: int
    channels: int
    views: int
    path: NoisePath

    def encode_prompt(self, prompts: PromptSet) -> Any:
        """The conditioning that `predict` takes; text encoders may be freed afterwards (`free_text_encoders`)."""

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """Premultiplied RGBA renders [B, H, W, 4] in 0..1 -> what the prior diffuses, [B, C, h, w]; differentiable.

        background: [3] or [B, H, W, 3] behind the renders; ignored by priors of RGBA.
        """

    def predict(self, noisy: Tensor, t: Tensor, conditioning: Any, cameras: Cameras | None) -> Halves:
        """Noise predictions for `noisy` [B, C, h, w] at times t [B]; no gradients are kept."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, 3 or 4, resolution, resolution] in 0..1 of what the prior diffuses. Never called by SDS."""

    def free_text_encoders(self) -> None:
        """Gives back the memory of the text encoders; `encode_prompt` may not be called afterwards."""

    def rest(self) -> None:
        """Called after each step, when no gradient has to pass through the network any more: may give memory back."""


Predict = Callable[[Tensor, Tensor], Halves]
"""What a rule knows of the prior: a function (noisy [B, ...], times [B]) -> noise predictions."""


@dataclass(frozen=True)
class Draw:
    """What every rule sees: one noising of the encoded scene, and the prior to ask.

    clean: [B, ...] what the prior would diffuse of the scene (images, latents, codes), detached. noise: same shape.
    t: [B] times. path: the prior's. predict: asks the prior; a rule may ask more than once. scale: of guidance.
    generator: for rules that draw more noise.
    """

    clean: Tensor
    noise: Tensor
    t: Tensor
    path: NoisePath
    predict: Predict
    scale: float
    generator: torch.Generator

    def spread(self, values: Tensor) -> Tensor:
        """Values [B] as [B, 1, ...], to multiply with samples."""
        return values.view(-1, *[1] * (self.clean.dim() - 1))

    def noisy(self) -> Tensor:
        """The noisy samples x_t = alpha x + sigma e."""
        return self.spread(self.path.alpha(self.t)) * self.clean + self.spread(self.path.sigma(self.t)) * self.noise


Rule = Callable[[Draw], Tensor]
"""A rule: Draw -> gradient with respect to `clean`, of the same shape, already weighted by w(t)."""
