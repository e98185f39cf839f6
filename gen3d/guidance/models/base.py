"""What all adapters of diffusion networks share: both halves in one call, devices and precisions, memory.

An adapter lives on the device of its `Placement`, in the precision its weights were loaded in. What it is given may lie
anywhere: it is moved there, and answers come back in fp32 to where the renders and samples are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.guidance.contract import Halves, NoisePath, PromptSet
from gen3d.guidance.models.images import Codec
from gen3d.guidance.models.placement import Placement
from gen3d.guidance.models.predictions import HALVES, named, noise_of, stack
from gen3d.guidance.models.texts import Condition, Conditions, TextConditioning, TextEncoders, embed
from gen3d.runtime.transfers import sent


@dataclass(frozen=True)
class Setup:
    """How an adapter is set up.

    name: of the model, as it was asked for. placement: where its parts live; on the CPU without one. resolution: side
    in pixels of the images it sees; None for that of its training. generator: on the CPU, draws latents from the
    encoder's Gaussian; without one their mean is taken.
    """

    name: str
    placement: Placement = field(default_factory=Placement)
    resolution: int | None = None
    generator: torch.Generator | None = None


class NetworkPrior(ABC):
    """A `DiffusionPrior` over one network. An adapter says what the network is told (`conditions`) and how it is asked
    (`denoise`); images go through a codec.

    network: the U-Net or transformer, for changes such as LoRA. path: its forward process. kind: what it predicts, one
    of `gen3d.guidance.models.predictions.PREDICTIONS`.
    """

    channels = 3
    views = 1

    def __init__(self, setup: Setup, network: Any, codec: Codec, path: NoisePath, kind: str) -> None:
        self.name, self.network, self.codec, self.path, self.kind = setup.name, network, codec, path, kind
        self.placement, self.device = setup.placement, setup.placement.device
        self.resolution = codec.resolution

    @abstractmethod
    def encode_prompt(self, prompts: PromptSet) -> Any:
        """The conditioning that `predict` takes. Raises Gen3DError after `free_text_encoders`."""

    @abstractmethod
    def conditions(self, conditioning: Any, batch: int, cameras: Cameras | None) -> Conditions:
        """What the network is told of each of `batch` samples: under the prompt, and without it.

        Raises UsageError for cameras that are missing or not as many.
        """

    @abstractmethod
    def denoise(self, noisy: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Noise predictions [B, C, h, w] in fp32 for samples at times t [B], both on any device.

        Gradients reach whatever of the network wants them.
        """

    @abstractmethod
    def free_text_encoders(self) -> None:
        """Gives back the memory of what encodes prompts; `encode_prompt` may not be called afterwards."""

    @torch.no_grad()
    def predict(self, noisy: Tensor, t: Tensor, conditioning: Any, cameras: Cameras | None = None) -> Halves:
        """Predicts both halves in one batched call of the network. Raises as `conditions` does."""
        condition = self.conditions(conditioning, len(noisy), cameras).joined()
        return named(self.denoise(stack(noisy, noisy), t.repeat(len(HALVES)), condition))

    def encode_image(self, images: Tensor, background: Tensor) -> Tensor:
        """Encodes renders as `Codec.encode` says."""
        return self.codec.encode(images, background)

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes samples as `Codec.decode` says."""
        return self.codec.decode(latents)

    def rest(self) -> None:
        """Gives back the memory that the network takes between steps, where it is offloaded; `predict` brings it back.

        To be called when no gradient has to pass through the network any more.
        """
        self.placement.rest()

    def moved(self, values: Tensor) -> Tensor:
        """Values where the network is, in its precision."""
        return sent(values, self.device, self.network.dtype)

    def noise(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The prediction of the noise in fp32, where `noisy` is, that belongs to an output of the network."""
        noisy = noisy.float()
        return noise_of(self.kind, output.to(noisy), noisy, t.to(noisy), self.path)


class TextPrior(NetworkPrior):
    """A prior under texts, over the models of a diffusers pipeline that encodes them.

    zero_negative: the network was trained with zeros in place of an empty text.
    """

    zero_negative = False

    def __init__(self, setup: Setup, pipeline: Any, network: Any, codec: Codec, path: NoisePath, kind: str) -> None:
        super().__init__(setup, network, codec, path, kind)
        self.pipeline, self.texts = pipeline, TextEncoders(pipeline, setup.name, setup.placement)

    @abstractmethod
    def _encode(self, texts: list[str]) -> Condition:
        """What the network is told of each text, a row each."""

    def encode_prompt(self, prompts: PromptSet) -> TextConditioning:
        """Embeds the prompts. Raises Gen3DError after `free_text_encoders`."""
        self.texts.check()
        conditioning = embed(prompts, self._encode, self.zero_negative)
        self.placement.rest()
        return conditioning

    def conditions(self, conditioning: TextConditioning, batch: int, cameras: Cameras | None) -> Conditions:
        """The prompt's text, mixed of those of the views where it has some, and the negative one."""
        return Conditions(
            conditional=conditioning.conditional(batch, cameras), unconditional=conditioning.negative.repeat(batch)
        )

    def free_text_encoders(self) -> None:
        """Drops text encoders and tokenizers; harmless when done twice."""
        self.texts.free()
