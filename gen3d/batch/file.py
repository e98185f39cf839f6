"""Batch files: prompts, configurations and seeds in YAML, or a list of prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gen3d.batch.jobs import Batch, Choice
from gen3d.config.load import CONFIG_FOLDER, find_config, list_configs, load_yaml, suggest
from gen3d.errors import UsageError
from gen3d.language.prompts import check_prompt, load_prompt_list
from gen3d.runtime.files import user_path
from gen3d.runtime.paths import carried_file, carried_names

_KEYS = ("prompts", "config", "configs", "preset", "overrides", "seeds")
_CHOICE_KEYS = ("config", "preset", "overrides")

MAX_SEED = 2**63 - 1
MAX_SEEDS = 100_000


def load_batch(path: str | Path) -> Batch:
    """Read a batch: a YAML mapping with `prompts` (a list or a file), `config` or `configs`, `preset`, `overrides` and
    `seeds`, or a text file with one prompt a line.

    `configs` is a list of names, files or mappings with `config`, `preset` and `overrides`; every prompt is made with
    each of them and each of the `seeds`, a list of whole numbers or a range such as `0-3`. A bare name without an
    ending, such as `gallery`, is a batch file or prompt list that comes with gen3d, where there is no file of that
    name. Files that it names are relative to it. Raises UsageError for anything that is missing, unknown or malformed.
    """
    path = _found(user_path(path))
    if path.suffix.lower() not in (".yaml", ".yml"):
        return Batch(tuple(load_prompt_list(path)))
    data = load_yaml(path, "batch file")
    if not isinstance(data, Mapping):
        raise UsageError(f"The batch file {path} must be a mapping with the key 'prompts', or a .txt list of prompts.")
    _check_keys(data, _KEYS, str(path))
    if data.get("config") is not None and data.get("configs") is not None:
        raise UsageError(f"{path} has both 'config' and 'configs': keep one of them.")
    batch = Batch(
        prompts=_read_prompts(data.get("prompts"), path),
        config=_read_config_name(data.get("config"), path),
        preset=_read_text(data.get("preset"), "preset", path),
        overrides=_read_overrides(data.get("overrides"), path),
        seeds=parse_seeds(data["seeds"], f"'seeds' in {path}") if data.get("seeds") is not None else (),
    )
    return replace(batch, choices=_read_choices(data.get("configs"), batch.preset, path))


def parse_seeds(value: object, what: str) -> tuple[int, ...]:
    """Seeds from a list of whole numbers, or from a text such as `0-3` or `1,5,8-9`; each once, in order.

    what: names the value in errors. Raises UsageError for anything else, and for more than `MAX_SEEDS`.
    """
    wrong = UsageError(
        f"{what} must be whole numbers from 0 on, as a list or a text such as '0-3' or '1,5,8', not '{value!s:.80}'."
    )
    if isinstance(value, str):
        ranges = []
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d{1,19})\s*(?:(?:-|\.\.)\s*(\d{1,19})\s*)?", part, re.ASCII)
            if match is None or int(match[2] or match[1]) < int(match[1]):
                raise wrong
            ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    elif isinstance(value, list) and value and all(isinstance(seed, int) and seed is not True for seed in value):
        ranges = [range(seed, seed + 1) for seed in value]
    else:
        raise wrong
    if sum(one.stop - one.start for one in ranges) > MAX_SEEDS:  # len() of a range fails beyond 63 bits
        raise UsageError(f"{what} are more than {MAX_SEEDS:,}: ask for fewer.")
    seeds = tuple(dict.fromkeys(seed for one in ranges for seed in one))
    if not all(0 <= seed <= MAX_SEED for seed in seeds):
        raise wrong
    return seeds


def _found(path: Path) -> Path:
    """The file itself, or the one of that name that comes with gen3d."""
    if path.exists() or path.parent != Path() or path.suffix:
        return path
    for folder, suffix in (("configs", ".yaml"), ("prompts", ".txt")):
        if carried := carried_file(folder, f"{path}{suffix}"):
            return carried
    names = [Path(name).stem for folder in ("configs", "prompts") for name in carried_names(folder)]
    raise UsageError(
        f"The batch file {path} does not exist, and none of that name comes with gen3d.{suggest(str(path), names)} "
        f"There are {', '.join(sorted(set(names)))}."
    )


def _read_prompts(value: object, path: Path) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(load_prompt_list(path.parent / value))
    if not isinstance(value, list) or not value:
        raise UsageError(f"'prompts' in {path} must be a list of prompts or the name of a text file.")
    prompts = []
    for number, prompt in enumerate(value, start=1):
        if not isinstance(prompt, str):
            raise UsageError(f"Prompt {number} in {path} is not text: put it in quotes.")
        try:
            prompts.append(check_prompt(prompt))
        except UsageError as error:
            raise UsageError(f"Prompt {number} in {path}: {error}") from None
    return tuple(prompts)


def _read_overrides(value: object, path: Path) -> tuple[str | Mapping[str, Any], ...]:
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise UsageError(f"'overrides' in {path} must be a mapping of keys to values or a list of 'key.sub=value' texts.")


def _read_text(value: object, key: str, path: Path) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise UsageError(f"'{key}' in {path} must be text, not {type(value).__name__}.")


def _read_config_name(value: object, path: Path) -> str | None:
    name = _read_text(value, "config", path)
    if name is None or name in list_configs():
        return name
    found = find_config(name)
    return name if found.parent == CONFIG_FOLDER else str(path.parent / found)


def _read_choices(value: object, preset: str | None, path: Path) -> tuple[Choice, ...]:
    """The configurations of `configs`; those without a preset of their own have that of the file."""
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        raise UsageError(f"'configs' in {path} must be a list of names, files or mappings.")
    choices = []
    for number, entry in enumerate(value, start=1):
        place = f"Configuration {number} in {path}"
        if isinstance(entry, str):
            entry = {"config": entry}
        if not isinstance(entry, Mapping):
            raise UsageError(f"{place} must be a name, a file or a mapping, not {type(entry).__name__}.")
        _check_keys(entry, _CHOICE_KEYS, place)
        choice = Choice(
            _read_config_name(entry.get("config"), path),
            _read_text(entry.get("preset"), "preset", path) or preset,
            _read_overrides(entry.get("overrides"), path),
        )
        choices.append(choice)
    return tuple(choices)


def _check_keys(data: Mapping[Any, Any], keys: tuple[str, ...], place: str) -> None:
    for key in data:
        if key not in keys:
            known = ", ".join(f"'{name}'" for name in keys)
            raise UsageError(f"Unknown key '{key!s:.80}' in {place}.{suggest(str(key), keys)} The keys are {known}.")
