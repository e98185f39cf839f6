"""The networks that published recipes are guided by, from their configurations, with random weights.

The dictionaries are those of the files `unet/config.json`, `transformer/config.json` and `vae/config.json` of the
models named; nothing is downloaded. What a step costs depends on these, not on the values of the weights. Texts are
random embeddings of the shape that each model's own encoders give, which no step runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from on_gpu.harness import Skipped

_CROSS, _UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"

STABLE_DIFFUSION_2 = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024,
    "down_block_types": (_CROSS, _CROSS, _CROSS, "DownBlock2D"), "up_block_types": ("UpBlock2D", _UP, _UP, _UP),
    "use_linear_projection": True,
}  # fmt: skip
"""stabilityai/stable-diffusion-2-1-base."""

SDXL = {
    "sample_size": 128, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
    "down_block_types": ("DownBlock2D", _CROSS, _CROSS), "up_block_types": (_UP, _UP, "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
"""stabilityai/stable-diffusion-xl-base-1.0."""

STABLE_DIFFUSION_3 = {
    "sample_size": 128, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 24,
    "attention_head_dim": 64, "num_attention_heads": 24, "joint_attention_dim": 4096, "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048, "pos_embed_max_size": 192,
}  # fmt: skip
"""stabilityai/stable-diffusion-3-medium-diffusers."""

_IF = "SimpleCrossAttn"
DEEPFLOYD = {
    "sample_size": 64, "in_channels": 3, "out_channels": 6, "layers_per_block": 3,
    "block_out_channels": (704, 1408, 2112, 2816), "attention_head_dim": 64, "cross_attention_dim": 2816,
    "down_block_types": ("ResnetDownsampleBlock2D", f"{_IF}DownBlock2D", f"{_IF}DownBlock2D", f"{_IF}DownBlock2D"),
    "up_block_types": (f"{_IF}UpBlock2D", f"{_IF}UpBlock2D", f"{_IF}UpBlock2D", "ResnetUpsampleBlock2D"),
    "mid_block_type": f"UNetMidBlock2D{_IF}", "addition_embed_type": "text", "addition_embed_type_num_heads": 64,
    "encoder_hid_dim": 4096, "encoder_hid_dim_type": "text_proj", "cross_attention_norm": "group_norm",
    "only_cross_attention": False, "resnet_time_scale_shift": "scale_shift", "act_fn": "gelu",
    "time_embedding_act_fn": "gelu", "timestep_post_act": "gelu", "resnet_skip_time_act": True,
    "mid_block_scale_factor": 1.414,
}  # fmt: skip
"""DeepFloyd/IF-I-XL-v1.0."""

MULTIVIEW = STABLE_DIFFUSION_2 | {
    "sample_size": 32, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 16,
}  # fmt: skip
"""ashawkey/mvdream-sd2.1-diffusers, in the classes of diffusers (see `gen3d.guidance.models.multiview`)."""

VAE = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
"""The autoencoder that Stable Diffusion 1 and 2, SDXL and MVDream share but for its scale."""

VAE_3 = VAE | {
    "latent_channels": 16, "sample_size": 1024, "scaling_factor": 1.5305, "shift_factor": 0.0609,
    "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip
"""The autoencoder of Stable Diffusion 3."""


@dataclass(frozen=True)
class Architecture:
    """kind: diffusers' class of the network. network, vae: their configurations; no vae for a model of pixels. prior:
    module and class of the adapter in `gen3d.guidance.models`. tokens: length and width of an embedded text. pooled:
    width of that of the whole text. dtype: in which the model is run. toy: what is smaller in a quick run.
    """

    kind: str
    network: Mapping[str, Any]
    vae: Mapping[str, Any] | None
    prior: str
    tokens: tuple[int, int]
    pooled: int | None = None
    dtype: torch.dtype = torch.float16
    toy: Mapping[str, Any] | None = None


UNET = "UNet2DConditionModel"
_TOY_UNET = {
    "sample_size": 8, "layers_per_block": 1, "block_out_channels": (8, 16), "attention_head_dim": 4,
    "cross_attention_dim": 16, "norm_num_groups": 4, "down_block_types": (_CROSS, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", _UP),
}  # fmt: skip
_TOY_VAE = {
    "block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 16,
    "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip

ARCHITECTURES: dict[str, Architecture] = {
    "Stable Diffusion 2.1": Architecture(
        UNET, STABLE_DIFFUSION_2, VAE, "stable_diffusion:StableDiffusionPrior", (77, 1024), toy=_TOY_UNET
    ),
    "SDXL": Architecture(
        UNET, SDXL, VAE | {"scaling_factor": 0.13025, "sample_size": 1024}, "sdxl:SdxlPrior", (77, 2048), 1280,
        torch.bfloat16,
        _TOY_UNET | {"transformer_layers_per_block": 1, "addition_time_embed_dim": 8,
                     "projection_class_embeddings_input_dim": 64},
    ),
    "Stable Diffusion 3": Architecture(
        "SD3Transformer2DModel", STABLE_DIFFUSION_3, VAE_3, "flow:Sd3Prior", (333, 4096), 2048, torch.bfloat16,
        {"sample_size": 8, "num_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2,
         "joint_attention_dim": 16, "caption_projection_dim": 16, "pooled_projection_dim": 16, "pos_embed_max_size": 8},
    ),
    "DeepFloyd IF": Architecture(
        UNET, DEEPFLOYD, None, "deepfloyd:DeepFloydPrior", (77, 4096), dtype=torch.bfloat16,
        toy={"sample_size": 16, "layers_per_block": 1, "block_out_channels": (8, 16), "attention_head_dim": 4,
             "norm_num_groups": 4, "cross_attention_dim": 32, "encoder_hid_dim": 32, "addition_embed_type_num_heads": 2,
             "down_block_types": ("ResnetDownsampleBlock2D", f"{_IF}DownBlock2D"),
             "up_block_types": (f"{_IF}UpBlock2D", "ResnetUpsampleBlock2D")},
    ),
    "MVDream": Architecture(UNET, MULTIVIEW, VAE, "multiview:MultiViewPrior", (77, 1024), toy=_TOY_UNET),
}  # fmt: skip
"""By the name in the table."""


def built(kind: str, configuration: Mapping[str, Any], device: torch.device) -> torch.nn.Module:
    """A network of diffusers with random weights, made where it will live. Raises Skipped without diffusers."""
    try:
        import diffusers
    except ImportError as error:
        raise Skipped(
            f"The package {error.name or 'diffusers'} is not here: carry it as a wheel, see benchmarks/README.md."
        ) from None
    diffusers.utils.logging.set_verbosity_error()
    made: Any = getattr(diffusers, kind)
    torch.manual_seed(0)
    if device.type == "cuda" and device.index is not None and type(torch.empty(0, device=device)) is Tensor:
        with torch.device(device):
            network: torch.nn.Module = made(**configuration)
        return network
    return made(**configuration).to(device)


def random_prior(
    name: str, device: torch.device, generator: torch.Generator | None = None, quick: bool = False
) -> tuple[Any, int]:
    """The adapter of an architecture with random weights on a device, and the number of the network's parameters.

    generator: on the CPU, draws latents from the encoder's Gaussian. quick: a toy of the same classes.
    """
    import importlib

    from gen3d.guidance.models.base import Setup
    from gen3d.guidance.models.placement import Placement, freeze
    from gen3d.guidance.models.texts import Condition

    one = ARCHITECTURES[name]
    configuration = {**one.network, **(one.toy or {})} if quick else dict(one.network)
    length, width = (4, 32 if one.vae is None else 16) if quick else one.tokens
    pooled = 16 if quick and one.pooled else one.pooled
    network = built(one.kind, configuration, device).to(one.dtype)
    parts: dict[str, Any] = {"unet" if one.kind == UNET else "transformer": network}
    if one.vae is not None:
        vae = built("AutoencoderKL", {**one.vae, **_TOY_VAE} if quick else one.vae, device)
        parts["vae"] = vae.to(one.dtype)
    freeze(parts)
    module, class_name = one.prior.split(":")
    kind = getattr(importlib.import_module(f"gen3d.guidance.models.{module}"), class_name)
    pipeline = SimpleNamespace(**parts, scheduler=_scheduler(), config={})
    prior = kind(pipeline, Setup(name, Placement(device), generator=generator))
    draws = torch.Generator().manual_seed(1)

    def embedded(texts: list[str]) -> Condition:
        tokens = torch.randn(len(texts), length, width, generator=draws).to(device, one.dtype)
        whole = torch.randn(len(texts), pooled, generator=draws).to(device, one.dtype) if pooled else None
        return Condition(tokens, whole)

    prior._encode = embedded
    return prior, sum(parameter.numel() for parameter in network.parameters())


def _scheduler() -> Any:
    """The noise schedule of Stable Diffusion, which costs nothing: other models take it for theirs here."""
    from gen3d.guidance.paths import scaled_linear_path

    return SimpleNamespace(config={"prediction_type": "epsilon"}, alphas_cumprod=scaled_linear_path().alphas_cumprod)
