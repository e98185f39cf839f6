"""Tensors in files: safetensors with text beside them, which appear whole or not at all. Nothing here unpickles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gen3d.runtime.files import replacing


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file under a temporary name in the same folder, which is made, and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Safetensors refuses tensors that share memory or are laid out in strides.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(own, temporary, dict(metadata) if metadata else None)


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a safetensors file holds beside its tensors."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}
