"""A diffusion prior without a network: a labelled Gaussian mixture, whose noise prediction is exact on every path.

What a rule converges to on it can be worked out on paper, so it tests a rule, a schedule or a whole recipe in
milliseconds. A prompt is a label: "conditional" are the components of that label, "unconditional" all of them.

    mixture = isotropic(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.1, labels=("left", "right"))
    draw = Draw(clean, noise, t, path, mixture.halves("left", path), scale=1.0, generator=generator)
    gradient = sds(draw)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, NoisePath, Predict, PromptSet
from gen3d.rendering.backgrounds import composite


@dataclass(frozen=True)
class GaussianMixture:
    """K Gaussians of D dimensions. It computes where its tensors are, and answers where it is asked.

    means: [K, D]. covariances: [K, D, D], positive semi-definite. weights: [K], sum 1. labels: one for each component,
    several components may share one. Raises UsageError where these do not fit each other.
    """

    means: Tensor
    covariances: Tensor
    weights: Tensor
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        count, size = self.means.shape
        if self.covariances.shape != (count, size, size):
            raise UsageError(
                f"A mixture of {count} means of {size} dimensions needs covariances of shape "
                f"{[count, size, size]}, not {list(self.covariances.shape)}."
            )
        if len(self.weights) != count or len(self.labels) != count:
            raise UsageError(
                f"A mixture of {count} components needs as many weights and labels, "
                f"not {len(self.weights)} and {len(self.labels)}."
            )
        if bool((self.weights < 0).any()) or not math.isclose(float(self.weights.sum()), 1, abs_tol=1e-5):
            raise UsageError(f"The weights of a mixture must be 0 or more and sum to 1, not {self.weights.tolist()}.")

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """Principal variances [K, D] and directions [K, D, D]: the noisy covariance shares them at every time."""
        variances, directions = torch.linalg.eigh(self.covariances)
        return variances.clamp(min=0), directions

    def of(self, label: str) -> GaussianMixture:
        """The components of one label, as a mixture. Raises UsageError when there is none."""
        chosen = [index for index, own in enumerate(self.labels) if own == label]
        if not chosen:
            raise UsageError(f"The mixture has no component {label!r}: its labels are {sorted(set(self.labels))}.")
        weights = self.weights[chosen]
        labels = (label,) * len(chosen)
        return GaussianMixture(self.means[chosen], self.covariances[chosen], weights / weights.sum(), labels)

    def mean(self) -> Tensor:
        """The mean [D] of the mixture."""
        return self.weights @ self.means

    def covariance(self) -> Tensor:
        """The covariance [D, D]: the mean of the components' covariances plus the covariance of their means."""
        offsets = self.means - self.mean()
        within = (self.weights[:, None, None] * self.covariances).sum(0)
        return within + (self.weights[:, None] * offsets).T @ offsets

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Clean samples [count, D], where the mixture is. generator: on the CPU."""
        chosen = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        chosen = chosen.to(self.means.device)
        normal = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype).to(self.means)
        variances, directions = self._axes
        offsets = (directions[chosen] @ (variances[chosen].sqrt() * normal)[..., None])[..., 0]
        return self.means[chosen] + offsets

    def log_density(self, noisy: Tensor, t: Tensor, path: NoisePath) -> Tensor:
        """The log density log p_t [B] of samples [B, ...] at times t [B] of the path."""
        return self._components(noisy, t, path)[0].logsumexp(1).to(noisy)

    def noise(self, noisy: Tensor, t: Tensor, path: NoisePath) -> Tensor:
        """The noise prediction E[e | x_t] = -sigma grad log p_t of samples [B, ...], D numbers each, at times t [B];
        exact.
        """
        logs, scaled = self._components(noisy, t, path)
        sigma = path.sigma(t.to(self.means))
        prediction = sigma[:, None] * (logs.softmax(1)[..., None] * scaled).sum(1)
        return prediction.reshape(noisy.shape).to(noisy)

    def halves(self, label: str, path: NoisePath) -> Predict:
        """Conditional and unconditional noise predictions, what a rule asks for."""
        return halves_of(self.of(label), self, path)

    def _components(self, noisy: Tensor, t: Tensor, path: NoisePath) -> tuple[Tensor, Tensor]:
        """The logs log(weight N(x_t; alpha mean, V)) [B, K] and V^-1 (x_t - alpha mean) [B, K, D]; V = alpha^2 C +
        sigma^2.
        """
        values, times = noisy.flatten(1).to(self.means), t.to(self.means)
        alpha, sigma = path.alpha(times)[:, None, None], path.sigma(times)[:, None, None]
        variances, directions = self._axes
        offsets = values[:, None] - alpha * self.means  # [B, K, D]
        along = torch.einsum("bkd,kde->bke", offsets, directions)
        noisy_variances = alpha.square() * variances + sigma.square()
        squared = (along.square() / noisy_variances).sum(-1)
        volume = (2 * math.pi * noisy_variances).log().sum(-1)
        scaled = torch.einsum("bke,kde->bkd", along / noisy_variances, directions)
        return self.weights.log() - 0.5 * (squared + volume), scaled


def isotropic(
    means: Tensor,
    variances: float | Tensor,
    weights: Sequence[float] | None = None,
    labels: tuple[str, ...] | None = None,
) -> GaussianMixture:
    """A mixture of round components: means [K, D], one variance or [K]; equal weights and labels "0", "1", ... unless
    given.

    Kept in double precision: predictions have the dtype of what they are asked for.
    """
    count, size = means.shape
    spreads = torch.as_tensor(variances, dtype=torch.float64).expand(count)
    covariances = spreads[:, None, None] * torch.eye(size, dtype=torch.float64)
    share = torch.tensor(weights if weights is not None else [1 / count] * count, dtype=torch.float64)
    return GaussianMixture(means.double(), covariances, share, labels or tuple(str(index) for index in range(count)))


def halves_of(conditional: GaussianMixture, unconditional: GaussianMixture, path: NoisePath) -> Predict:
    """Predictions of two mixtures: for tests where the unconditional one is a single Gaussian too."""

    def predict(noisy: Tensor, t: Tensor) -> Halves:
        return Halves(conditional.noise(noisy, t, path), unconditional.noise(noisy, t, path))

    return predict


@dataclass(frozen=True)
class MixturePrior:
    """The mixture as a `DiffusionPrior` of images: its D is channels x resolution^2, values 0..1, its labels prompts.

    channels: 3 (over the background) or 4 (premultiplied RGBA). It needs neither weights nor a text encoder.
    """

    mixture: GaussianMixture
    path: NoisePath
    resolution: int
    channels: int = 3
    views: int = 1

    def __post_init__(self) -> None:
        wanted, size = self.channels * self.resolution**2, self.mixture.means.shape[1]
        if self.channels not in (3, 4) or size != wanted:
            raise UsageError(
                f"A mixture of {size} dimensions is no prior of {self.resolution}x{self.resolution} images with "
                f"{self.channels} channels: use 3 or 4 channels and channels x resolution^2 dimensions."
            )

    def encode_prompt(self, prompts: PromptSet) -> Predict:
        """The predictions under the label `prompts.positive`. Raises UsageError for an unknown one."""
        return self.mixture.halves(prompts.positive, self.path)

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """Premultiplied RGBA [B, H, W, 4] -> [B, C, resolution, resolution], averaged over pixels; differentiable."""
        if self.channels == 3:
            images = composite(images[..., :3], images[..., 3:], background.to(images))
        return F.interpolate(images.permute(0, 3, 1, 2), size=(self.resolution, self.resolution), mode="area")

    def predict(self, noisy: Tensor, t: Tensor, conditioning: Predict, cameras: Cameras | None) -> Halves:
        """The exact noise predictions, for which the cameras do not matter."""
        with torch.no_grad():
            return conditioning(noisy, t)

    def decode(self, latents: Tensor) -> Tensor:
        """The samples themselves, which are images already, kept within 0..1."""
        return latents.clamp(0, 1)

    def free_text_encoders(self) -> None:
        """Does nothing: there is no text encoder."""

    def rest(self) -> None:
        """Does nothing: a mixture takes no memory."""
