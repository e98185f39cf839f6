"""Perp-Neg: negative prompts that cannot push against the positive one (Armandpour et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.view_prompts import VIEWS, camera_angles, camera_weights

NEGATIVE_VIEWS = ("front", "side")
"""The views whose texts are ever negative, in the order of the columns of `view_negatives`."""

TOWARDS_OWN = (4.0, 0.5, -2.426)
"""Height, rate and shift (see `fading_weight`) of the front's text on the way from side to front, and of the side's on
the way back: it fades to 0 where its own view is reached."""
SIDE_FROM_BACK = (1.0, 0.5, -0.606)
"""Height, rate and shift of the side's text on the way from back to side."""
FRONT_FROM_BACK = (1.0, 0.5, 0.967)
"""Height, rate and shift of the front's text on the way from back to side, where the back has to be kept from showing
another face.
"""


def perpendicular(vectors: Tensor, direction: Tensor) -> Tensor:
    """The part of each sample [B, ...] at right angles to the same sample of `direction`; all of it where that is 0."""
    flat, along = vectors.flatten(1), direction.flatten(1)
    squared = along.square().sum(1, keepdim=True)
    share = (flat * along).sum(1, keepdim=True) / squared.clamp(min=torch.finfo(flat.dtype).tiny)
    return (flat - share * along).view_as(vectors)


def perp_neg(
    positive: Tensor,
    unconditional: Tensor,
    negatives: Sequence[Tensor],
    weights: Sequence[Tensor | float],
    scale: float,
) -> Tensor:
    """Guided noise prediction u + s (d - sum_i w_i d_i'), d = c - u, d_i' the part of n_i - u perpendicular to d.

    positive, unconditional, negatives: predictions [B, ...] under the prompt, none, and each negative prompt. weights:
    one per negative, a number or [B]; 0 or more, larger pushes further away from it. With no negative it is ordinary
    classifier-free guidance; a negative that only asks for the opposite of the prompt changes nothing.
    Raises UsageError unless there are as many weights as negatives.
    """
    if len(negatives) != len(weights):
        raise UsageError(
            f"Perp-Neg needs one weight for each negative prompt, not {len(weights)} for {len(negatives)}."
        )
    direction = positive - unconditional
    total = direction
    for negative, weight in zip(negatives, weights, strict=True):
        away = perpendicular(negative - unconditional, direction)
        factor = torch.as_tensor(weight, dtype=away.dtype, device=away.device)
        total = total - factor.reshape(-1, *[1] * (away.dim() - 1)) * away
    return unconditional + scale * total


def fading_weight(share: float, height: float, rate: float, shift: float) -> float:
    """A negative prompt's weight height exp(-rate share) + shift, at least 0, for views between two view prompts.

    share: 0..1, how far the camera has turned towards the view whose prompt this negative is. With height 1, rate .5
    and shift -.606 the weight fades to 0 there.
    """
    return max(height * math.exp(-rate * share) + shift, 0.0)


def view_negatives(cameras: Cameras, strength: float = 1.0) -> Tensor:
    """The published weights of the texts of `NEGATIVE_VIEWS` as negative prompts, [B, 2], times `strength`.

    A view between two texts takes both (section 4.2 of the paper; the numbers are those of its code): from the front
    the side's text is negative and from the side the front's, each less the nearer its own view is; behind, both are,
    the front's most of all. Seen from above neither tells a side, and both fade as the overhead text takes over.
    """
    azimuths, _ = camera_angles(cameras)
    turned = azimuths.abs() / 90  # 0 front, 1 side, 2 back
    overhead = camera_weights(cameras)[:, VIEWS.index("overhead")]
    rows = []
    for share in turned.tolist():
        if share < 1:
            rows.append([fading_weight(1 - share, *TOWARDS_OWN), fading_weight(share, *TOWARDS_OWN)])
        else:
            rows.append([fading_weight(2 - share, *FRONT_FROM_BACK), fading_weight(2 - share, *SIDE_FROM_BACK)])
    return strength * (1 - overhead)[:, None] * azimuths.new_tensor(rows)
