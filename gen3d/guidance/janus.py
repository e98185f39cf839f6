"""A score for the Janus problem: does the back look as much like the front as the front does?

Pure functions of what an encoder sees in the views of an asset. Scores of different encoders do not compare.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

FRONT_SECTOR = 60.0
"""Degrees from the front up to which a view counts as one of the front."""

BACK_SECTOR = 120.0
"""Degrees from the front from which on a view counts as one of the back."""


@dataclass(frozen=True)
class JanusScore:
    """front, back: mean cosines of the views of either sector with the front prompt. worst: the largest of the back.

    score: back - front, in -2..2. Below zero the back looks less like "<prompt>, front view" than the front does, as it
    should; near zero or above there is a second front, or an object that looks the same from all sides (a vase).
    """

    front: float
    back: float
    worst: float

    @property
    def score(self) -> float:
        return self.back - self.front


def janus_score(view_features: Tensor, azimuths: Tensor, front_text: Tensor, front: float = 0.0) -> JanusScore:
    """How much the back of an asset looks like its front.

    With c_v = cos(f_v, t), F the views at most `FRONT_SECTOR` degrees in azimuth from the front and B those at least
    `BACK_SECTOR` degrees from it, the score is mean_B c_v - mean_F c_v. Side views do not count: a face seen in
    profile is no error.

    view_features: [V, D], any length. azimuths: [V] degrees, of any turn. front_text: [D] feature of "<prompt>, front
    view", any length. front: azimuth of the front in degrees. Raises ValueError where a sector holds no view.
    """
    if len(view_features) != len(azimuths):
        raise ValueError(f"{len(view_features)} features do not fit {len(azimuths)} azimuths.")
    turned = angle_from(azimuths, front)
    cosines = view_features.float() @ front_text.float()
    cosines = cosines / (view_features.float().norm(dim=-1) * front_text.float().norm()).clamp_min(1e-12)
    ahead, behind = cosines[turned <= FRONT_SECTOR], cosines[turned >= BACK_SECTOR]
    if not len(ahead) or not len(behind):
        raise ValueError(
            f"The azimuths {azimuths.tolist()} need a view within {FRONT_SECTOR:g} degrees of the front at {front:g}, "
            f"and one at least {BACK_SECTOR:g} degrees away from it."
        )
    return JanusScore(float(ahead.mean()), float(behind.mean()), float(behind.max()))


def angle_from(azimuths: Tensor, front: float = 0.0) -> Tensor:
    """Degrees [V] in 0..180 between azimuths [V] and the front."""
    return ((azimuths - front + 180.0) % 360.0 - 180.0).abs()
