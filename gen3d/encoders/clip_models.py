"""Image-text encoders for guidance: any open_clip model, from the hub's cache, a folder or a safetensors file.

A source is one of
    ARCHITECTURE:TAG            weights that open_clip knows, such as "ViT-B-32:laion2b_s34b_b79k"
    ARCHITECTURE:FILE           a .safetensors file for one of open_clip's architectures
    hf-hub:OWNER/NAME           a repository with open_clip_config.json and open_clip_model.safetensors
    FOLDER                      a folder with the same two files
Nothing is downloaded unless asked for, and nothing is ever unpickled. Whether all files are there is found out without
importing open_clip (`missing`), so that a run can say so at once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError

CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = (
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "tokenizer_config.json",
)
HUB_PREFIX = "hf-hub:"
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npz"})
TEXT_BATCH = 64

KNOWN: dict[tuple[str, str], tuple[str, int]] = {
    ("ViT-B-32", "openai"): ("timm/vit_base_patch32_clip_224.openai", 605),
    ("ViT-B-32", "laion2b_s34b_b79k"): ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 605),
    ("ViT-B-16", "openai"): ("timm/vit_base_patch16_clip_224.openai", 598),
    ("ViT-B-16", "laion2b_s34b_b88k"): ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", 598),
    ("ViT-L-14", "openai"): ("timm/vit_large_patch14_clip_224.openai", 1711),
    ("ViT-L-14", "laion2b_s32b_b82k"): ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", 1711),
    ("ViT-H-14", "laion2b_s32b_b79k"): ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 3944),
}
"""(architecture, tag) -> (repository on the hub, megabytes in fp32) of the weights that recipes name: an answer about
these needs no import of open_clip, which takes seconds.
"""


@dataclass(frozen=True)
class ClipModel:
    """A frozen image-text encoder that `ClipGuidance` takes (`gen3d.guidance.clip.ClipTowers`).

    name: to be named beside every score. model: an open_clip model. tokenize: texts -> token ids [T, L]. image_size:
    pixels a side. mean, std: of the channels of its training images.
    """

    name: str
    model: Any
    tokenize: Callable[[list[str]], Tensor]
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]

    @classmethod
    def of(
        cls,
        name: str,
        model: Any,
        tokenize: Callable[[list[str]], Tensor],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> ClipModel:
        """Any open_clip model, frozen and set to evaluate. mean, std: those the model carries where None."""
        model.eval().requires_grad_(False)
        size = model.visual.image_size
        mean, std = mean or model.visual.image_mean, std or model.visual.image_std
        return cls(name, model, tokenize, size if isinstance(size, int) else int(size[0]), tuple(mean), tuple(std))

    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, image_size, image_size] -> features [B, D], differentiable."""
        parameter = next(self.model.parameters())
        features: Tensor = self.model.encode_image(images.to(parameter.device, parameter.dtype))
        return features

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Features [T, D]."""
        device = next(self.model.parameters()).device
        tokens = self.tokenize(texts).to(device)
        return torch.cat([self.model.encode_text(part) for part in torch.split(tokens, TEXT_BATCH)])


@dataclass(frozen=True)
class ClipFiles:
    """Where the parts of a source lie. model: what open_clip calls the architecture. tag: of its own weights."""

    model: str
    weights: Path
    tag: str | None = None


def load_clip_model(
    sources: str | Sequence[str],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    download: bool = False,
) -> ClipModel:
    """The first of `sources` (see the module) whose files are there, frozen.

    download: fetch missing files from the hub. Raises Gen3DError naming what is missing of every source, or what is
    wrong with a file; UsageError for a source that is none.
    """
    reasons = []
    for source in [sources] if isinstance(sources, str) else sources:
        try:
            files = locate(source, download)
        except Gen3DError as error:
            reasons.append(error)
            continue
        clip = _build(source, files)
        clip.model.to(device=device, dtype=dtype)
        return clip
    if len(reasons) == 1:
        raise reasons[0]
    if not reasons:
        raise UsageError("No image-text encoder was named: name one, such as 'ViT-B-32:openai', or a folder.")
    raise Gen3DError("None of the image-text encoders can be had. " + " ".join(str(reason) for reason in reasons))


def missing(source: str) -> str | None:
    """What keeps `source` from being loaded, in one sentence with its size and the command that gets it; None if
    nothing does. Offline, and without importing open_clip for all that `KNOWN` lists, folders and repositories.
    """
    try:
        locate(source)
    except Gen3DError as error:
        return str(error)
    return None


def locate(source: str, download: bool = False) -> ClipFiles:
    """The files of `source`. Raises as `load_clip_model`."""
    if source.startswith(HUB_PREFIX):
        return _repository(source.removeprefix(HUB_PREFIX), download)
    if Path(source).is_dir():
        return _folder(Path(source), f"The folder '{source}'", "")
    architecture, _, weights = source.partition(":")
    if not weights:
        raise UsageError(
            f"The image-text encoder '{source}' is no folder; name it as ARCHITECTURE:TAG ('ViT-B-32:openai'), "
            "ARCHITECTURE:FILE.safetensors or hf-hub:OWNER/NAME."
        )
    config = _architecture(architecture)
    if Path(weights).suffix in PICKLES:
        raise UsageError(f"The checkpoint '{weights}' is a pickle, which could run code: convert it to .safetensors.")
    if Path(weights).suffix == ".safetensors":
        if not Path(weights).is_file():
            raise Gen3DError(f"The weights '{weights}' for {architecture} do not exist; check the path.")
        files = ClipFiles(architecture, Path(weights))
    else:
        repository, name, size = _tagged(architecture, weights)
        what = f"The weights '{weights}' of {architecture} ({size})"
        files = ClipFiles(architecture, _cached(repository, name, what, download), weights)
    tokenizer = config["text_cfg"].get("hf_tokenizer_name")
    if tokenizer:
        _cached(tokenizer, TOKENIZER_FILE, f"The tokenizer of {architecture} (a few MB)", download, whole=True)
    return files


def _architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture, read without importing it."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise Gen3DError("CLIP guidance needs open_clip; run 'pip install open_clip_torch'.")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model_configs"
    if name not in {path.stem for path in folder.glob("*.json")}:
        near = difflib.get_close_matches(name, [path.stem for path in folder.glob("*.json")], 1, 0.3)
        raise UsageError(f"open_clip has no architecture '{name}'{f'; did you mean {near[0]!r}?' if near else '.'}")
    config: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return config


def _tagged(architecture: str, tag: str) -> tuple[str, str, str]:
    """Repository, file name and size in words of weights that open_clip knows."""
    if (architecture, tag) in KNOWN:
        repository, megabytes = KNOWN[architecture, tag]
        return repository, WEIGHTS_FILE, f"{megabytes} MB"
    import open_clip

    entry = open_clip.get_pretrained_cfg(architecture, tag)
    if not entry.get("hf_hub"):
        known = open_clip.list_pretrained_tags_by_model(architecture)
        near = difflib.get_close_matches(tag, known, 3, 0.0)
        tags = f"the nearest it knows are {', '.join(near)}" if near else "it knows none for it"
        raise UsageError(f"open_clip knows no weights '{tag}' of {architecture} on the hub; {tags}.")
    repository, _, name = entry["hf_hub"].rpartition("/")
    return repository, f"{Path(name).stem}.safetensors" if name else WEIGHTS_FILE, _size(architecture)


def _size(architecture: str) -> str:
    """How much the weights of an architecture take, in words."""
    import open_clip

    config = _architecture(architecture)
    if "hf_model_name" in config["text_cfg"] or "multimodal_cfg" in config:
        return "its size is on its page on the hub"
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in kind(**config).parameters())
    return f"about {count * 4e-6:.0f} MB"


def _repository(repository: str, download: bool) -> ClipFiles:
    if repository.count("/") != 1:
        raise UsageError(f"The repository '{repository}' is not of the form OWNER/NAME.")
    what = f"The image-text encoder '{HUB_PREFIX}{repository}' (its size is on its page on the hub)"
    config = _cached(repository, CONFIG_FILE, what, download, whole=True)
    _cached(repository, WEIGHTS_FILE, what, download, whole=True)
    return _folder(config.parent, what, f"; run '{_command(repository, None)}'")


def _folder(folder: Path, what: str, advice: str) -> ClipFiles:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))["model_cfg"]
        tokenizer = config["text_cfg"].get("hf_tokenizer_name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Gen3DError(f"{what} has no readable {CONFIG_FILE} with a 'model_cfg' ({error}){advice}.") from None
    if tokenizer and not (folder / TOKENIZER_FILE).is_file():
        raise Gen3DError(f"{what} has no tokenizer ({TOKENIZER_FILE}), which its configuration asks for{advice}.")
    found = [folder / WEIGHTS_FILE] if (folder / WEIGHTS_FILE).is_file() else sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return ClipFiles(f"local-dir:{folder}", found[0])
    if found:
        raise Gen3DError(f"{what} holds {len(found)} .safetensors files; call the wanted one {WEIGHTS_FILE}.")
    pickles = any(path.suffix in PICKLES for path in folder.iterdir())
    hint = ", only pickles, which could run code: convert them" if pickles else ""
    raise Gen3DError(f"{what} holds no weights in .safetensors{hint}{advice}.")


def _cached(repository: str, name: str, what: str, download: bool, whole: bool = False) -> Path:
    """A file of the hub's cache. whole: the advice is to fetch the repository, not one file."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    if isinstance(path, str):
        return Path(path)
    if not download:
        command = _command(repository, None if whole else name)
        raise Gen3DError(f"{what} cannot be found on this machine: run '{command}'.")
    try:
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # the hub raises a dozen kinds; all mean the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Gen3DError(f"'{name}' cannot be fetched from '{repository}' on the hub: {reason}") from None


def _command(repository: str, name: str | None) -> str:
    kinds = ("*.safetensors", "*.json", "*.txt", "*.model")
    files = name or " ".join(f'--include "{kind}"' for kind in kinds)
    return f"hf download {repository} {files}"


def _build(source: str, files: ClipFiles) -> ClipModel:
    import open_clip

    try:
        model = _random_model(files.model, **build_settings(files))
        open_clip.load_checkpoint(model, str(files.weights))
        tokenizer = open_clip.get_tokenizer(files.model)
    except Exception as error:  # open_clip raises a dozen kinds; all mean the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Gen3DError(
            f"The image-text encoder '{source}' cannot be loaded from {files.weights} ({reason}): the file may be "
            "damaged, or of another architecture."
        ) from None
    return ClipModel.of(source, model, tokenizer)


def build_settings(files: ClipFiles) -> dict[str, Any]:
    """What the weights of a tag ask of the architecture: the channels' mean and std, and OpenAI's own activation, which
    open_clip's architectures of the same name do not have.
    """
    import open_clip

    entry = open_clip.get_pretrained_cfg(files.model, files.tag) if files.tag else {}
    colors = {name: entry[name] for name in ("mean", "std") if name in entry}
    return {"force_quick_gelu": bool(entry.get("quick_gelu")), "force_preprocess_cfg": colors}


def _random_model(name: str, **settings: Any) -> Any:
    """The architecture with weights that do not matter; torch's generator is left as it was."""
    import open_clip

    with torch.random.fork_rng(devices=[]), _quiet_root():
        return open_clip.create_model(
            name, load_weights=False, pretrained_image=False, pretrained_text=False, **settings
        )


@contextlib.contextmanager
def _quiet_root() -> Iterator[None]:
    """Drops what open_clip logs: that the weights are random is not true for long."""

    def drop(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root = logging.getLogger()
    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)
