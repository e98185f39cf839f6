"""The in-house CLIP: open_clip's own classes at a size that two CPU cores train in half an hour.

It is trained as open_clip's class and loaded as a `ClipNetwork`, which needs no open_clip. The image tower is a narrow
ModifiedResNet on 64-pixel images, the text tower a three-layer causal transformer pooled at the end token. Measured
forward and backward on one core, images a second: ModifiedResNet [1,2,2,1] width 24: 207, width 32: 126; ViT of
16-pixel patches, 6 x 256: 139; timm resnet10t: 112.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gen3d.encoders.clip_network import ClipNetwork
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import Gen3DError
from gen3d.runtime.strict_json import parse_json
from gen3d.runtime.tensors import load_weights, read_metadata, save_tensors

if TYPE_CHECKING:
    from open_clip.model import CLIP

WEIGHTS_NAME = "clip.safetensors"
VOCABULARY_NAME = "clip_vocab.json"
GALLERY_NAME = "gallery.json"


def mini_config() -> dict[str, Any]:
    """The packaged configuration, in the layout of open_clip's hub files: `model_cfg` and `preprocess_cfg`."""
    return json.loads(resources.files("gen3d.encoders").joinpath("clip_mini.json").read_text())


def build_clip(config: Mapping[str, Any], vocab_size: int) -> CLIP:
    """A CLIP with random weights (torch's global generator) for a vocabulary of `vocab_size` tokens, to be trained."""
    from open_clip.model import CLIP  # imports timm and torchvision: seconds, which only training spends

    model_config = copy.deepcopy(dict(config["model_cfg"]))
    model_config["text_cfg"]["vocab_size"] = vocab_size
    model = CLIP(**model_config)
    # Convolutions over few channels run a third faster on the CPU with the channels innermost.
    model.visual.to(memory_format=torch.channels_last)
    return model


def normalise_images(images: Tensor, config: Mapping[str, Any]) -> Tensor:
    """Images [B, 3, H, W] in 0..1 as the image tower takes them (same shape)."""
    preprocess = config["preprocess_cfg"]
    mean, std = (images.new_tensor(preprocess[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def encode_text(model: CLIP | ClipNetwork, tokens: Tensor) -> Tensor:
    """Unit text features [B, D], where the model is, of tokens [B, L]: `model.encode_text` without the columns that
    are all padding.

    The transformer is causal and pooled at the end token, so padding behind it cannot change the result; captions fill
    about a third of the context, and skipping the rest makes the text tower that much cheaper.
    """
    length = int((tokens != 0).sum(1).max()) if len(tokens) else 1
    tokens = tokens[:, :length].to(model.positional_embedding.device)
    x = model.token_embedding(tokens) + model.positional_embedding[:length]  # [B, length, width]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    pooled = x[torch.arange(len(tokens), device=x.device), tokens.argmax(-1)]  # the end token is the highest id
    return torch.nn.functional.normalize(pooled @ model.text_projection, dim=-1)


@torch.no_grad()
def encode_texts(model: ClipNetwork, tokens: Tensor, rows: int = 128) -> Tensor:
    """Unit text features [B, D] of any number of tokens [B, L], `rows` at a time.

    Texts of about one length go together: padding costs as much as words, and names are much shorter than sentences.
    """
    order = (tokens != 0).sum(1).argsort(stable=True)
    parts = [encode_text(model, tokens[part]) for part in order.split(rows)]
    return torch.cat(parts)[order.argsort()]


def save_clip(
    state: Mapping[str, Tensor], tokenizer: WordTokenizer, config: Mapping[str, Any], folder: Path | str
) -> Path:
    """Writes `clip.safetensors` and `clip_vocab.json` into `folder` and returns the path of the weights.

    Matrices are stored in fp16; vectors (normalisation statistics, biases) stay in fp32: they are small, and running
    variances reach below fp16's range. The configuration travels in the file's metadata.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: t.half() if t.is_floating_point() and t.ndim >= 2 else t for name, t in state.items()}
    tokenizer.save(folder / VOCABULARY_NAME)
    save_tensors(folder / WEIGHTS_NAME, half, {"config": json.dumps(dict(config))})
    return folder / WEIGHTS_NAME


def load_clip(
    folder: Path | str, device: torch.device | str = "cpu"
) -> tuple[ClipNetwork, WordTokenizer, dict[str, Any]]:
    """Model (fp32, frozen, in evaluation mode, on a device), tokenizer and configuration that `save_clip` wrote.

    Raises Gen3DError where the files are missing, damaged, or of another model.
    """
    path = Path(folder) / WEIGHTS_NAME
    tokenizer = WordTokenizer.load(Path(folder) / VOCABULARY_NAME)
    try:
        config, state = parse_json(read_metadata(path)["config"]), load_weights(path)
        state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
        model = ClipNetwork.with_weights(config["model_cfg"], tokenizer.vocab_size, state)
        if len(model.positional_embedding) != tokenizer.context_length:
            raise ValueError(f"its texts have {len(model.positional_embedding)} tokens, not {tokenizer.context_length}")
        for name in ("mean", "std"):
            if [type(value) in (int, float) for value in config["preprocess_cfg"][name]] != [True] * 3:
                raise ValueError(f"its '{name}' is {config['preprocess_cfg'][name]!r}, not three numbers")
        if min(config["preprocess_cfg"]["std"]) <= 0:
            raise ValueError("a standard deviation of its pictures is not above 0")
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Gen3DError(
            f"The evaluator's weights {path} cannot be read ({reason}): write them again with 'gen3d train clip'."
        ) from None
    return model.to(device), tokenizer, config
