"""Tiny random instances of the real classes of diffusers and transformers, saved to folders as on a hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

WIDTH = 16
"""Width of the text embeddings."""
T5_WIDTH = 32
TOKENS = 24
"""How many tokens CLIP's tokenizer pads to."""

Builder = Callable[[], Any]


def clip_tokenizer() -> Any:
    """CLIP's own class with a vocabulary of letters."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [","]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=TOKENS)


def t5_tokenizer() -> Any:
    """T5's own class with a vocabulary of letters."""
    from transformers import T5Tokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=TOKENS)


def clip_text(kind: str = "CLIPTextModel") -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=64, hidden_size=WIDTH, intermediate_size=WIDTH, projection_dim=WIDTH, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=TOKENS, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return getattr(transformers, kind)(config)


def t5_text() -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=32, d_model=T5_WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return T5EncoderModel(config)


def vae(**settings: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=16, **settings,
    )  # fmt: skip


def unet(**settings: Any) -> Any:
    from diffusers import UNet2DConditionModel

    base = dict(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=2,
    )  # fmt: skip
    return UNet2DConditionModel(**{**base, **settings})


def ddim(**settings: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1, **settings
    )


def stable_diffusion(prediction: str = "epsilon", **settings: Any) -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae(), text_encoder=clip_text(), tokenizer=clip_tokenizer(), unet=unet(**settings), safety_checker=None,
        scheduler=ddim(prediction_type=prediction), feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sdxl() -> Any:
    from diffusers import StableDiffusionXLPipeline

    network = unet(
        cross_attention_dim=2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH, use_linear_projection=True,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025), text_encoder=clip_text(), tokenizer=clip_tokenizer(), unet=network,
        text_encoder_2=clip_text("CLIPTextModelWithProjection"), tokenizer_2=clip_tokenizer(), scheduler=ddim(),
        force_zeros_for_empty_prompt=True, add_watermarker=False,
    )  # fmt: skip


def stable_diffusion_3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=T5_WIDTH, caption_projection_dim=16, pos_embed_max_size=8,
        pooled_projection_dim=2 * WIDTH,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06, scaling_factor=1.53), text_encoder=clip_text("CLIPTextModelWithProjection"),
        tokenizer=clip_tokenizer(), text_encoder_2=clip_text("CLIPTextModelWithProjection"),
        tokenizer_2=clip_tokenizer(), text_encoder_3=t5_text(), tokenizer_3=t5_tokenizer(),
    )  # fmt: skip


def flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=T5_WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    return FluxPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=clip_text(),
        vae=vae(shift_factor=0.1, scaling_factor=0.36), tokenizer=clip_tokenizer(), text_encoder_2=t5_text(),
        tokenizer_2=t5_tokenizer(),
    )  # fmt: skip


def deepfloyd() -> Any:
    from diffusers import DDPMScheduler, IFPipeline

    network = unet(
        sample_size=16, in_channels=3, out_channels=6, encoder_hid_dim=T5_WIDTH, encoder_hid_dim_type="text_proj",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), attention_head_dim=4,
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), addition_embed_type_num_heads=2,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", addition_embed_type="text", cross_attention_norm="group_norm",
        cross_attention_dim=T5_WIDTH,
        resnet_time_scale_shift="scale_shift", act_fn="gelu", time_embedding_act_fn="gelu",
    )  # fmt: skip
    return IFPipeline(
        tokenizer=t5_tokenizer(), text_encoder=t5_text(), unet=network, safety_checker=None, feature_extractor=None,
        scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range"), watermarker=None,
        requires_safety_checker=False,
    )  # fmt: skip


def multiview() -> Any:
    return stable_diffusion(class_embed_type="projection", projection_class_embeddings_input_dim=16)


BUILDERS: dict[str, Builder] = {
    "sd": stable_diffusion,
    "sd-v": lambda: stable_diffusion("v_prediction"),
    "sdxl": sdxl,
    "sd3": stable_diffusion_3,
    "flux": flux,
    "if": deepfloyd,
    "multiview": multiview,
}


def save_image_conditioned(folder: Path) -> None:
    """Zero-1-to-3 has no pipeline in diffusers: its components are saved one by one."""
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=WIDTH, projection_dim=WIDTH, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    vae().save_pretrained(folder / "vae")
    unet(in_channels=8).save_pretrained(folder / "unet")
    ddim().save_pretrained(folder / "scheduler")
    layer = torch.nn.Linear(WIDTH + 4, WIDTH)
    (folder / "clip_camera_projection").mkdir()
    tensors = {f"proj.{name}": value.detach() for name, value in layer.named_parameters()}
    save_file(tensors, folder / "clip_camera_projection" / "diffusion_pytorch_model.safetensors")
    index = {
        "_class_name": "Zero123Pipeline",
        "clip_camera_projection": ["zero123", "CLIPCameraProjection"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model by its name in `BUILDERS`, or "zero123"; made when it is first asked for."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            path = tmp_path_factory.mktemp("models") / name
            torch.manual_seed(0)
            if name == "zero123":
                path.mkdir()
                save_image_conditioned(path)
            else:
                BUILDERS[name]().save_pretrained(path)
            if name == "multiview":
                index = json.loads((path / "model_index.json").read_text())
                (path / "model_index.json").write_text(json.dumps({**index, "_class_name": "MVDreamPipeline"}))
            made[name] = path
        return made[name]

    return folder


@pytest.fixture(scope="session")
def load_tiny(model_folder: Callable[[str], Path]) -> Callable[..., Any]:
    """Loads a tiny model through the real loader; one instance for each name and precision. Leave it as it is."""
    from gen3d.guidance.models.load import LoadOptions, load_prior

    loaded: dict[tuple[str, str], Any] = {}

    def load(name: str, dtype: str = "fp32") -> Any:
        if (name, dtype) not in loaded:
            options = LoadOptions(dtype=dtype, resolution=16 if name == "flux" else None)
            loaded[name, dtype] = load_prior(str(model_folder(name)), options)
        return loaded[name, dtype]

    return load
