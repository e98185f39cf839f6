"""Guidance by an image-text encoder: renders are moved to where the encoder sees the text.

Any CLIP will do (`gen3d.encoders.clip_models`). Recipes as published: Dream Fields (Jain et al. 2022) and CLIP-Mesh
(Mohammad Khalid et al. 2022). A model that guided must not judge the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.config.schedule import linear
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.guidance.augment import Augmentation, apply, draw
from gen3d.guidance.view_prompts import VIEWS, camera_weights
from gen3d.rendering.backgrounds import composite, dream_fields, random_solid, solid
from gen3d.rendering.regularizers import opacity
from gen3d.rendering.views import Render
from gen3d.runtime.transfers import constant, like, sent

TEMPLATES = ("{}", "a 3d model of {}", "a render of {}", "{} on a plain background")
"""Sentences around a prompt; the features of all are averaged (CLIP, Radford et al. 2021, section 3.1.4)."""

FIRST_CHANGE = 0.1
"""Change of a unit feature below which its direction does not count in full."""


class ClipTowers(Protocol):
    """A frozen image-text encoder. mean, std: of each channel of its training images."""

    @property
    def image_size(self) -> int: ...

    @property
    def mean(self) -> Sequence[float]: ...

    @property
    def std(self) -> Sequence[float]: ...

    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, image_size, image_size] -> features [B, D] of any length; differentiable."""

    def encode_text(self, texts: list[str]) -> Tensor:
        """Features [T, D] of any length."""


@dataclass
class ClipGuidanceConfig:
    """Weights and augmentation. Terms of weight 0 cost nothing."""

    weight: float = 1.0
    """Weight of the whole loss."""
    text: float = 1.0
    """Weight of 1 - cos(image, text)."""
    prior: float = 0.33
    """Weight of 1 - cos(image, image embedding that a prior gives for the text), where there is one."""
    directional: float = 0.0
    """Weight of 1 - cos of the angle between the change of the image and that of the text."""
    neutral: str = "a grey 3d model"
    """What the scene is at the start, in words, for the directional term."""
    templates: tuple[str, ...] = TEMPLATES
    background: str = "dream_fields"
    """What renders are laid on: 'dream_fields', 'solid' (random colours) or 'white'."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    transmittance: float = 0.5
    """Weight of the mean opacity above its target."""
    opacity_start: float = 0.5
    opacity_end: float = 0.1
    opacity_steps: int = 500
    """The target falls from start to end over so many steps."""


def dream_fields_config() -> ClipGuidanceConfig:
    """Dream Fields' numbers: 8 crops of 80 pixels from renders of 88, and the transmittance loss at 0.5."""
    side = 80 / 88
    crops = Augmentation(crops=8, crop_min=side, crop_max=side, perspective=0.0, jitter=0.0)
    return ClipGuidanceConfig(prior=0.0, augmentation=crops)


def clip_mesh_config() -> ClipGuidanceConfig:
    """CLIP-Mesh's numbers: text 1 and prior 0.33 on random colours; a mesh needs no pull to transparency."""
    return ClipGuidanceConfig(background="solid", transmittance=0.0, augmentation=Augmentation(crops=1))


@dataclass(frozen=True)
class ClipStep:
    """What one step gives. loss: weighted sum of all terms, where the render is. similarity: mean cosine of the crops
    with the text, detached. terms: the unweighted terms by name, detached scalars.
    """

    loss: Tensor
    similarity: Tensor
    terms: dict[str, Tensor]


class ClipGuidance:
    """Loss of a batch of renders under one text."""

    def __init__(
        self,
        towers: ClipTowers,
        text: Tensor,
        config: ClipGuidanceConfig,
        generator: torch.Generator,
        *,
        neutral: Tensor | None = None,
        prior: Tensor | None = None,
    ) -> None:
        """Makes the guidance of features. text: [D] unit feature of the prompt. neutral: [D] unit feature of what the
        scene is at the start, for the directional term. prior: [D] or [P, D], image embeddings that a prior gives for
        the text (CLIP-Mesh), which are averaged. generator: on the CPU. Raises UsageError for a background that does
        not exist.
        """
        check_background(config.background)
        self.towers, self.text, self.config, self.generator = towers, text, config, generator
        self.direction = None if neutral is None else text_direction(text, neutral)
        self.prior = (
            None if prior is None else F.normalize(F.normalize(prior, dim=-1).view(-1, len(text)).mean(0), dim=0)
        )

    @classmethod
    def of(
        cls,
        towers: ClipTowers,
        prompt: str,
        config: ClipGuidanceConfig,
        generator: torch.Generator,
        prior: Tensor | None = None,
    ) -> ClipGuidance:
        """Guidance towards `prompt`. prior: as for the constructor."""
        text, neutral = text_features(towers, [prompt, config.neutral], config.templates)
        return cls(towers, text, config, generator, neutral=neutral if config.directional else None, prior=prior)

    def __call__(
        self, render: Render, step: int, *, start: Render | None = None, texts: Tensor | None = None
    ) -> ClipStep:
        """The loss of B views. render: these views, attached to the scene. step: that of the run, for the target of the
        opacity. start: the same views of the scene as it was, for the directional term; seen on the same backgrounds,
        in the same crops. texts: [B, D] unit features in place of the prompt's, one a view ("..., back view").

        Raises ValueError where the directional term is on and `start` is missing.
        """
        config = self.config
        background = background_of(render, config.background, self.generator)
        draws = draw(config.augmentation, len(render.rgb), self.generator)

        def see(shown: Render) -> Tensor:
            images = composite(shown.rgb, shown.alpha, background).permute(0, 3, 1, 2)
            return image_features(self.towers, apply(images, draws, self.towers.image_size))

        features = see(render)  # [B crops, D]
        text = self.text if texts is None else texts.repeat_interleave(draws.crops, 0)
        terms = {"text": cosine_loss(features, like(text, features))}
        if config.prior and self.prior is not None:
            terms["prior"] = cosine_loss(features, like(self.prior, features))
        if config.directional and self.direction is not None:
            if start is None:
                raise ValueError("The directional term compares with the scene at the start: pass `start`.")
            with torch.no_grad():
                before = see(start)
            terms["directional"] = directional_loss(features, before, like(self.direction, features))
        if config.transmittance:
            terms["transmittance"] = opacity(render.alpha, opacity_target(config, step))
        terms = {name: sent(value, render.rgb.device) for name, value in terms.items()}
        loss = torch.stack([getattr(config, name) * value for name, value in terms.items()]).sum()
        detached = {name: value.detach() for name, value in terms.items()}
        return ClipStep(config.weight * loss, 1 - detached["text"], detached)


def image_features(towers: ClipTowers, images: Tensor) -> Tensor:
    """Unit features [B, D] of images [B, 3, image_size, image_size] in 0..1; differentiable."""
    mean, std = (constant(list(values), images).view(1, 3, 1, 1) for values in (towers.mean, towers.std))
    return F.normalize(towers.encode_image((images - mean) / std).float(), dim=-1)


@torch.no_grad()
def text_features(towers: ClipTowers, texts: Sequence[str], templates: Sequence[str] = TEMPLATES) -> Tensor:
    """Unit features [T, D] of texts, each the mean over the templates. Raises UsageError where a template has no place
    for the text.
    """
    if not templates or any(template.count("{}") != 1 for template in templates):
        raise UsageError(
            f"Each template must hold '{{}}' once, where the prompt goes; these do not: {list(templates)}."
        )
    filled = [template.replace("{}", text) for text in texts for template in templates]
    units = F.normalize(towers.encode_text(filled).float(), dim=-1)
    return F.normalize(units.view(len(texts), len(templates), -1).mean(1), dim=-1)


def cosine_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cos(feature, target), 0 to 2. features: [N, D] unit; target: [D] or [N, D] unit."""
    return (1 - (features * target).sum(-1)).mean()


def text_direction(text: Tensor, neutral: Tensor) -> Tensor:
    """Unit difference [D] of two text features. Raises UsageError where the texts say the same."""
    difference = text - neutral
    if float(difference.norm()) < 1e-4:
        raise UsageError("The prompt and the neutral text mean the same to the encoder: choose another neutral text.")
    return F.normalize(difference, dim=-1)


def directional_loss(features: Tensor, before: Tensor, direction: Tensor) -> Tensor:
    """Mean of 1 - cos(feature - feature before, direction of the text) (StyleGAN-NADA, Gal et al. 2022, eq. 3).

    features, before: [N, D] unit. direction: [D] unit. Exactly at the start there is no change and so no angle; the
    length is softened by `FIRST_CHANGE`, so that the cosine begins at 0 and with a gradient of the usual size: Adam
    would remember a huge one for a thousand steps.
    """
    change = features - before
    length = (change.square().sum(-1, keepdim=True) + FIRST_CHANGE**2).sqrt()
    return (1 - (change / length * direction).sum(-1)).mean()


def opacity_target(config: ClipGuidanceConfig, step: int) -> float:
    """Mean opacity that costs nothing at `step`: Dream Fields' 0.5 falling to 0.1 over 500 steps."""
    return linear(config.opacity_start, config.opacity_end, step / max(config.opacity_steps, 1))


def check_background(name: str) -> None:
    """Raises UsageError for a name that is none of `BACKGROUNDS`."""
    if name not in BACKGROUNDS:
        raise UsageError(f"There is no background '{name}' for CLIP guidance; use one of {', '.join(BACKGROUNDS)}.")


def background_of(render: Render, kind: str, generator: torch.Generator) -> Tensor:
    """What the views are laid on, [B, H, W, 3]: their own background where they have one, else one of `BACKGROUNDS`."""
    if render.background is not None:
        return render.background
    views, height, width = render.rgb.shape[:3]
    return like(BACKGROUNDS[kind](views, height, width, generator), render.rgb)


def view_features(towers: ClipTowers, prompt: str, templates: Sequence[str] = TEMPLATES) -> Tensor:
    """Unit features [4, D] of the prompt with the name of each of `view_prompts.VIEWS` behind it."""
    return text_features(towers, [f"{prompt}, {view} view" for view in VIEWS], templates)


def facing(features: Tensor, cameras: Cameras) -> Tensor:
    """Unit features [B, D] of what each camera sees, mixed of the views' [4, D] by azimuth and elevation."""
    return F.normalize(camera_weights(cameras).to(features) @ features, dim=-1)


def _white(views: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    return solid((1.0, 1.0, 1.0), views, height, width)


BACKGROUNDS: dict[str, Callable[[int, int, int, torch.Generator], Tensor]] = {
    "dream_fields": dream_fields,
    "solid": random_solid,
    "white": _white,
}
