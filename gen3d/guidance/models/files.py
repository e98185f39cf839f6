"""Which diffusion models are on this machine, found by looking at files only: nothing heavy is imported.

A model is a folder in diffusers' layout (model_index.json and a folder for each component, weights in .safetensors), or
a repository of the hub, OWNER/NAME, as far as it lies in the hub's cache (HF_HOME, HF_HUB_CACHE).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.guidance.models.catalog import ADAPTERS, IMAGE_PARTS, KNOWN, PROJECTIONS, SINGLE_FILES, Adapter, Known
from gen3d.runtime.hub import cached_snapshot, has_token, is_offline, is_repository
from gen3d.runtime.safetensors_header import problem, tensor_names
from gen3d.runtime.strict_json import parse_json

INDEX = "model_index.json"
PATTERNS = (INDEX, "*/*.json", "*/*.txt", "*/*.model")
"""Files of a repository that are fetched besides weights."""

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


def check_available(models: str | Sequence[str], download: bool = False) -> None:
    """Says within a second what `gen3d.guidance.models.load.load_prior` would say after importing for many.

    models: candidates, folders or OWNER/NAME. download: what is missing on this machine will be fetched from the hub,
    unless HF_HUB_OFFLINE forbids it. Raises as `preflight`, in the same sentences.
    """
    if not download or is_offline():
        preflight(models)
        return
    names = [models] if isinstance(models, str) else list(models)
    if not any(is_fetched(name) for name in names):
        first_of(names)


def is_fetched(name: str) -> bool:
    """Whether a candidate comes from the hub, and is no folder on this machine."""
    return is_repository(name) and not Path(name).expanduser().exists()


def preflight(candidates: str | Sequence[str]) -> ModelFiles:
    """The first of `candidates` (folders or OWNER/NAME) that is complete on this machine.

    Offline, and without importing torch or diffusers. Raises Gen3DError saying of each what is missing, its size where
    it is known, and the command that gets it; UsageError where no candidate is named.
    """
    return first_of([candidates] if isinstance(candidates, str) else list(candidates))


def first_of(names: Sequence[str], get: Callable[[str], ModelFiles] | None = None) -> ModelFiles:
    """The first of several models that `get` (or else `find`) gives. Raises as `preflight`."""
    if not names:
        raise UsageError("No diffusion model was named: name a folder, or a repository of the hub as OWNER/NAME.")
    reasons = []
    for name in names:
        try:
            return (get or find)(name)
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
    if folder.suffix in (".safetensors", *_PICKLES):
        raise UsageError(_of_single_file(name, folder))
    if not is_repository(name):
        raise UsageError(f"The diffusion model '{name}' is no folder, and no repository of the form OWNER/NAME.")
    cached = cached_snapshot(name)
    if cached is None:
        raise Gen3DError(f"The diffusion model '{name}'{_size(name)} is not on this machine: {advice(name)}.")
    return _inspect(name, cached, f"{_size(name)}: {advice(name)}.")


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


def _of_single_file(name: str, path: Path) -> str:
    """What to do with a checkpoint in one file, as other programs take them."""
    if not path.is_file():
        return f"The diffusion model '{name}' does not exist: check the path."
    if path.suffix in _PICKLES:
        return (
            f"The diffusion model '{name}' is a pickle, which could run code and is never opened: take the same model "
            "in .safetensors."
        )
    reason = problem(path)
    if reason:
        return f"The diffusion model '{name}' cannot be read: it {reason}."
    kind = _whole_model(path)
    if kind is None:
        return (
            f"The diffusion model '{name}' is a single file, and none that diffusers could make a whole model of: name "
            "a folder in its layout, or a repository of the hub as OWNER/NAME."
        )
    code = f"from diffusers import {kind} as P; P.from_single_file({str(path)!r}).save_pretrained({path.stem!r})"
    return (
        f"The diffusion model '{name}' is a single file, and gen3d reads folders in the layout of diffusers: where "
        f"there is a network, run once 'python -c {shlex.quote(code)}', and name the folder '{path.stem}' instead."
    )


def _whole_model(path: Path) -> str | None:
    """The class of diffusers that makes a whole model of a single file, by the names of its tensors."""
    try:
        names = tensor_names(path)
    except Gen3DError:
        return None
    for kind, starts in SINGLE_FILES.items():
        if all(any(name.startswith(start) for name in names) for start in starts):
            return kind
    return None


def _size(repository: str) -> str:
    known = KNOWN.get(repository)
    return f" (about {known.gigabytes:g} GB)" if known else ""


def _inspect(name: str, folder: Path, remedy: str) -> ModelFiles:
    """The model in a folder, if it is complete. remedy: the end of the error, empty for the user's own folders."""
    if not (folder / INDEX).exists() and not remedy:
        for path in sorted(folder.glob("*.safetensors"))[:1]:
            if _whole_model(path):
                raise UsageError(_of_single_file(str(path), path))
    try:
        index = parse_json((folder / INDEX).read_bytes())
        class_name = index["_class_name"]
        if not isinstance(class_name, str):
            raise TypeError
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
        paths = _weights(folder, variant)
        reason = _unusable(paths)
        if paths and not reason:
            return variant, ""
        lacks = lacks or reason
    if not lacks:
        pickles = any(path.suffix in _PICKLES for path in folder.iterdir())
        lacks = "only pickles, which could run code" if pickles else "no weights in .safetensors"
    return None, lacks


def _unusable(paths: list[Path]) -> str:
    """What is missing of the files of a component's weights, or wrong with one of them; nothing where all are whole."""
    gone = [path for path in paths if not _is_file(path)]
    if gone:
        return f"{len(gone)} of {len(paths)} files, {gone[0].name} first"
    return next((f"{path.name} {reason}" for path in paths if (reason := problem(path))), "")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # an index may hold names that are none for a file
        return False


def _weights(folder: Path, variant: str | None) -> list[Path]:
    """The files of a component's weights: the single one, or those that an index names, whether they exist or not."""
    single = _single(folder, variant)
    return [single] if single else [folder / name for name in _shards(folder, variant)]


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
            index = parse_json((folder / f"{stem}.safetensors.index{suffix}.json").read_bytes())
            return sorted({Path(name).name for name in index["weight_map"].values()})  # never outside of the folder
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return []
