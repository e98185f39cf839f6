"""A fixture: the folder of a tiny random CLIP of open_clip's own classes."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as on a hub: the configuration and the weights."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)
    preprocess = {"mean": [0.5] * 3, "std": [0.3] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": preprocess}))
    save_file(
        {k: v.contiguous().clone() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder
