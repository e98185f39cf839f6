"""Score distillation in image space with the view prior: the wanted image is the denoised render.

Each view of the scene is shrunk to the prior's size, noised, and denoised under the text and the coarse view of the
shape prior's field. Shape stays with the code guidance; this one adds the edges and texture that the field cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.config.schedule import annealed_time
from gen3d.config.schema import ViewGuidanceConfig
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.distillation import distillation_loss
from gen3d.guidance.paths import FlowPath, add_noise
from gen3d.priors.view_prior import VIEW_SIZE, ViewPrior, camera_directions
from gen3d.runtime.transfers import like

Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A function (noisy [B, 64, 64, 4], times [B], coarse [B, 64, 64, 4], directions [B, 3]) -> clean views under the text.
"""


@dataclass(frozen=True)
class ViewStep:
    """What one step gives. loss: its gradient is that of SDS, a mean over pixels. wanted [B, H, W, 4]: the coarse views
    with the detail that the prior sees in the scene, premultiplied, at the resolution they came in. time: diffusion
    time.
    """

    loss: Tensor
    wanted: Tensor
    time: float


class ViewGuidance:
    """SDS on views along the rectified flow, in the x0 form: the gradient is render minus denoised render."""

    def __init__(self, predict: Predict, config: ViewGuidanceConfig, generator: torch.Generator) -> None:
        self.predict, self.config, self.generator = predict, config, generator

    @classmethod
    def of(cls, prior: ViewPrior, text: Tensor, config: ViewGuidanceConfig, generator: torch.Generator) -> ViewGuidance:
        """Guidance under the text with features [768]. generator: on the CPU, wherever the prior is."""
        text = text.to(prior.null_text.device)

        def predict(noisy: Tensor, t: Tensor, coarse: Tensor, directions: Tensor) -> Tensor:
            return prior.denoise(noisy, t, coarse, text.expand(len(noisy), -1), directions)

        return cls(predict, config, generator)

    def __call__(self, rendered: Tensor, coarse: Tensor, cameras: Cameras, progress: float) -> ViewStep:
        """The step of rendered views, premultiplied RGBA [B, H, W, 4], attached to the scene, where the prior is.
        coarse: the field's own views from the same cameras, same shape; they and the cameras may lie on any device.
        progress: 0..1 of the run.
        """
        coarse = coarse.detach().to(rendered)
        t = annealed_time(progress, self.config.t_max, self.config.t_min)
        sample, small = resize(rendered, VIEW_SIZE), resize(coarse, VIEW_SIZE)
        clean = sample.detach()
        noise = like(torch.randn(clean.shape, generator=self.generator), clean)
        times = clean.new_full((len(clean),), t)
        with torch.no_grad():
            noisy = add_noise(FlowPath(), clean, noise, times)
            gradient = clean - self.predict(noisy, times, small, camera_directions(cameras).to(clean))
        loss = self.config.weight * distillation_loss(sample, gradient) / clean[0].numel()
        return ViewStep(loss, with_detail(coarse, clean - gradient - small), t)


@torch.no_grad()
def expected_views(prior: ViewPrior, text: Tensor, share: float, coarse: Tensor, cameras: Cameras) -> Tensor:
    """The field's own views [B, H, W, 4], premultiplied, and the share 0..1 of what the prior expects them to lack.

    text: features [768]. The cameras are taken to stand at the distance of the corpus' own. All may lie on any device;
    the result is where the coarse views are.
    """
    small = resize(coarse, VIEW_SIZE).to(prior.null_text)
    clean = prior.expected(small, text.to(small).expand(len(small), -1), camera_directions(cameras).to(small))
    return with_detail(coarse, share * (clean - small).to(coarse))


def with_detail(coarse: Tensor, detail: Tensor) -> Tensor:
    """Premultiplied views [B, H, W, 4] plus a difference [B, 64, 64, 4], as valid views. The prior's images are small:
    only what it adds is enlarged.
    """
    wanted = (coarse + resize(detail, coarse.shape[1])).clamp(0, 1)
    return torch.cat([wanted[..., :3].minimum(wanted[..., 3:]), wanted[..., 3:]], -1)


def resize(images: Tensor, size: int) -> Tensor:
    """Square images [B, H, W, C] as [B, size, size, C]: averaged when shrunk, bilinear when enlarged."""
    if images.shape[1] == size:
        return images
    channels_first = images.permute(0, 3, 1, 2)
    if images.shape[1] > size:
        resized = F.interpolate(channels_first, size=(size, size), mode="area")
    else:
        resized = F.interpolate(channels_first, size=(size, size), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)
