"""Which diffusion models are on this machine, found by looking at files only: nothing heavy is imported.

A model is a folder in diffusers' layout (model_index.json and a folder for each component, weights in .safetensors), or
a repository of the hub, OWNER/NAME, as far as it lies in the hub's cache (HF_HOME, HF_HUB_CACHE).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.guidance.models.catalog import ADAPTERS, IMAGE_PARTS, KNOWN, PROJECTIONS, Adapter, Known

INDEX = "model_index.json"
PATTERNS = (INDEX, "*/*.json", "*/*.txt", "*/*.model")
"""Of a repository, besides weights."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TRUE = {"1", "ON", "YES", "TRUE"}
_STEMS = ("diffusion_pytorch_model", "model")
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")


@dataclass(frozen=True)
class ModelFiles:
    """A complete model. name: as it was asked for. index: its model_index.json. variants: of its components."""

    name: str
    folder: Path
    class_name: str
    index: dict[str, Any]
    variants: dict[str, str | None]

    @property
    def adapter(self) -> Adapter:
        return ADAPTERS[self.class_name]


def preflight(candidates: str | Sequence[str]) -> ModelFiles:
    """The first of `candidates` (folders or OWNER/NAME) that is complete on this machine.

    Offline, and without importing torch or diffusers. Raises Gen3DError saying of each what is missing, its size where
    it is known, and the command that gets it; UsageError where no candidate is named.
    """
    names = [candidates] if isinstance(candidates, str) else list(candidates)
    if not names:
        raise UsageError("No diffusion model was named: name a folder, or a repository of the hub as OWNER/NAME.")
    reasons = []
    for name in names:
        try:
            return find(name)
        except Gen3DError as error:
            reasons.append(error)
    if len(reasons) == 1:
        raise reasons[0]
    raise Gen3DError("None of the diffusion models is on this machine. " + " ".join(str(reason) for reason in reasons))


def find(name: str) -> ModelFiles:
    """One model, if it is complete. Raises as `preflight`."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _inspect(name, folder, "")
    if not is_repository(name):
        raise UsageError(f"The diffusion model '{name}' is no folder, and no repository of the form OWNER/NAME.")
    cached = cached_snapshot(name)
    if cached is None:
        raise Gen3DError(f"The diffusion model '{name}'{_size(name)} is not on this machine: {advice(name)}.")
    return _inspect(name, cached, f"{_size(name)}: {advice(name)}.")


def is_repository(name: str) -> bool:
    """Whether a name can be one of a repository on the hub."""
    return _HUB_ID.fullmatch(name) is not None


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to fetch anything."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").upper() in _TRUE


def hub_home() -> Path:
    """HF_HOME, or its default."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expandvars(os.environ.get("HF_HOME") or f"{base}/huggingface")).expanduser()


def hub_cache() -> Path:
    """Where repositories of the hub lie: HF_HUB_CACHE, or "hub" in HF_HOME."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named)).expanduser() if named else hub_home() / "hub"


def has_token() -> bool:
    """Whether a token for the hub is set (HF_TOKEN, or 'hf auth login'); it is never read."""
    path = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token").expanduser()
    return bool(os.environ.get("HF_TOKEN")) or path.is_file()


def cached_snapshot(repository: str) -> Path | None:
    """The cached files of a repository's main branch, or of whatever revision was fetched last."""
    root = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        folder = root / "snapshots" / (root / "refs" / "main").read_text("utf-8").strip()
        if folder.is_dir():
            return folder
    except OSError:
        pass
    found = [path for path in (root / "snapshots").glob("*") if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def weight_patterns(repository: str) -> list[str]:
    """Which weights of a repository to fetch: never pickles, and those of 16 bits where they lie apart."""
    known = KNOWN.get(repository)
    return ["*/*.fp16*.safetensors"] if known and known.half else ["*/*.safetensors"]


def ignored_patterns(repository: str) -> list[str]:
    """What to leave of that: weights a second time, and what no adapter reads."""
    unused = ["safety_checker/*", "*non_ema*"]
    return unused if KNOWN.get(repository, Known(0)).half else [*unused, "*.fp16*"]


def advice(repository: str) -> str:
    """What to do to get a repository: the command, what HF_HUB_OFFLINE and a licence ask for."""
    wanted = " ".join(f'--include "{pattern}"' for pattern in (*PATTERNS, *weight_patterns(repository)))
    left = " ".join(f'--exclude "{pattern}"' for pattern in ignored_patterns(repository))
    command = f"run 'hf download {repository} {wanted} {left}'"
    if is_offline():
        command = f"HF_HUB_OFFLINE is set, so where there is a network {command}"
    if KNOWN.get(repository, Known(0)).gated and not has_token():
        command += f", after accepting its licence on https://huggingface.co/{repository} and setting HF_TOKEN"
    return command


def _size(repository: str) -> str:
    known = KNOWN.get(repository)
    return f" (about {known.gigabytes:g} GB)" if known else ""


def _inspect(name: str, folder: Path, remedy: str) -> ModelFiles:
    """remedy: the end of the sentence, or nothing for a folder of the user's own."""
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        class_name = index["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise Gen3DError(
            f"The diffusion model '{name}' has no readable {INDEX}{remedy or ': save it in the layout of diffusers.'}"
        ) from None
    if class_name not in ADAPTERS:
        raise Gen3DError(
            f"The diffusion model '{name}' is a '{class_name}', which gen3d has no adapter for; it knows "
            f"{', '.join(ADAPTERS)}."
        )
    lacks, variants = _components(folder, index, ADAPTERS[class_name])
    if lacks:
        raise Gen3DError(
            f"The diffusion model '{name}' in '{folder}' is incomplete, it lacks {', '.join(lacks)}{remedy or '.'}"
        )
    return ModelFiles(name, folder, class_name, index, variants)


def _components(folder: Path, index: dict[str, Any], adapter: Adapter) -> tuple[list[str], dict[str, str | None]]:
    """What is missing in words, and the variants of the weights of what is there."""
    missing: list[str] = []
    variants: dict[str, str | None] = {}
    for part in adapter.parts:
        entry = index.get(part)
        named = isinstance(entry, list) and len(entry) >= 2 and entry[0] is not None
        variant, lacks = _component(folder / part, part) if named else (None, "not in the index")
        if not lacks:
            variants[part] = variant
        elif part not in adapter.optional:
            missing.append(f"{part} ({lacks})")
    if adapter.parts is IMAGE_PARTS and not set(PROJECTIONS) & set(variants):
        missing.append(PROJECTIONS[0])
    return missing, variants


def _component(folder: Path, part: str) -> tuple[str | None, str]:
    """The variant of a component's weights, and what is missing of it in words, or nothing."""
    if not folder.is_dir():
        return None, "the folder is missing"
    if part == "scheduler":
        return None, "" if (folder / "scheduler_config.json").is_file() else "no scheduler_config.json"
    if part.startswith("tokenizer"):
        return None, "" if any((folder / name).is_file() for name in _TOKENIZER_FILES) else "no vocabulary"
    if part not in PROJECTIONS and not (folder / "config.json").is_file():
        return None, "no config.json"
    lacks = ""
    for variant in (None, "fp16"):
        if _single(folder, variant):
            return variant, ""
        shards = _shards(folder, variant)
        gone = [shard for shard in shards if not (folder / shard).is_file()]
        if shards and not gone:
            return variant, ""
        if gone:
            lacks = lacks or f"{len(gone)} of {len(shards)} files, {gone[0]} first"
    if not lacks:
        pickles = any(path.suffix in _PICKLES for path in folder.iterdir())
        lacks = "only pickles, which could run code" if pickles else "no weights in .safetensors"
    return None, lacks


def _single(folder: Path, variant: str | None) -> Path | None:
    """The one file of a component's weights."""
    suffix = f".{variant}" if variant else ""
    paths = (folder / f"{stem}{suffix}.safetensors" for stem in _STEMS)
    return next((path for path in paths if path.is_file()), None)


def weights_file(folder: Path) -> Path:
    """The one file of a small component's weights. Raises Gen3DError where there is none."""
    found = _single(folder, None) or _single(folder, "fp16")
    if found is None:
        raise Gen3DError(f"'{folder}' holds no weights in one .safetensors file.")
    return found


def _shards(folder: Path, variant: str | None) -> list[str]:
    """The files that an index of sharded weights names; none without an index."""
    suffix = f".{variant}" if variant else ""
    for stem in _STEMS:
        try:
            index = json.loads((folder / f"{stem}.safetensors.index{suffix}.json").read_text("utf-8"))
            return sorted(set(index["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError):
            continue
    return []
