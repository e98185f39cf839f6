"""Image-text encoders for guidance: gen3d's own small CLIP, or any open_clip model, see `gen3d.encoders.clip_files`.

Nothing is downloaded unless asked for, and nothing is ever unpickled. `clip_files.check_available` says in a moment,
and without importing torch, what is missing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gen3d.encoders.clip_files import MINI, ClipFiles, locate_first
from gen3d.errors import Gen3DError
from gen3d.runtime.hub import is_offline
from gen3d.runtime.tensors import not_finite

TEXT_BATCH = 64

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

GRADIENT_SCALE = 1024.0
"""What gradients are multiplied with inside of a model of 16 bits: those of single pixels would be 0 there."""


@dataclass(frozen=True)
class ClipModel:
    """A frozen image-text encoder that `ClipGuidance` takes (`gen3d.guidance.clip.ClipTowers`).

    name: to be named beside every score. model: an open_clip model. tokenize: texts -> token ids [T, L]. image_size:
    pixels a side. mean, std: of the channels of its training images.
    """

    name: str
    model: Any
    tokenize: Callable[[list[str]], Tensor]
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]

    @classmethod
    def of(
        cls,
        name: str,
        model: Any,
        tokenize: Callable[[list[str]], Tensor],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> ClipModel:
        """Any open_clip model, frozen and set to evaluate. mean, std: those the model carries where None."""
        model.eval().requires_grad_(False)
        size = model.visual.image_size
        mean, std = mean or model.visual.image_mean, std or model.visual.image_std
        return cls(name, model, tokenize, size if isinstance(size, int) else int(size[0]), tuple(mean), tuple(std))

    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, image_size, image_size] -> features [B, D] in fp32, differentiable."""
        parameter = next(self.model.parameters())
        if parameter.dtype == torch.float32:
            features: Tensor = self.model.encode_image(images.to(parameter.device, parameter.dtype))
            return features
        images = _ScaledGradient.apply(images.float(), 1 / GRADIENT_SCALE)
        features = self.model.encode_image(images.to(parameter.device, parameter.dtype)).float()
        scaled: Tensor = _ScaledGradient.apply(features, GRADIENT_SCALE)
        return scaled

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Features [T, D] in fp32."""
        device = next(self.model.parameters()).device
        tokens = self.tokenize(texts).to(device)
        return torch.cat([self.model.encode_text(part).float() for part in torch.split(tokens, TEXT_BATCH)])


class _ScaledGradient(torch.autograd.Function):
    """The values as they are; their gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * gradient, None


def load_clip_model(
    sources: str | Sequence[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    download: bool = False,
) -> ClipModel:
    """The first of `sources` (see `gen3d.encoders.clip_files`) whose files are there, frozen.

    download: fetch missing files from the hub. Raises Gen3DError naming what is missing of every source, or what is
    wrong with a file; UsageError for a source that is none.
    """
    source, files = locate_first(sources, download and not is_offline())
    clip = _build(source, files)
    broken = not_finite(clip.model.state_dict())
    if broken is not None:
        raise Gen3DError(
            f"The tensor '{broken}' of the image-text encoder '{source}' in '{files.weights}' holds numbers that are "
            "not finite (NaN or infinity): the file is broken, so take another copy."
        )
    clip.model.to(device=device, dtype=dtype)
    return clip


def _build(source: str, files: ClipFiles) -> ClipModel:
    if files.model == MINI:
        return _mini(files)
    import open_clip

    try:
        model = _random_model(files.model, **build_settings(files))
        open_clip.load_checkpoint(model, str(files.weights))
        tokenizer = open_clip.get_tokenizer(files.model)
    except Exception as error:  # open_clip raises a dozen kinds; all mean the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Gen3DError(
            f"The image-text encoder '{source}' cannot be loaded from {files.weights} ({reason}): the file may be "
            "damaged, or of another architecture."
        ) from None
    return ClipModel.of(source, model, tokenizer)


def _mini(files: ClipFiles) -> ClipModel:
    """The packaged small CLIP. It is not the evaluator, which judges what this one has guided."""
    from gen3d.encoders.clip_mini import load_clip

    network, tokenizer, details = load_clip(files.weights.parent)
    pixels = details["preprocess_cfg"]
    return ClipModel.of("gen3d-clip-mini", network, tokenizer, pixels["mean"], pixels["std"])


def build_settings(files: ClipFiles) -> dict[str, Any]:
    """What the weights of a tag ask of the architecture: the channels' mean and std, and OpenAI's own activation, which
    open_clip's architectures of the same name do not have.
    """
    import open_clip

    entry = open_clip.get_pretrained_cfg(files.model, files.tag) if files.tag else {}
    colors = {name: entry[name] for name in ("mean", "std") if name in entry}
    return {"force_quick_gelu": bool(entry.get("quick_gelu")), "force_preprocess_cfg": colors}


def _random_model(name: str, **settings: Any) -> Any:
    """The architecture with weights that do not matter; torch's generator is left as it was."""
    import open_clip

    with torch.random.fork_rng(devices=[]), _quiet_root():
        return open_clip.create_model(
            name, load_weights=False, pretrained_image=False, pretrained_text=False, **settings
        )


@contextlib.contextmanager
def _quiet_root() -> Iterator[None]:
    """Drops what open_clip logs: that the weights are random is not true for long."""

    def drop(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root = logging.getLogger()
    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)
