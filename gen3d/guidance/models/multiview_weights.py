"""The published copies of MVDream, whose U-Net is a class of their own, as diffusers' `UNet2DConditionModel`.

Their layers are those of the original latent diffusion code, under its names, with `camera_embed` for the cameras. The
class itself is never imported: only its configuration and its safetensors are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gen3d.errors import Gen3DError
from gen3d.runtime.strict_json import parse_json
from gen3d.runtime.tensors import load_weights

_PREFIX = "model.diffusion_model."
_CAMERAS = {"camera_embed.0.": "label_emb.0.0.", "camera_embed.2.": "label_emb.0.2."}
"""The names of the layers of cameras, which take the place of class labels."""


def unet_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a `UNet2DConditionModel` with the layers of `config`.

    Raises Gen3DError for what MVDream does not have, and KeyError for a configuration that is none of its.
    """
    if config.get("ip_dim") or config["camera_dim"] is None or config.get("num_head_channels", -1) < 1:
        raise Gen3DError("The multi-view U-Net takes images or no cameras; gen3d knows those of MVDream only.")
    widths = [config["model_channels"] * factor for factor in config["channel_mult"]]
    attends = [2**level in config["attention_resolutions"] for level in range(len(widths))]
    down = ["CrossAttnDownBlock2D" if one else "DownBlock2D" for one in attends]
    up = ["CrossAttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attends)]
    return {
        "sample_size": config["image_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "block_out_channels": widths,
        "layers_per_block": config["num_res_blocks"],
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": config["context_dim"],
        # The name is diffusers' own: it is the number of heads.
        "attention_head_dim": [width // config["num_head_channels"] for width in widths],
        "transformer_layers_per_block": config.get("transformer_depth", 1),
        "use_linear_projection": True,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": config["camera_dim"],
    }


def load_multiview_unet(folder: Path, weights: Path, dtype: torch.dtype) -> Any:
    """The U-Net in `folder`, on the CPU. Raises Gen3DError where its weights are not those of its configuration."""
    import diffusers
    from diffusers.loaders import single_file_utils

    settings = unet_settings(parse_json((folder / "config.json").read_bytes()))
    tensors = {_PREFIX + _renamed(name): value for name, value in load_weights(weights).items()}
    kind: Any = diffusers.UNet2DConditionModel
    convert: Any = single_file_utils.convert_ldm_unet_checkpoint
    unet, converted = kind(**settings), convert(tensors, settings)
    if len(converted) != len(tensors):
        raise Gen3DError(f"'{weights}' holds {len(tensors)} tensors, of which MVDream knows {len(converted)}.")
    unet.load_state_dict(converted)
    return unet.to(dtype)


def _renamed(name: str) -> str:
    for camera, label in _CAMERAS.items():
        if name.startswith(camera):
            return label + name.removeprefix(camera)
    return name
