"""The models of a run: each loaded when it is first asked for, once, and kept for the next prompt where that pays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gen3d.priors.shape_prior import ShapePrior
from gen3d.priors.view_prior import ViewPrior

if TYPE_CHECKING:
    from gen3d.config.schema import DiffusionConfig
    from gen3d.encoders.contract import AlignedEncoder
    from gen3d.encoders.evaluator import Evaluator
    from gen3d.guidance.clip import ClipTowers
    from gen3d.guidance.contract import DiffusionPrior

TEXT_PARTS = (
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
    "text",
    "text_decoder",
)
"""What open_clip calls the parts of its models that images do not pass."""


class Models:
    """Everything that is loaded for a run, on one device.

    device: where models that are optimised against live. keep: whether the next prompt will want them again; without it
    the text halves of large models are freed as soon as the prompt is encoded, which is when a run needs their memory.
    """

    def __init__(self, device: torch.device | None = None, keep: bool = False) -> None:
        self.device = device or torch.device("cpu")
        self.keep = keep
        self._towers: dict[tuple[str, str], ClipTowers] = {}
        self._aligned: dict[str, AlignedEncoder] = {}

    @cached_property
    def prior(self) -> ShapePrior:
        """The packaged shape prior. Raises Gen3DError where its weights are missing or damaged."""
        return ShapePrior.load().to(self.device)

    @cached_property
    def view_prior(self) -> ViewPrior:
        """The packaged view prior. Raises Gen3DError where its weights are missing or damaged."""
        return ViewPrior.load().to(self.device)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The judge, which guides nothing. Raises Gen3DError where its weights are missing or damaged."""
        from gen3d.encoders.evaluator import Evaluator

        return Evaluator.load(device=self.device)

    @cached_property
    def gallery(self) -> Sequence[str]:
        """The names that prompts are told from."""
        from gen3d.encoders.evaluator import load_gallery

        return load_gallery()

    def features(self, prompt: str) -> Tensor:
        """Text features [768] of a prompt, as the shape prior and the view prior take them."""
        return self.prior.text.encode([prompt])[0].to(self.device)

    def towers(self, model: str, dtype: str = "auto") -> ClipTowers:
        """The packaged guide for 'mini', else what `encoders.clip_models` finds under the name; on the run's device.
        dtype: of its weights, as in `config.clip.dtype`.

        The guide is not the evaluator, which judges what this one has guided. Raises Gen3DError, within seconds, where
        the model is missing, with the command that gets it.
        """
        if dtype == "auto":
            # The packaged model is too small to gain by it, and the CPU has no fast arithmetic of 16 bits.
            dtype = "fp16" if self.device.type == "cuda" and model != "mini" else "fp32"
        key = (model, dtype)
        if key not in self._towers:
            from gen3d.encoders.clip_models import DTYPES, load_clip_model

            self._towers[key] = load_clip_model(model, self.device, DTYPES[dtype])
        return self._towers[key]

    def aligned(self, source: str) -> AlignedEncoder:
        """The encoder in a folder that 'gen3d train encoder' wrote, on the run's device. Raises Gen3DError where it is
        damaged.
        """
        from gen3d.encoders.aligned import load_encoder

        if source not in self._aligned:
            self._aligned[source] = load_encoder(source, self.device)
        return self._aligned[source]

    def diffusion(self, settings: DiffusionConfig, generator: torch.Generator) -> DiffusionPrior:
        """The diffusion model that `settings.models` names first and that is there. generator: of the run, on the CPU.

        Raises Gen3DError where none is there, with the command that gets it.
        """
        from gen3d.guidance.models.load import LoadOptions, load_prior

        options = LoadOptions(
            settings.dtype,
            self.device,
            settings.attention_slicing,
            settings.cpu_offload if settings.cpu_offload != "off" else False,
            download=settings.download,
            vae_slicing=settings.vae_slicing,
            vae_tiling=settings.vae_tiling,
            compile=settings.compile,
        )
        return load_prior(settings.models, options, generator)

    def free_texts(self) -> None:
        """Gives back the memory of CLIP models' text halves once the prompt is encoded, unless they are to be kept."""
        if not self.keep:
            for towers in self._towers.values():
                free_text_tower(towers)
            self._towers.clear()


def free_text_tower(towers: ClipTowers) -> None:
    """Gives back the memory of an open_clip model's text half, once all texts are encoded."""
    model = getattr(towers, "model", None)
    for part in TEXT_PARTS:
        if getattr(model, part, None) is not None:
            setattr(model, part, None)
