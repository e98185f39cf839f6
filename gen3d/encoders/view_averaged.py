"""An image-text encoder as an aligned encoder: a shape's feature is the mean of the unit features of its views.

It is the plain baseline of multi-view encoders (Lee et al. 2024, DuoduoCLIP, table 1), needs no training of its own and
works with any CLIP.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.encoders.clip_files import locate_first
from gen3d.encoders.clip_mini import WEIGHTS_NAME, encode_texts, load_clip
from gen3d.encoders.clip_models import ClipModel, load_clip_model
from gen3d.encoders.contract import Reads
from gen3d.encoders.evaluator import fit_square
from gen3d.language.phrases import TEMPLATES
from gen3d.runtime.files import file_digest

PICTURES = 64
"""Pictures that go through an image tower at once."""


class ViewAveragedClip:
    """View-averaged CLIP (an `AlignedEncoder` that reads views)."""

    reads: Reads = "views"

    def __init__(
        self,
        name: str,
        fingerprint: str,
        clip: ClipModel,
        logit_scale: float,
        encode_text: Callable[[list[str]], Tensor] | None = None,
    ) -> None:
        """Takes the towers of `clip`. encode_text: texts -> features [T, D], where it is not those of `clip`."""
        self.name, self.fingerprint, self.clip, self.logit_scale = name, fingerprint, clip, logit_scale
        self._encode_text = encode_text or clip.encode_text
        self.image_size = clip.image_size
        self.dimension = self._encode_text(["a"]).shape[-1]

    @classmethod
    def of_folder(cls, folder: Path, device: torch.device | str = "cpu") -> ViewAveragedClip:
        """The CLIP that `gen3d train clip` wrote to a folder. Raises Gen3DError where there is none."""
        network, tokenizer, details = load_clip(folder, device)
        pixels = details["preprocess_cfg"]
        clip = ClipModel.of("gen3d-clip-mini", network, tokenizer, pixels["mean"], pixels["std"])
        return cls(
            clip.name,
            file_digest(folder / WEIGHTS_NAME),
            clip,
            float(network.logit_scale.exp()),
            lambda texts: encode_texts(network, tokenizer(texts)),  # skips padding, which is most of a name
        )

    @classmethod
    def of_source(cls, source: str, device: torch.device | str = "cpu") -> ViewAveragedClip:
        """Any CLIP that `gen3d.encoders.clip_files` knows. Raises Gen3DError or UsageError as `load_clip_model`."""
        _, files = locate_first(source)
        clip = load_clip_model(source, device)
        return cls(source, file_digest(files.weights), clip, float(clip.model.logit_scale.exp()))

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        """Unit features [T, D] of texts, each the mean over the prompt templates (CLIP, section 3.1.4)."""
        filled = [template.format(text) for text in texts for template in TEMPLATES]
        units = F.normalize(self._encode_text(filled), dim=-1)
        return F.normalize(units.view(len(texts), len(TEMPLATES), -1).mean(1), dim=-1)

    def embed_pictures(self, images: Tensor) -> Tensor:
        """Unit features [B, D] of pictures [B, H, W, 3] in 0..1, differentiable."""
        size = self.clip.image_size
        mean, std = (images.new_tensor(list(values)).view(1, 3, 1, 1) for values in (self.clip.mean, self.clip.std))
        features = []
        for part in images.split(PICTURES):
            pixels = (fit_square(part.permute(0, 3, 1, 2), size) - mean) / std
            features.append(self.clip.encode_image(pixels.contiguous(memory_format=torch.channels_last)))
        return F.normalize(torch.cat(features), dim=-1)

    def embed_views(self, images: Tensor) -> Tensor:
        """Unit features [B, D] of views [B, V, H, W, 3] in 0..1, differentiable."""
        return F.normalize(self.embed_pictures(images.flatten(0, 1)).view(*images.shape[:2], -1).mean(1), dim=-1)
