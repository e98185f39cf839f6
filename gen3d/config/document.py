"""What every setting means and may be, in words: for `gen3d config`, and for `docs/configuration.md`.

All of it is read from the dataclasses: types, bounds and choices from the annotations of the fields, meanings from the
texts below them. `python -m gen3d.config.document` writes the page anew.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
import re
import sys
import textwrap
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from gen3d.config.layers import suggest_key
from gen3d.config.load import CARRIED_ON, MAX_STAGES, OF_ONE_STAGE, WHOLE_RUN
from gen3d.config.schema import REPRESENTATIONS, RunConfig, all_sections, all_settings
from gen3d.config.section import Section, Setting, settings_of, shorten, type_in_words
from gen3d.errors import UsageError

PAGE = Path("docs/configuration.md")

HOW_TO_SET = (
    "Settings are given as KEY=VALUE on the command line, or as YAML in a file that --config names. "
    "'gen3d config SECTION' explains the settings of a section, and 'gen3d config KEY' one of them."
)


def describe(name: str | None, width: int = 100) -> str:
    """The settings that `name` stands for, each with its default, what it may be and what it means.

    name: a section, a key, or the last part of keys (`steps`); None for the settings of no section and a list of the
    sections. Raises UsageError, with the nearest name, where there is none.
    """
    if name is None:
        top = [_entry(setting, width) for setting in settings_of(RunConfig).values()]
        longest = max(map(len, all_sections()))
        sections = [f"  {key:<{longest}}  {_summary(section)}" for key, section in all_sections().items()]
        return "\n\n".join([textwrap.fill(HOW_TO_SET, width), *top, "\n".join(["Sections:", *sections])])
    if section := all_sections().get(name):
        return "\n\n".join(
            [_filled(_text_of(section), width), *(_entry(setting, width) for setting in settings_of(section).values())]
        )
    found = [setting for key, setting in all_settings().items() if name in (key, key.rpartition(".")[2])]
    if not found:
        raise UsageError(
            f"There is no setting or section named '{shorten(name)}'.{suggest_key(name)} 'gen3d config' lists them."
        )
    return "\n\n".join(_entry(setting, width) for setting in found)


def page() -> str:
    """The text of `docs/configuration.md`."""
    parts = [_INTRODUCTION, "## Settings of no section", _table(RunConfig)]
    for key, section in all_sections().items():
        note = f" Settings of the representation `{key}`." if key in REPRESENTATIONS else ""
        parts += [f"## {key}", f"{_text_of(section)}{note}", _table(section)]
    return "\n\n".join(parts) + "\n"


def meaning_of(setting: Setting) -> str:
    """What the setting means: the text below its field, whole sentences on one line."""
    section, _, name = setting.key.rpartition(".")
    return _meanings(cast(Any, all_sections()[section] if section else RunConfig))[name]


def allowed(setting: Setting) -> str:
    """What the setting may be, as in "a whole number from 1 to 256"."""
    if setting.choices:
        return f"one of {', '.join(setting.choices)}"
    words = type_in_words(setting.kind).removesuffix(" (try quotes)").removesuffix(" or null")
    if setting.bounds is not None:
        each = ", each" if typing.get_origin(setting.kind) is tuple else ""
        words += f"{each} from {setting.bounds.low:,} to {setting.bounds.high:,}"
    return f"{words}, or null" if type(None) in typing.get_args(setting.kind) else words


def default_of(setting: Setting) -> str:
    """The default as it is written on the command line and in files."""
    return json.dumps(setting.default)


@functools.cache
def _meanings(section: Any) -> Mapping[str, str]:
    """The texts below the fields of a section, by name; a field that a class declares again may keep its text."""
    found: dict[str, str] = {}
    for owner in reversed(section.__mro__):
        if not issubclass(owner, Section) or owner is Section:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in itertools.pairwise(tree.body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[field.target.id] = " ".join(text.value.value.split())
    return found


def _text_of(section: type[Section]) -> str:
    """The docstring of a section, a line for each paragraph."""
    paragraphs = inspect.cleandoc(section.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _summary(section: type[Section]) -> str:
    """The first sentence about a section."""
    return re.split(r"(?<=\.)(?<! al\.)\s", _text_of(section))[0]


def _filled(text: str, width: int, indent: str = "") -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        textwrap.fill(part, width, initial_indent=indent, subsequent_indent=indent) for part in paragraphs
    )


def _entry(setting: Setting, width: int) -> str:
    about = f"{allowed(setting)[:1].upper()}{allowed(setting)[1:]}. {meaning_of(setting)}"
    return f"{setting.key}={default_of(setting)}\n{_filled(about, width, '    ')}"


def _table(section: type[Section]) -> str:
    rows = ["| Setting | Default | May be | Meaning |", "|---|---|---|---|"]
    for setting in settings_of(section).values():
        cells = (f"`{setting.key}`", f"`{default_of(setting)}`", allowed(setting), meaning_of(setting))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _listed(names: tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


_INTRODUCTION = f"""\
# Configuration

This page is made from the code by `python -m gen3d.config.document`; `gen3d config SECTION` says the same in a
terminal.

Every setting has a dotted key. On the command line it is given as `key=value`, as in `optimization.steps=300`; in a
file that `--config` names it is YAML:

```yaml
prompt: a red chair
optimization: {{steps: 300, resolution: 256}}
```

Settings come in layers, the later the stronger: the defaults below; the file or the shipped configuration of
`--config`; the shipped configuration of `--preset`; `key=value`; options such as `--steps`. Unknown keys, values of a
wrong type and values out of bounds are refused before anything is loaded. Numbers are written in base 10: `seed: 010`
is refused, as YAML would read an 8.

## Stages

A configuration may name that of the next stage in `then`, and so on, up to {MAX_STAGES} stages; each goes on from the
scene that the one before leaves. A preset, `key=value` and options reach **every** stage, with three exceptions:

- {_listed(OF_ONE_STAGE)} (with its keys) make a stage the one that it is, and are for the first stage;
- {_listed(WHOLE_RUN)} are one for the whole run;
- what addresses one stage, as in `stage2.optimization.steps=50`, is for that stage alone, and stronger than what is
  meant for all of them.

What a file says in the sections {_listed(CARRIED_ON)} holds for the stages after it, too, unless their own
files say otherwise: a run exports once, at the end of its last stage.

A file may hold several stages: each is a YAML document, with a line `---` before all but the first, and `then` is not
needed between them."""


def main() -> None:
    """Writes the page into the file that is named, or into `docs/configuration.md` of the folder it is run in."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    path.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
