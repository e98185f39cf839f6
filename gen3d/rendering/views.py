"""What every renderer returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Render:
    """A batch of views, premultiplied by alpha and without a background.

    rgb: [B, H, W, 3]. alpha: [B, H, W, 1], 0..1. depth: [B, H, W, 1], the distances along the viewing axis weighted
    like the colours: divide by alpha for the mean depth. normal: [B, H, W, 3] outward, world space, weighted like the
    colours; None where the representation has no surface to speak of. background: [B, H, W, 3] that guides are to lay
    the views on; None where each guide takes its own.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normal: Tensor | None = None
    background: Tensor | None = field(default=None, kw_only=True)
