"""Many prompts with the same settings: everything is checked before the first run begins."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen3d.config.load import CONFIG_FOLDER, find_config, list_configs, load_stages, load_yaml, suggest
from gen3d.config.schema import RunConfig
from gen3d.errors import UsageError
from gen3d.language.prompts import check_prompt, load_prompt_list
from gen3d.runtime.files import user_path
from gen3d.runtime.paths import carried_file, carried_names
from gen3d.runtime.terminal import visible

if TYPE_CHECKING:
    from rich.table import Table

_KEYS = ("prompts", "config", "preset", "overrides")


@dataclass(frozen=True)
class Batch:
    """The content of a batch file."""

    prompts: tuple[str, ...]
    config: str | None = None
    preset: str | None = None
    overrides: tuple[str | Mapping[str, Any], ...] = ()
    """What the file sets, in the forms that `load_stages` takes."""

    def jobs(self, overrides: Sequence[str] = (), **explicit: Any) -> list[list[RunConfig]]:
        """The checked stages of every prompt; `overrides` and `explicit` win over the file's settings."""
        layers = [*self.overrides, *overrides]
        return [
            load_stages(self.config, layers, self.preset, **{**explicit, "prompt": prompt}) for prompt in self.prompts
        ]


@dataclass(frozen=True)
class JobResult:
    """What became of one prompt: a summary and a folder, or an error. finished: all its steps were made. begun: it was
    not left out because the batch was stopped before. elsewhere: another process is making it.
    """

    prompt: str
    seconds: float
    folder: Path | None = None
    summary: str = ""
    error: str = ""
    finished: bool = True
    begun: bool = True
    elsewhere: bool = False

    @property
    def state(self) -> str:
        """One word for the table."""
        if self.elsewhere:
            return "running elsewhere"
        if not self.begun:
            return "not begun"
        return "failed" if self.failed else "ok" if self.finished else "stopped"

    @property
    def failed(self) -> bool:
        return bool(self.error)


def load_batch(path: str | Path) -> Batch:
    """Read a batch: a YAML mapping with `prompts` (a list or a file), `config`, `preset` and `overrides`, or a text
    file with one prompt a line.

    A bare name without an ending, such as `gallery`, is a batch file or prompt list that comes with gen3d, where there
    is no file of that name. Files that it names are relative to it. Raises UsageError for anything that is missing,
    unknown or malformed.
    """
    path = _found(user_path(path))
    if path.suffix.lower() not in (".yaml", ".yml"):
        return Batch(tuple(load_prompt_list(path)))
    data = load_yaml(path, "batch file")
    if not isinstance(data, Mapping):
        raise UsageError(f"The batch file {path} must be a mapping with the key 'prompts', or a .txt list of prompts.")
    for key in data:
        if key not in _KEYS:
            known = ", ".join(f"'{name}'" for name in _KEYS)
            raise UsageError(f"Unknown key '{key!s:.80}' in {path}.{suggest(str(key), _KEYS)} The keys are {known}.")
    return Batch(
        prompts=_read_prompts(data.get("prompts"), path),
        config=_read_config_name(data.get("config"), path),
        preset=_read_text(data.get("preset"), "preset", path),
        overrides=_read_overrides(data.get("overrides"), path),
    )


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


def summary_table(results: Sequence[JobResult]) -> Table:
    """One row for every prompt."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "prompt", "time", "result")
    for result in results:
        outcome = result.error if result.failed else f"{result.summary}\n{result.folder}" if result.begun else ""
        if result.state == "stopped":
            outcome += f"\nIt goes on with: gen3d --resume {shlex.quote(str(result.folder))}"
        colors = {"ok": "green", "failed": "red"}
        table.add_row(
            Text(result.state, colors.get(result.state, "yellow")),
            Text(visible(result.prompt)),
            f"{result.seconds:.0f} s",
            Text(visible(outcome)),
        )
    return table


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
