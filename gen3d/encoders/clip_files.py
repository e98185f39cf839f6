"""Where the files of image-text encoders lie, found out without importing torch, open_clip or the hub's library.

A source is one of
    mini                        the small CLIP that comes with gen3d
    ARCHITECTURE:TAG            weights that open_clip knows, such as "ViT-B-32:laion2b_s34b_b79k"
    ARCHITECTURE:FILE           a .safetensors file for one of open_clip's architectures
    hf-hub:OWNER/NAME           a repository with open_clip_config.json and open_clip_model.safetensors
    FOLDER                      a folder with the same two files
Nothing is downloaded unless asked for, and pickles are refused. open_clip's own tables are read from its files, as
importing it takes seconds.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.hub import cached_file, hub_cache, is_offline
from gen3d.runtime.safetensors_header import problem
from gen3d.runtime.strict_json import parse_json

CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = (
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "tokenizer_config.json",
)
MINI = "mini"
HUB_PREFIX = "hf-hub:"
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npz"})


@dataclass(frozen=True)
class ClipFiles:
    """Where the parts of a source lie. model: what open_clip calls the architecture. tag: of its own weights."""

    model: str
    weights: Path
    tag: str | None = None


def check_available(models: str | Sequence[str], download: bool = False) -> None:
    """Says at once what `gen3d.encoders.clip_models.load_clip_model` would say after importing for seconds.

    download: what is missing on this machine will be fetched from the hub. Raises Gen3DError where none of the sources
    can be had, with what is missing of each, its size and the command that gets it; UsageError for what is no source.
    """
    locate_first(models, download=False, may_fetch=download and not is_offline())


def locate_first(models: str | Sequence[str], download: bool = False, may_fetch: bool = False) -> tuple[str, ClipFiles]:
    """The first of some sources whose files are there, or are fetched (`download`), with its files.

    may_fetch: a file that could be fetched counts as there. Raises as `check_available`.
    """
    reasons = []
    for source in [models] if isinstance(models, str) else models:
        try:
            return source, locate(source, download, may_fetch)
        except Gen3DError as error:
            reasons.append(error)
    if len(reasons) == 1:
        raise reasons[0]
    if not reasons:
        raise UsageError("No image-text encoder was named: name one, such as 'ViT-B-32:openai', or a folder.")
    raise Gen3DError("None of the image-text encoders can be had. " + " ".join(str(reason) for reason in reasons))


def missing(source: str) -> str | None:
    """What keeps `source` from being loaded, in one sentence with its size and the command that gets it; None if
    nothing does. Offline.
    """
    try:
        locate(source)
    except Gen3DError as error:
        return str(error)
    return None


def locate(source: str, download: bool = False, may_fetch: bool = False) -> ClipFiles:
    """The files of `source`; the other arguments and the errors are those of `locate_first`."""
    fetch = _Fetch(download, may_fetch)
    if source == MINI:
        return _packaged()
    if source.startswith(HUB_PREFIX):
        return _repository(source.removeprefix(HUB_PREFIX), fetch)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, f"The folder '{source}'", "")
    if path.suffix in (".safetensors", *PICKLES) and ":" not in source:
        raise UsageError(
            f"The image-text encoder '{source}' is a single file, which does not say its architecture: name it with "
            "one of open_clip's, as in 'ViT-B-32:FILE.safetensors'."
        )
    architecture, _, weights = source.partition(":")
    if not weights:
        raise UsageError(
            f"The image-text encoder '{source}' is no folder; name it as ARCHITECTURE:TAG ('ViT-B-32:openai'), "
            "ARCHITECTURE:FILE.safetensors or hf-hub:OWNER/NAME."
        )
    config = _architecture(architecture)
    file = Path(weights).expanduser()
    if file.suffix in PICKLES:
        raise UsageError(f"The checkpoint '{weights}' is a pickle, which could run code: convert it to .safetensors.")
    if file.suffix == ".safetensors":
        if not file.is_file():
            raise Gen3DError(f"The weights '{weights}' for {architecture} do not exist; check the path.")
        files = ClipFiles(architecture, _whole(file, f"The file '{weights}'", ": take another copy."))
    else:
        repository, name = _tagged(architecture, weights)
        what = f"The weights '{weights}' of {architecture} ({_size(config)})"
        files = ClipFiles(architecture, fetch(repository, name, what), weights)
    tokenizer = config["text_cfg"].get("hf_tokenizer_name")
    if tokenizer:
        fetch(tokenizer, TOKENIZER_FILE, f"The tokenizer of {architecture} (a few MB)", whole=True)
    return files


@dataclass(frozen=True)
class _Fetch:
    """Files of repositories on the hub: from the cache, else from the hub (`download`), else refused, unless they may
    be fetched later (`may_fetch`).
    """

    download: bool
    may_fetch: bool

    def __call__(self, repository: str, name: str, what: str, whole: bool = False) -> Path:
        """The file of a repository. whole: the advice is to fetch the repository, not one file."""
        command = f"run '{_command(repository, None if whole else name)}'"
        path = cached_file(repository, name)
        if path is not None:
            return _whole(path, what, f": {command}.") if path.suffix == ".safetensors" else path
        if self.download:
            from huggingface_hub import hf_hub_download

            try:
                return Path(hf_hub_download(repository, name, cache_dir=hub_cache()))
            except Exception as error:  # the hub raises a dozen kinds, which all mean the same to the user
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise Gen3DError(f"'{name}' cannot be fetched from '{repository}' on the hub: {reason}") from None
        if self.may_fetch:
            return hub_cache() / repository / name
        raise Gen3DError(f"{what} cannot be found on this machine: {command}.")


def _whole(path: Path, what: str, advice: str) -> Path:
    """A safetensors file, if it is one. Raises Gen3DError for one that is cut off or of another format."""
    reason = problem(path)
    if reason:
        raise Gen3DError(f"{what} cannot be loaded from '{path}', which {reason}{advice}")
    return path


def _packaged() -> ClipFiles:
    from gen3d.runtime.paths import packaged_weights

    path = packaged_weights() / "guide" / "clip.safetensors"
    if not path.is_file():
        raise Gen3DError(f"The small CLIP of gen3d is not in '{path.parent}': reinstall gen3d.")
    return ClipFiles(MINI, _whole(path, "The small CLIP of gen3d", ": reinstall gen3d."))


def _repository(repository: str, fetch: _Fetch) -> ClipFiles:
    if repository.count("/") != 1:
        raise UsageError(f"The repository '{repository}' is not of the form OWNER/NAME.")
    what = f"The image-text encoder '{HUB_PREFIX}{repository}' (its size is on its page on the hub)"
    config = fetch(repository, CONFIG_FILE, what, whole=True)
    weights = fetch(repository, WEIGHTS_FILE, what, whole=True)
    if not config.is_file() or not weights.is_file():
        return ClipFiles(f"local-dir:{config.parent}", weights)  # they are still to be fetched
    return _folder(config.parent, what, f"; run '{_command(repository, None)}'")


def _folder(folder: Path, what: str, advice: str) -> ClipFiles:
    try:
        config = parse_json((folder / CONFIG_FILE).read_bytes())["model_cfg"]
        tokenizer = config["text_cfg"].get("hf_tokenizer_name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Gen3DError(f"{what} has no readable {CONFIG_FILE} with a 'model_cfg' ({error}){advice}.") from None
    if tokenizer and not (folder / TOKENIZER_FILE).is_file():
        raise Gen3DError(f"{what} has no tokenizer ({TOKENIZER_FILE}), which its configuration asks for{advice}.")
    found = [folder / WEIGHTS_FILE] if (folder / WEIGHTS_FILE).is_file() else sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return ClipFiles(f"local-dir:{folder}", _whole(found[0], what, advice or ": take another copy."))
    if found:
        raise Gen3DError(f"{what} holds {len(found)} .safetensors files; call the wanted one {WEIGHTS_FILE}.")
    pickles = any(path.suffix in PICKLES for path in folder.iterdir())
    hint = ", only pickles, which could run code: convert them" if pickles else ""
    raise Gen3DError(f"{what} holds no weights in .safetensors{hint}{advice}.")


def _command(repository: str, name: str | None) -> str:
    kinds = ("*.safetensors", "*.json", "*.txt", "*.model")
    files = name or " ".join(f'--include "{kind}"' for kind in kinds)
    return f"hf download {repository} {files}"


def _open_clip() -> Path:
    """The folder of open_clip. Raises Gen3DError where it is not installed."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise Gen3DError("CLIP guidance needs open_clip; run 'pip install open_clip_torch'.")
    return Path(next(iter(spec.submodule_search_locations)))


def _architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture."""
    known = {path.stem: path for path in (_open_clip() / "model_configs").glob("*.json")}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.3)
        raise UsageError(f"open_clip has no architecture '{name}'{f'; did you mean {near[0]!r}?' if near else '.'}")
    config: dict[str, Any] = json.loads(known[name].read_text("utf-8"))
    return config


def _tagged(architecture: str, tag: str) -> tuple[str, str]:
    """Repository and file name of weights that open_clip knows."""
    known = weights_on_hub(_open_clip()).get(architecture, {})
    place = known.get(tag.lower().replace("-", "_"), "")
    if not place:
        near = difflib.get_close_matches(tag, known, 3, 0.0)
        tags = f"the nearest it knows are {', '.join(near)}" if near else "it knows none for it"
        raise UsageError(f"open_clip knows no weights '{tag}' of {architecture} on the hub; {tags}.")
    repository, _, name = place.rpartition("/")
    return repository, f"{Path(name).stem}.safetensors" if name else WEIGHTS_FILE


@functools.cache
def weights_on_hub(package: Path) -> dict[str, dict[str, str]]:
    """Architecture -> tag -> place on the hub of the weights that open_clip knows, empty for those that are elsewhere.

    package: the folder of open_clip. Its table is an expression of literals and of calls with keywords, from which the
    places are read; where another version writes it otherwise, open_clip is imported and asked.
    """
    try:
        return _read_table(ast.parse((package / "pretrained.py").read_text("utf-8")))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, AttributeError):
        import open_clip.pretrained as pretrained

        table: dict[str, dict[str, Any]] = pretrained._PRETRAINED
        return {name: {tag: entry["hf_hub"] for tag, entry in tags.items()} for name, tags in table.items()}


def _read_table(module: ast.Module) -> dict[str, dict[str, str]]:
    values: dict[str, ast.expr] = {}
    for line in module.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            values[line.targets[0].id] = line.value
    table = values["_PRETRAINED"]
    if not isinstance(table, ast.Dict):
        raise ValueError("_PRETRAINED is no dict")
    found: dict[str, dict[str, str]] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        tags = _keywords(values[value.id] if isinstance(value, ast.Name) else value)
        entries = {tag: _keywords(entry) for tag, entry in tags.items()}
        name = ast.literal_eval(key or "")
        found[name] = {tag: ast.literal_eval(one["hf_hub"]) if "hf_hub" in one else "" for tag, one in entries.items()}
        quick = {tag: found[name][tag] for tag, one in entries.items() if "quick_gelu" in one}
        if quick:
            found[f"{name}-quickgelu"] = quick  # open_clip adds them in a loop
    return found


def _keywords(call: ast.expr) -> dict[str, ast.expr]:
    """The keyword arguments of a call. Raises ValueError for another expression."""
    if not isinstance(call, ast.Call) or call.args or any(one.arg is None for one in call.keywords):
        raise ValueError("not a call with keywords alone")
    return {str(one.arg): one.value for one in call.keywords}


def _size(config: dict[str, Any]) -> str:
    """How much the weights of an architecture take, in words."""
    count = parameters(config)
    return "its size is on its page on the hub" if count is None else f"about {count * 4e-6:.0f} MB"


def parameters(config: dict[str, Any]) -> int | None:
    """How many numbers an architecture of open_clip holds that is a plain ViT beside a plain text transformer, as
    CLIP's own are (Radford et al. 2021, section 2.4); None for all others.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
    plain_text = {"context_length", "vocab_size", "width", "heads", "layers"}
    layers = vision.get("layers")
    if set(vision) - plain or set(text) - plain_text or not isinstance(layers, int) or config.get("custom_text"):
        return None
    embed, width, patch = config["embed_dim"], vision["width"], vision["patch_size"]
    inner = int(width * vision.get("mlp_ratio", 4.0))
    positions = (vision["image_size"] // patch) ** 2 + 1
    image = 3 * patch**2 * width + width + positions * width + 4 * width + width * embed
    image += layers * _block(width, inner)
    words = text["vocab_size"] * text["width"] + text["context_length"] * text["width"]
    words += text["layers"] * _block(text["width"], 4 * text["width"]) + 2 * text["width"] + text["width"] * embed
    return image + words + 1


def _block(width: int, inner: int) -> int:
    """Numbers of a residual attention block: attention, two layers with biases, and two normalisations."""
    return 4 * width**2 + 4 * width + 2 * width * inner + inner + width + 4 * width
