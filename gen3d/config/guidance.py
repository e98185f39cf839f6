"""What pulls a scene towards the prompt: a section for each guide, but for diffusion models (`config.diffusion`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gen3d.config.section import Bounds, Choices, Section

RULES = ("sds", "sjc", "csd", "nfsd", "ism", "sdi", "reconstruction", "vsd")
"""The names of score-distillation rules in the code space (`gen3d.guidance.code.CODE_RULES`, and 'vsd')."""

BACKGROUNDS = ("dream_fields", "solid", "white")
"""What image encoders see behind the views."""

DTYPES = ("auto", "fp32", "fp16", "bf16")
"""Precisions of image encoders."""


@dataclass
class CodeGuidanceConfig(Section, key="code"):
    """Score distillation in the code space of the packaged shape prior."""

    weight: Annotated[float, Bounds(0, 1000)] = 0.1
    """Weight of this guide at the beginning. Larger values pull harder towards what the shape prior knows of the
    prompt; 0 turns it off."""
    weight_final: Annotated[float | None, Bounds(0, 1000)] = None
    """Weight at the end of the run, to which it changes linearly; null keeps the first weight throughout."""
    rule: Annotated[str, Choices(*RULES)] = "sdi"
    """Rule that makes a gradient of what the prior predicts: 'sds' (DreamFusion), 'sjc' (Score Jacobian Chaining),
    'csd' (Classifier Score Distillation), 'nfsd' (Noise-Free Score Distillation), 'ism' (LucidDreamer), 'sdi' (Score
    Distillation via Inversion), 'reconstruction' (MVDream) or 'vsd' (ProlificDreamer). The default came out first in
    `benchmarks/rules.py`."""
    guidance_scale: Annotated[float, Bounds(0, 1000)] = 1.0
    """Strength of classifier-free guidance in each step; 1 is none. The sample was drawn with guidance already, and
    larger values would pull the scene off what was drawn."""
    t_max: Annotated[float, Bounds(0, 1)] = 0.5
    """Diffusion time, from 0 (clean) to 1 (noise), at the beginning of the run; it falls to `t_min`. Larger values let
    the shape change more."""
    t_min: Annotated[float, Bounds(0, 1)] = 0.05
    """Diffusion time at the end of the run. Smaller values end on finer detail."""
    draws: Annotated[int, Bounds(1, 256)] = 4
    """Draws of noise that are averaged in each step. More of them make a quieter gradient and take longer; rules that
    find the noise by inversion ('ism', 'sdi') use one."""
    student_rate: Annotated[float, Bounds(0, 1)] = 1e-3
    """Learning rate of the student network of the rule 'vsd'. Larger values let it follow the scene faster."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("t_min", "t_max")


@dataclass
class FieldGuidanceConfig(Section, key="field_views"):
    """Views of the field that the guided code decodes to, as targets of the scene's own views."""

    weight: Annotated[float, Bounds(0, 1000)] = 1.0
    """Weight of the difference between the scene's views and those of the field at the beginning. Larger values hold
    the scene closer to the field; 0 turns it off."""
    weight_final: Annotated[float | None, Bounds(0, 1000)] = None
    """Weight at the end of the run, to which it changes linearly; null keeps the first weight throughout."""
    grid: Annotated[int, Bounds(16, 256)] = 80
    """Cells along each axis of the grid on which the field's surface is found. Larger values keep finer detail; time
    grows with the third power."""
    follow: Annotated[float, Bounds(0, 1)] = 0.0
    """How far the views follow the code that is guided, away from the code that was sampled: 0 keeps the sample, 1
    follows all the way. A start that was not sampled from the prior always follows all the way."""
    refresh_every: Annotated[int, Bounds(1, 1_000_000)] = 25
    """Steps after which the code is decoded and seen from new sides. Larger values save time and show fewer sides."""
    views: Annotated[int, Bounds(1, 1000)] = 24
    """Views of the field that are drawn at each refresh, of which every step compares some. More of them take longer
    and show more sides."""
    detail: Annotated[float, Bounds(0, 1)] = 1.0
    """Share, from 0 to 1, of what the packaged view prior expects the field's views to lack that is added to them.
    Larger values add more edges and texture; 0 turns it off."""


@dataclass
class ViewGuidanceConfig(Section, key="view_prior"):
    """Score distillation of the scene's views with the packaged view prior, which adds edges and texture."""

    weight: Annotated[float, Bounds(0, 1000)] = 0.0
    """Weight of this guide. Larger values add more edges and texture; 0 turns it off."""
    t_max: Annotated[float, Bounds(0.001, 0.999)] = 0.4
    """Diffusion time, from 0 (clean) to 1 (noise), at the beginning of the run; it falls to `t_min`. Larger values let
    more of the views change."""
    t_min: Annotated[float, Bounds(0.001, 0.999)] = 0.05
    """Diffusion time at the end of the run. Smaller values end on finer detail."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("t_min", "t_max")


@dataclass
class ClipConfig(Section, key="clip"):
    """Guidance of the scene's views by an image-text encoder (CLIP)."""

    weight: Annotated[float, Bounds(0, 1000)] = 0.0
    """Weight of this guide at the beginning. Larger values pull harder towards what the encoder takes for the prompt,
    and paint stains from some point on; 0 turns it off."""
    weight_final: Annotated[float | None, Bounds(0, 1000)] = None
    """Weight at the end of the run, to which it changes linearly; null keeps the first weight throughout."""
    model: str = "mini"
    """The encoder: 'mini' is the packaged one, which never judges results; others are a model of open_clip as
    'ARCHITECTURE:TAG' ('ViT-B-32:openai'), 'hf-hub:OWNER/NAME' or a folder."""
    dtype: Annotated[str, Choices(*DTYPES)] = "auto"
    """Precision of the encoder's numbers: 'fp32', 'fp16' or 'bf16'; 'auto' takes 'fp16' on a graphics card, where it is
    faster, but 'fp32' for the packaged encoder and on the CPU."""
    background: Annotated[str, Choices(*BACKGROUNDS)] = "dream_fields"
    """What stands behind the views, unless the section `appearance` says otherwise: 'dream_fields' (noise, checkers and
    Fourier textures), 'solid' (random colours) or 'white'."""
    transmittance: Annotated[float, Bounds(0, 1000)] = 0.0
    """Weight of Dream Fields' loss of the mean opacity above a target, which falls from 0.5 to 0.1 over the first 500
    steps. Larger values keep the object small and clear fog away; meshes need none."""
    crops: Annotated[int, Bounds(1, 64)] = 4
    """Random crops of every view that the encoder sees. More of them make a steadier gradient and take longer."""
    crop_min: Annotated[float, Bounds(0.05, 1)] = 0.7
    """Smallest side of a crop over the side of the view. Smaller values look more closely at details."""
    crop_max: Annotated[float, Bounds(0.05, 1)] = 1.0
    """Largest side of a crop over the side of the view; every crop draws its own between both."""
    perspective: Annotated[float, Bounds(0, 0.9)] = 0.2
    """How far each corner of a crop may be pulled inwards, in halves of its side. Larger values distort the crops more,
    which keeps the encoder from being cheated."""
    jitter: Annotated[float, Bounds(0, 0.9)] = 0.1
    """How far the factors on brightness, contrast and saturation of a crop may lie from 1. Larger values change the
    colours more, which keeps the encoder from being cheated."""
    view_prompts: bool = False
    """Whether 'front view', 'side view' and so on are added to the prompt, by where the camera stands."""
    directional: Annotated[float, Bounds(0, 1000)] = 0.0
    """Weight of the angle between how the views have changed since the start and how the prompt differs from `neutral`
    (StyleGAN-NADA). Larger values turn the change more towards what the prompt adds; 0 turns it off."""
    neutral: str = "a grey 3d model"
    """What the scene shows at the start, in words, for `directional`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("crop_min", "crop_max")


@dataclass
class EncoderConfig(Section, key="encoder"):
    """Guidance of all views of a step at once by an aligned text-3D encoder."""

    weight: Annotated[float, Bounds(0, 1000)] = 0.0
    """Weight of this guide at the beginning. Larger values pull harder towards what the encoder takes for the prompt; 0
    turns it off."""
    weight_final: Annotated[float | None, Bounds(0, 1000)] = None
    """Weight at the end of the run, to which it changes linearly; null keeps the first weight throughout."""
    model: str = "mini"
    """The encoder: a folder that 'gen3d train encoder' wrote, of views (duoduo, align) or of points (openshape); or one
    named as in `clip.model`, whose features of the views are averaged to one of the object, as in the baseline of
    DuoduoCLIP."""
    dtype: Annotated[str, Choices(*DTYPES)] = "auto"
    """Precision of the encoder's numbers: 'fp32', 'fp16' or 'bf16'; 'auto' takes 'fp16' on a graphics card, where it is
    faster, but 'fp32' for the packaged encoder and on the CPU."""
    background: Annotated[str, Choices(*BACKGROUNDS)] = "solid"
    """What stands behind the views, unless the section `appearance` says otherwise: 'dream_fields' (noise, checkers and
    Fourier textures), 'solid' (random colours) or 'white'."""


@dataclass
class ReferenceConfig(Section, key="reference"):
    """An image that the view of one camera has to match."""

    weight: Annotated[float, Bounds(0, 1_000_000)] = 0.0
    """Weight of the squared difference to the image at the beginning. Larger values match it more closely; 0 turns it
    off."""
    weight_final: Annotated[float | None, Bounds(0, 1_000_000)] = None
    """Weight at the end of the run, to which it changes linearly; null keeps the first weight throughout."""
    image: str = ""
    """Path of a PNG, JPEG or WebP file; without transparency its background is taken as white. Diffusion models that
    are conditioned on an image take it as well."""
    azimuth: Annotated[float, Bounds(-360, 360)] = 0.0
    """Where around the object the camera stood that took the image, in degrees: 0 looks at the front, 90 comes from
    +X."""
    elevation: Annotated[float, Bounds(-90, 90)] = 0.0
    """How high the camera stood that took the image, in degrees above the horizon."""
    fov: Annotated[float, Bounds(1, 120)] = 40.0
    """Vertical field of view, in degrees, of the camera that took the image. The camera stands where the bounding
    sphere of an object just fits, so larger values bring it closer, with more perspective."""
    alpha_weight: Annotated[float, Bounds(0, 1000)] = 0.1
    """Weight of the silhouette relative to the colours, where the image has transparency. Larger values match it more
    closely."""
