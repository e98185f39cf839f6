"""Real spherical harmonics of degree 0 to 3: colours that depend on the viewing direction, as 3DGS stores them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SH_C0 = 0.5 / math.sqrt(math.pi)
"""Value of the constant basis function: 0.28209479."""

MAX_DEGREE = 3


def sh_to_color(coefficients: Tensor, directions: Tensor | None = None) -> Tensor:
    """Colours 0.5 + sum of the harmonics, clamped at 0 from below (Kerbl et al. 2023).

    coefficients: [N, K, 3] with K = 1, 4, 9 or 16. directions: [..., N, 3] from the camera to the Gaussian, any length;
    may be left out when K is 1. Returns [..., N, 3], or [N, 3] without directions. Raises ValueError for another K or
    when directions are missing.
    """
    degree = math.isqrt(coefficients.shape[1]) - 1
    if (degree + 1) ** 2 != coefficients.shape[1] or not 0 <= degree <= MAX_DEGREE:
        raise ValueError(f"{coefficients.shape[1]} harmonics were given; 1, 4, 9 and 16 make whole degrees up to 3.")
    if directions is None:
        if degree:
            raise ValueError(f"Harmonics of degree {degree} need viewing directions.")
        return (0.5 + SH_C0 * coefficients[:, 0]).clamp_min(0)
    basis = sh_basis(torch.nn.functional.normalize(directions, dim=-1), degree)  # [..., N, K]
    return (0.5 + torch.einsum("...nk,nkc->...nc", basis, coefficients)).clamp_min(0)


def color_to_sh(colors: Tensor) -> Tensor:
    """The coefficients [N, 1, 3] of degree 0 whose colour is `colors` [N, 3] from every side."""
    return ((colors - 0.5) / SH_C0)[:, None]


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """The (degree + 1)^2 real basis functions at unit `directions` [..., 3], in the order and signs of 3DGS.

    The order is l = 0, then m = -l..l for each l, with the Condon-Shortley phase: degree 1 is (-y, z, -x).
    """
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        c = math.sqrt(3 / (4 * math.pi))
        basis += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = math.sqrt(15 / (4 * math.pi))
        basis += [
            c * x * y,
            -c * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
            -c * x * z,
            c / 2 * (x * x - y * y),
        ]
    if degree >= 3:
        c3, c2, c1 = math.sqrt(35 / (32 * math.pi)), math.sqrt(105 / (4 * math.pi)), math.sqrt(21 / (32 * math.pi))
        basis += [
            -c3 * y * (3 * x * x - y * y),
            c2 * x * y * z,
            -c1 * y * (5 * z * z - 1),
            math.sqrt(7 / (16 * math.pi)) * z * (5 * z * z - 3),
            -c1 * x * (5 * z * z - 1),
            c2 / 2 * z * (x * x - y * y),
            -c3 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, -1)
