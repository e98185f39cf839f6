"""What a network predicts as a prediction of the noise, and the two halves of a batch by name.

For x_t = a x + s e:
    epsilon                e itself
    v_prediction           v = a e - s x with a^2 + s^2 = 1 (Salimans & Ho 2022): e = a v + s x_t
    flow                   u = e - x with a = 1 - t, s = t (Liu et al. 2022): e = x_t + (1 - t) u
    sample                 x: e = (x_t - a x) / s
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.guidance.contract import Halves, NoisePath
from gen3d.guidance.paths import DiscretePath

HALVES = ("conditional", "unconditional")
"""The order in which `stack` puts the halves of a batch, and `named` finds them."""

PREDICTIONS = ("epsilon", "v_prediction", "flow", "sample")

MIN_SIGMA = 1e-3
"""Below this a clean prediction says nothing of the noise."""


def stack(conditional: Tensor, unconditional: Tensor) -> Tensor:
    """One batch of both halves, [2B, ...]."""
    parts = {"conditional": conditional, "unconditional": unconditional}
    return torch.cat([parts[name] for name in HALVES])


def named(stacked: Tensor) -> Halves:
    """The halves of a batch [2B, ...] that `stack` made."""
    return Halves(**dict(zip(HALVES, stacked.chunk(len(HALVES)), strict=True)))


def noise_of(kind: str, output: Tensor, noisy: Tensor, t: Tensor, path: NoisePath) -> Tensor:
    """The prediction of the noise that belongs to a network's output, both [B, ...].

    kind: one of `PREDICTIONS`. noisy: what the network saw at times t [B]. Raises Gen3DError for another kind.
    """
    if kind == "epsilon":
        return output
    shape = (-1, *[1] * (noisy.dim() - 1))
    alpha, sigma = path.alpha(t).view(shape), path.sigma(t).view(shape)
    if kind == "v_prediction":
        return alpha * output + sigma * noisy
    if kind == "flow":
        return noisy + alpha * output
    if kind == "sample":
        return (noisy - alpha * output) / sigma.clamp(min=MIN_SIGMA)
    raise Gen3DError(f"The model predicts '{kind}', which is none of {', '.join(PREDICTIONS)}; use another model.")


def scheduler_path(scheduler: Any, name: str) -> tuple[DiscretePath, str]:
    """The forward process of a diffusers scheduler, and which of `PREDICTIONS` its model makes.

    Raises Gen3DError for a scheduler without the variance-preserving process of DDPM.
    """
    kind = scheduler.config.get("prediction_type", "epsilon")
    if getattr(scheduler, "alphas_cumprod", None) is None or kind not in PREDICTIONS:
        raise Gen3DError(
            f"The scheduler {type(scheduler).__name__} of '{name}' (prediction '{kind}') has no discrete noise "
            "schedule that gen3d knows; use a model with a DDPM or DDIM scheduler."
        )
    return DiscretePath(scheduler.alphas_cumprod.float()), kind
