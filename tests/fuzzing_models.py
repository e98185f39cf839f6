"""Small models of the real classes on disk, parts of which are damaged, and their readers: see `tests.fuzzing`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from gen3d.encoders.clip_files import locate
from gen3d.encoders.clip_mini import load_clip, normalise_images, save_clip
from gen3d.encoders.clip_network import ClipNetwork
from gen3d.encoders.minilm import TOKENIZER_FILE, WEIGHTS_FILE, TextEncoder
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.guidance.models.files import INDEX, preflight
from gen3d.priors.shape_prior import (
    CODE_FILE,
    CONCEPTS_FILE,
    DECODER_FILE,
    DENOISER_FILE,
    TRAINING_FILE,
    ShapePrior,
)  # fmt: skip
from gen3d.priors.view_prior import ViewPrior
from gen3d.runtime.paths import packaged_weights


def a_clip(folder: Path) -> bytes:
    config = {
        "model_cfg": {
            "embed_dim": 8,
            "vision_cfg": {"layers": [1, 1, 1, 1], "width": 2, "head_width": 64, "image_size": 32},
            "text_cfg": {"context_length": 8, "width": 8, "heads": 2, "layers": 1, "pool_type": "argmax"},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3]},
    }
    tokenizer = WordTokenizer.build(["a red chair"], 8)
    state = ClipNetwork(config["model_cfg"], tokenizer.vocab_size).state_dict()
    return save_clip(
        {name: torch.ones_like(value) for name, value in state.items()}, tokenizer, config, folder
    ).read_bytes()


def read_clip(path: Path) -> None:
    """Also looks at a picture and at a text, so that sizes that do not fit together are noticed."""
    network, tokenizer, config = load_clip(path.parent)
    network.encode_image(
        normalise_images(torch.zeros(1, 3, network.visual.image_size, network.visual.image_size), config)
    )
    network.encode_text(tokenizer("a red chair"))


def a_view_prior(folder: Path) -> bytes:
    return ViewPrior((8,), 1, 2).save(folder).read_bytes()


def read_view_prior(path: Path) -> None:
    ViewPrior.load(path.parent)


def the_objects_of_a_prior(folder: Path) -> bytes:
    _put_prior(folder)
    return (folder / TRAINING_FILE).read_bytes()


def the_concepts_of_a_prior(folder: Path) -> bytes:
    _put_prior(folder)
    return (folder / CONCEPTS_FILE).read_bytes()


def _put_prior(folder: Path) -> None:
    """The packaged prior: copies of what is damaged, and links to the large files, which are not."""
    for name in (CODE_FILE, DECODER_FILE, DENOISER_FILE):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(packaged_weights() / name)
    for name in (TRAINING_FILE, CONCEPTS_FILE):
        shutil.copyfile(packaged_weights() / name, folder / name)


def read_prior(path: Path) -> None:
    ShapePrior.load(path.parent)


def a_text_encoder(folder: Path) -> bytes:
    """The configuration of a BERT of one narrow layer, with its weights beside it."""
    config = {
        "model_type": "bert", "hidden_act": "gelu", "vocab_size": 8, "max_position_embeddings": 64,
        "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "layer_norm_eps": 1e-12,
    }  # fmt: skip
    words = {
        word: number for number, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a", "red", "chair", "[MASK]"])
    }
    Tokenizer(WordLevel(words, "[UNK]")).save(str(folder / TOKENIZER_FILE))
    shapes = {"embeddings.word_embeddings.weight": (8, 4), "embeddings.position_embeddings.weight": (64, 4)}
    shapes["embeddings.token_type_embeddings.weight"] = (2, 4)
    layer = "encoder.layer.0"
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                 "intermediate.dense", "output.dense"):  # fmt: skip
        shapes |= {f"{layer}.{name}.weight": (4, 4), f"{layer}.{name}.bias": (4,)}
    for name in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        shapes |= {f"{name}.LayerNorm.weight": (4,), f"{name}.LayerNorm.bias": (4,)}
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, folder / WEIGHTS_FILE)
    return json.dumps(config).encode()


def read_text_encoder(path: Path) -> None:
    TextEncoder(path.parent).encode(["a red chair"])


def a_clip_folder(folder: Path) -> bytes:
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    return b'{"model_cfg": {"embed_dim": 8, "text_cfg": {"width": 8, "heads": 2}, "vision_cfg": {}}}'


def read_clip_folder(path: Path) -> None:
    locate(str(path.parent))


def a_diffusion_model(folder: Path) -> bytes:
    """The index of an IF model, with its components beside it: the weights of one lie in two files."""
    for part in ("scheduler", "tokenizer", "text_encoder", "unet"):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")).write_text("{}")
        (folder / part / "tokenizer.json").write_text("{}")
        save_file({"a": torch.ones(1)}, folder / part / "model.safetensors")
    index = {"_class_name": "IFPipeline", "safety_checker": [None, None], "unet": ["diffusers", "UNet2DConditionModel"]}
    index |= {"scheduler": ["diffusers", "DDPMScheduler"], "tokenizer": ["transformers", "T5Tokenizer"]}
    return json.dumps({**index, "text_encoder": ["transformers", "T5EncoderModel"]}).encode()


def read_diffusion_model(path: Path) -> None:
    preflight(str(path.parent))


def the_shards_of_a_model(folder: Path) -> bytes:
    (folder / INDEX).write_bytes(a_diffusion_model(folder))
    (folder / "unet" / "model.safetensors").rename(folder / "unet" / "one.safetensors")
    return b'{"metadata": {}, "weight_map": {"a": "one.safetensors"}}'


def read_shards(path: Path) -> None:
    (path.parent / "unet" / "model.safetensors.index.json").write_bytes(path.read_bytes())
    preflight(str(path.parent))
