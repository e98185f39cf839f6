"""The configurations that ship with gen3d, in the folder `recipes`: each is a recipe, or a later stage of one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from gen3d.config.section import shorten, suggest
from gen3d.errors import UsageError
from gen3d.runtime.files import user_path

CONFIG_FOLDER = Path(__file__).parent / "recipes"
ALIASES = {"mini": "default"}


@dataclass(frozen=True)
class Shipped:
    """What a shipped file says of itself.

    comment: its first line. label: its `recipe`, which names the folder of its runs. then: its next stage, or nothing.
    """

    comment: str
    label: str
    then: str


def list_configs() -> dict[str, str]:
    """All shipped configurations: name and comment, `default` first."""
    return {name: shipped.comment for name, shipped in shipped_files(CONFIG_FOLDER).items()}


def list_recipes() -> dict[str, str]:
    """The shipped configurations that no other hands over to: name and comment, `default` first."""
    later = {shipped.then for shipped in shipped_files(CONFIG_FOLDER).values()}
    return {name: comment for name, comment in list_configs().items() if name not in later}


def recipe_labels() -> tuple[str, ...]:
    """What `recipe` may be: the labels of the shipped configurations. Several of them may share one: that of `default`
    and `draft` is 'mini', and all stages of a recipe have its name.
    """
    return tuple(dict.fromkeys(shipped.label for shipped in shipped_files(CONFIG_FOLDER).values()))


def find_config(name_or_path: str) -> Path:
    """The YAML file of a shipped name, or the user's file. Raises UsageError where there is neither."""
    looks_like_path = "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith((".yaml", ".yml"))
    if looks_like_path:
        return user_path(name_or_path)
    return find_shipped(name_or_path, "configuration")


def find_shipped(name: str, kind: str) -> Path:
    """The file of a shipped name. kind: what it is wanted as, for the UsageError of a name that there is not."""
    names = list_configs()
    if ALIASES.get(name, name) in names:
        return CONFIG_FOLDER / f"{ALIASES.get(name, name)}.yaml"
    known = ", ".join(f"'{known}'" for known in names)
    hint = suggest(name, [*names, *ALIASES])
    raise UsageError(
        f"There is no {kind} named '{shorten(name)}'.{hint} The shipped ones are {known}"
        + ("; a file of your own needs the ending .yaml." if kind == "configuration" else ".")
    )


@functools.cache
def shipped_files(folder: Path) -> dict[str, Shipped]:
    """Every file of the folder by name, `default` first.

    Two of its lines are all that is needed here, on every start; a test compares them with what the whole file says.
    """
    found = {}
    for path in sorted(folder.glob("*.yaml"), key=lambda path: (path.stem != "default", path.stem)):
        text = path.read_text("utf-8")
        lines = dict(re.findall(r"^(recipe|then): *(\S+)", text, re.MULTILINE))
        comment = text.partition("\n")[0].lstrip("# ")
        found[path.stem] = Shipped(comment, lines.get("recipe", path.stem), lines.get("then", ""))
    return found
