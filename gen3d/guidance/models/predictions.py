"""What a network predicts as a prediction of the noise, and the two halves of a batch by name.

For x_t = a x + s e, with the conversions of `gen3d.guidance.paths`:
    epsilon                e itself
    v_prediction           v = a e - s x (Salimans & Ho 2022)
    flow                   u = e - x (Liu et al. 2022)
    sample                 x
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.guidance.contract import Halves, NoisePath
from gen3d.guidance.paths import DiscretePath, noise_from_clean, noise_from_v, noise_from_velocity

HALVES = ("conditional", "unconditional")
"""The order in which `stack` puts the halves of a batch, and `named` finds them."""

CONVERSIONS = {"v_prediction": noise_from_v, "flow": noise_from_velocity, "sample": noise_from_clean}
PREDICTIONS = ("epsilon", *CONVERSIONS)


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
    if kind not in CONVERSIONS:
        raise Gen3DError(f"The model predicts '{kind}', which is none of {', '.join(PREDICTIONS)}; use another model.")
    return CONVERSIONS[kind](path, noisy, output, t)


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
