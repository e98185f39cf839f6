"""The aligned encoder of a name or a folder, ready to search with."""

from __future__ import annotations

from pathlib import Path

import torch

from gen3d.encoders.clip_mini import WEIGHTS_NAME
from gen3d.encoders.contract import AlignedEncoder
from gen3d.encoders.trained import ENCODER_NAME, load_trained
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.errors import Gen3DError
from gen3d.runtime.paths import packaged_weights

PACKAGED = "gen3d"
"""The name of the encoder that comes with gen3d."""


def load_encoder(source: str | Path | None = None, device: torch.device | str = "cpu") -> AlignedEncoder:
    """The encoder of `source`, frozen, on a device.

    source: None or "gen3d" for the one that comes with gen3d; a folder that 'gen3d train' wrote; or a CLIP as
    `gen3d.encoders.clip_files` names it, such as "ViT-B-32:openai". Raises Gen3DError where it cannot be had, and
    UsageError for what names none.
    """
    if source is None or str(source) == PACKAGED:
        return ViewAveragedClip.of_folder(packaged_weights(), device)
    folder = Path(source).expanduser()
    if (folder / ENCODER_NAME).is_file():
        return load_trained(folder, device)
    if (folder / WEIGHTS_NAME).is_file():
        return ViewAveragedClip.of_folder(folder, device)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise Gen3DError(f"The folder '{source}' holds no encoder: name one that 'gen3d train' wrote, or leave it out.")
    return ViewAveragedClip.of_source(str(source), device)
