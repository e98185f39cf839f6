"""Scoring images against texts: the in-house CLIP by default, or any open_clip model.

A judge must not be the guide: scores by the model that guided an optimisation are inflated (facts: Dream Fields reads
87 % by its own guidance, 60-68 % by another model). gen3d's guidance never uses these weights; it has
a model of its own in `weights/guide`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gen3d.encoders.clip_mini import GALLERY_NAME, WEIGHTS_NAME, encode_texts, load_clip
from gen3d.errors import Gen3DError, UsageError
from gen3d.language.phrases import TEMPLATES
from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.strict_json import parse_json

BATCH = 64


class Evaluator:
    """Unit features of images and texts in one space; images may come from any device, features are on the CPU.

    name: which model this is, to be named beside every score. logit_scale: the factor on cosines before a softmax.
    """

    def __init__(
        self,
        name: str,
        image_tower: Callable[[Tensor], Tensor],
        text_tower: Callable[[list[str]], Tensor],
        *,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        logit_scale: float,
        templates: Sequence[str] = TEMPLATES,
        device: torch.device | str = "cpu",
    ) -> None:
        """Makes a judge of two functions: `image_tower` takes normalised images [B, 3, S, S] on `device`, `text_tower`
        texts.
        """
        self.name, self.image_size, self.logit_scale = name, image_size, logit_scale
        self.templates = tuple(templates)
        self._image_tower, self._text_tower = image_tower, text_tower
        self._known: dict[str, Tensor] = {}
        self._mean, self._std = (torch.tensor(list(values)).view(1, 3, 1, 1).to(device) for values in (mean, std))

    @classmethod
    def load(cls, path: Path | str | None = None, device: torch.device | str = "cpu") -> Evaluator:
        """The in-house CLIP of the folder `path`, on a device; by default the weights that come with the package.

        Raises Gen3DError where there are none or they cannot be read.
        """
        folder = Path(path) if path is not None else packaged_weights()
        if folder.name == WEIGHTS_NAME:
            folder = folder.parent
        if not (folder / WEIGHTS_NAME).is_file():
            raise Gen3DError(
                f"The evaluator's weights {WEIGHTS_NAME} are not in {folder}: "
                "train them with 'gen3d train clip', or name another folder."
            )
        model, tokenizer, config = load_clip(folder, device)
        return cls(
            "gen3d-clip-mini",
            lambda images: model.encode_image(images.contiguous(memory_format=torch.channels_last)),
            lambda texts: encode_texts(model, tokenizer(texts)),
            image_size=int(config["model_cfg"]["vision_cfg"]["image_size"]),
            mean=config["preprocess_cfg"]["mean"],
            std=config["preprocess_cfg"]["std"],
            logit_scale=float(model.logit_scale.exp()),
            device=device,
        )

    @classmethod
    def from_open_clip(cls, name: str, pretrained: str | None = None, device: torch.device | str = "cpu") -> Evaluator:
        """Any open_clip model, on a device, such as `ViT-B-32` with `laion2b_s34b_b79k` or a local .safetensors file.

        Weights are downloaded by open_clip unless they are local or cached. Raises UsageError for a pickled checkpoint,
        Gen3DError where the model cannot be had.
        """
        import open_clip

        if pretrained and Path(pretrained).suffix in {".pt", ".pth", ".bin", ".ckpt"}:
            raise UsageError(
                f"The checkpoint {pretrained} is a pickle, which could run code: convert it to .safetensors first."
            )
        try:
            model = open_clip.create_model(name, pretrained=pretrained).to(device).eval().requires_grad_(False)
            tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:  # open_clip and the hub raise a dozen kinds; all mean the same to the user
            raise Gen3DError(
                f"The open_clip model '{name}' with weights '{pretrained}' cannot be loaded ({error}): "
                "see open_clip.list_pretrained() for the names it knows."
            ) from error
        size = model.visual.image_size
        return cls(
            f"{name}/{pretrained or 'random'}",
            model.encode_image,
            lambda texts: torch.cat([model.encode_text(part.to(device)) for part in tokenizer(texts).split(BATCH)]),
            image_size=size if isinstance(size, int) else int(size[0]),
            mean=model.visual.image_mean,
            std=model.visual.image_std,
            logit_scale=float(model.logit_scale.exp()),
            device=device,
        )

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Unit features [B, D] of images [B, H, W, 3] in 0..1 on white, of any size (resized with anti-aliasing)."""
        features = []
        for part in images.float().split(BATCH):
            pixels = fit_square(part.to(self._mean).permute(0, 3, 1, 2), self.image_size)
            features.append(self._image_tower((pixels - self._mean) / self._std).cpu())
        return F.normalize(torch.cat(features), dim=-1)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features [T, D] of texts, each the mean over the prompt templates (CLIP, section 3.1.4).

        They are kept: most texts are the same names of a gallery for every prompt.
        """
        if not texts:
            raise ValueError("There is no text to encode.")
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            filled = [template.format(text) for text in new for template in self.templates]
            units = F.normalize(self._text_tower(filled).cpu(), dim=-1)
            means = F.normalize(units.view(len(new), len(self.templates), -1).mean(1), dim=-1)
            self._known.update(zip(new, means, strict=True))
        return torch.stack([self._known[text] for text in texts])


def fit_square(images: Tensor, size: int) -> Tensor:
    """Images [B, 3, H, W] in 0..1 as [B, 3, size, size], padded with white to a square and resized with anti-
    aliasing.
    """
    height, width = images.shape[-2:]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    images = F.pad(images, (left, side - width - left, top, side - height - top), value=1.0)
    if side == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def load_gallery(path: Path | str | None = None) -> list[str]:
    """The nouns of the training objects, as `gen3d train clip` wrote them. Raises Gen3DError where there are none."""
    path = Path(path) if path is not None else packaged_weights() / GALLERY_NAME
    try:
        names = parse_json(path.read_bytes())
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("it is not a list of names")
    except (OSError, ValueError) as error:
        raise Gen3DError(
            f"The gallery {path} cannot be read ({error}): write it again with 'gen3d train clip'."
        ) from None
    return names
