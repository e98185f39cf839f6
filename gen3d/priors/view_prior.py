"""The view prior: diffusion of RGBA views, conditioned on the coarse view of a decoded field, the text and the camera.

A field of limited resolution holds shape and colour; edges and texture are what is left, so the network predicts the
residual to the coarse view. Images are folded 4 x 4 to 16 x 16 (pixel unshuffle) and pass through a small U-Net; the
path is the rectified flow of diffusers' `FlowMatchEulerDiscreteScheduler`, z_t = (1 - t) x + t e.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.encoders.minilm import FEATURES
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras
from gen3d.priors.unet import UNet
from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.strict_json import parse_json
from gen3d.runtime.tensors import load_weights, read_metadata, save_tensors, shapes_of

VIEW_FILE = "prior_view.safetensors"
VIEW_SIZE = 64
"""Width and height of the views, in pixels: those of the corpus."""
FOLD = 4
"""Pixels a side that are folded into the channels of one position of the network."""
RGBA = 4


class ViewPrior(nn.Module):
    """Predicts clean views from noisy ones. All images are premultiplied RGBA [B, 64, 64, 4] in 0..1.

    The residual is scaled as in EDM (Karras et al. 2022, table 1), carried over to this path: with s its standard
    deviation, a = 1 - t and n = sqrt(a^2 s^2 + t^2), the noisy residual r_t gives a s^2 / n^2 r_t + s t / n F(r_t / n),
    whose target has unit variance at every t. An untrained network answers with the best linear estimate.
    """

    residual_std: Tensor
    text_mean: Tensor
    text_scale: Tensor

    def __init__(self, widths: tuple[int, ...] = (96, 160), layers: int = 1, groups: int = 8) -> None:
        super().__init__()
        self.sizes = {"widths": list(widths), "layers": layers, "groups": groups}
        folded = RGBA * FOLD**2
        self.unet = UNet(2 * folded, folded, tuple(widths), layers, groups)
        self.unet.to(memory_format=torch.channels_last)
        nn.init.zeros_(self.unet.conv_out.weight)
        condition = 4 * widths[0]  # the size of the network's embedding of the time, to which the rest is added
        self.text = nn.Sequential(nn.Linear(FEATURES, 128), nn.SiLU(), nn.Linear(128, condition))
        self.camera = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, condition))
        self.null_text = nn.Parameter(torch.zeros(FEATURES))
        self.register_buffer("residual_std", torch.tensor(0.06))
        self.register_buffer("text_mean", torch.zeros(FEATURES))
        self.register_buffer("text_scale", torch.ones(FEATURES))

    @torch.no_grad()
    def fit(self, residuals: Tensor, texts: Tensor) -> None:
        """Scales by some of the training data: residuals of any shape, text features [T, 768]."""
        self.residual_std.copy_(residuals.square().mean().sqrt().clamp(min=1e-3))
        self.text_mean.copy_(texts.mean(0))
        self.text_scale.copy_(1 / texts.std(0, correction=0).clamp(min=1e-2))
        self.null_text.copy_(self.text_mean)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Factors (skip, out, in) of the residual at times [B], each [B, 1, 1, 1]."""
        t = t.view(-1, 1, 1, 1)
        alpha, deviation = 1 - t, self.residual_std
        total = (alpha * deviation).square() + t.square()
        return alpha * deviation.square() / total, deviation * t / total.sqrt(), total.rsqrt()

    def denoise(self, noisy: Tensor, t: Tensor, coarse: Tensor, text: Tensor, camera: Tensor) -> Tensor:
        """The expected clean views [B, 64, 64, 4], not clamped.

        noisy: views at times t [B] in 0..1. coarse: views of the decoded field, same cameras. text: features [B, 768].
        camera: [B, 3] unit directions from the object to the camera, see `camera_directions`.
        """
        skip, out, into = self.scales(t)
        residual = noisy - (1 - t).view(-1, 1, 1, 1) * coarse
        images = torch.cat([residual * into, 2 * coarse - 1], -1).permute(0, 3, 1, 2)
        standard = (text - self.text_mean) * self.text_scale
        condition = self.text(standard) + self.camera(camera)
        folded = F.pixel_unshuffle(images, FOLD)
        answer = self.unet(folded, 1000 * t, condition)
        correction = F.pixel_shuffle(answer, FOLD).permute(0, 2, 3, 1)
        return coarse + skip * residual + out * correction

    def expected(self, coarse: Tensor, text: Tensor, camera: Tensor) -> Tensor:
        """The mean [B, 64, 64, 4] of all clean views that the coarse one may stand for, not clamped: the prediction at
        t = 1, where a noisy view says nothing and none is given. The arguments are those of `denoise`.
        """
        return self.denoise(torch.zeros_like(coarse), coarse.new_ones(len(coarse)), coarse, text, camera)

    @torch.no_grad()
    def refine(
        self,
        coarse: Tensor,
        text: Tensor,
        camera: Tensor,
        generator: torch.Generator,
        start: float = 0.5,
        steps: int = 8,
    ) -> Tensor:
        """Samples views [B, 64, 64, 4] in 0..1: the coarse ones noised to time `start` and denoised in `steps`."""
        # Diffusers takes seconds to import, and a run that only asks for the expected views needs none of it.
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=torch.linspace(start, start / steps, steps).tolist())
        views = (1 - start) * coarse + start * torch.randn(coarse.shape, generator=generator).to(coarse)
        for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            clean = self.denoise(views, sigma.to(views).expand(len(views)), coarse, text, camera)
            views = scheduler.step((views - clean) / sigma, t, views).prev_sample
        alpha = views[..., 3:].clamp(0, 1)
        return torch.cat([views[..., :3].clamp(min=0).minimum(alpha), alpha], -1)

    def save(self, folder: Path) -> Path:
        """Writes the weights in fp16 to `folder`; returns the path."""
        tensors = {name: value.half() for name, value in self.state_dict().items()}
        save_tensors(folder / VIEW_FILE, tensors, {"sizes": json.dumps(self.sizes)})
        return folder / VIEW_FILE

    @staticmethod
    def load(folder: Path | None = None, device: torch.device | str = "cpu") -> ViewPrior:
        """The packaged view prior, or the one that `gen3d train view` wrote to `folder`; frozen, in fp32, on a device.

        Raises Gen3DError when the file is missing or does not fit.
        """
        folder = folder or packaged_weights()
        path = folder / VIEW_FILE
        if not path.is_file():
            raise Gen3DError(f"The view prior '{VIEW_FILE}' is not in '{folder}': train one with 'gen3d train view'.")
        try:
            with torch.device("meta"):  # this takes neither memory nor time; the weights are put in its place
                prior = ViewPrior(**parse_json(read_metadata(path)["sizes"]))
            tensors = load_weights(path, shapes_of(prior.state_dict()))
            prior.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
            prior.unet.to(memory_format=torch.channels_last)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise Gen3DError(
                f"The view prior in '{folder}' does not fit this version of gen3d: {str(error).rstrip('.')}."
            ) from error
        return prior.to(device).eval().requires_grad_(False)


def camera_directions(cameras: Cameras) -> Tensor:
    """Unit directions [B, 3] from the world's origin to the cameras."""
    return F.normalize(cameras.positions, dim=-1)
