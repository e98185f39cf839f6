"""Score distillation as pure functions, the same for codes and for images.

The forward process is x_t = alpha x + sigma e. For the rectified flow that gen3d's own priors use, alpha = 1 - t and
sigma = t; for a DDPM schedule alpha = sqrt(abar_t) and sigma = sqrt(1 - abar_t).
"""

from __future__ import annotations

from torch import Tensor


def add_noise(clean: Tensor, noise: Tensor, alpha: float, sigma: float) -> Tensor:
    """x_t = alpha x + sigma e, any shape."""
    return alpha * clean + sigma * noise


def noise_of(noisy: Tensor, clean_prediction: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise prediction that belongs to a clean prediction: (x_t - alpha x_hat) / sigma."""
    return (noisy - alpha * clean_prediction) / sigma


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): uncond + scale (cond - uncond); 1 is conditional, 0 is not."""
    return unconditional + scale * (conditional - unconditional)


def sds_gradient(predicted_noise: Tensor, noise: Tensor, weight: float) -> Tensor:
    """Score distillation sampling (DreamFusion, Poole et al. 2022, eq. 3): w(t) (e_hat - e)."""
    return weight * (predicted_noise - noise)


def reconstruction_weight(alpha: float, sigma: float) -> float:
    """w(t) = sigma / alpha, for which the SDS gradient is x - x_hat (the x0 form of MVDream, Shi et al. 2023)."""
    return sigma / alpha


def distillation_loss(sample: Tensor, gradient: Tensor) -> Tensor:
    """A loss whose gradient with respect to `sample` [B, ...] is `gradient` / B: 1/2 |x - sg(x - g)|^2 / B."""
    target = (sample - gradient).detach()
    return 0.5 * (sample - target).square().sum() / len(sample)
