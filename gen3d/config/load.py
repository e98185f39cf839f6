"""Reading, checking and writing configurations: of one stage, or of all the stages of a run.

Settings come in layers, the later the stronger: dataclass defaults, a named or user YAML file, a preset, dotted
overrides, explicit arguments (see `gen3d.config.layers`). A stage names the configuration of the next one in `then`;
all of them are read and checked before anything else happens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gen3d.config.layers import (
    ONE_STAGE,
    Given,
    Layer,
    build,
    file_layers,
    flatten,
    is_override,
    only_document,
    split_stage,
    wanted_layer,
)
from gen3d.config.schema import RunConfig
from gen3d.config.section import shorten, suggest
from gen3d.config.shipped import CONFIG_FOLDER, find_config, list_configs, list_recipes
from gen3d.config.yaml_text import MAX_CONFIG_BYTES, dump_yaml, load_yaml, parse_documents
from gen3d.errors import UsageError

__all__ = [
    "CONFIG_FOLDER",
    "MAX_CONFIG_BYTES",
    "dump_config",
    "dump_stages",
    "find_config",
    "is_override",
    "list_configs",
    "list_recipes",
    "load_config",
    "load_stages",
    "load_yaml",
    "parse_config",
    "parse_stages",
    "suggest",
]

MAX_STAGES = 8

WHOLE_RUN = ("prompt", "recipe", "seed", "device", "out", "candidates")
"""What a run has once: later stages take it from the first one."""

CARRIED_ON = ("export", "checkpoints", "kernels")
"""Sections that are about the run and not about a stage: what a file says there holds for the stages after it, too."""

OF_ONE_STAGE = ("representation", "then", "start")
"""What makes a stage the one that it is: an override of it, or of a key of such a section, is for the first stage."""


def load_config(
    name_or_path: str | None,
    overrides: Iterable[str | Mapping[str, Any]] = (),
    preset: str | None = None,
    **explicit: Any,
) -> RunConfig:
    """The checked configuration of a run of one stage, or of the first stage of a run.

    name_or_path: a shipped name (see `list_configs`) or a YAML file; None is `default`. overrides: `key.sub=value`
    with the value in YAML, or mappings as a file holds them. preset: a shipped name laid over the configuration.
    explicit: dotted keys with values, as in `load_config(None, seed=3, **{"optimization.steps": 200})`; None leaves a
    key alone.

    Raises UsageError with the nearest match for unknown names and keys, for values of a wrong type or range, and for
    what addresses one stage of several.
    """
    path = find_config(name_or_path or "default")
    settings = only_document(file_layers(path), str(path)) | wanted_layer(overrides, preset, explicit)
    for key in settings:
        if ONE_STAGE.fullmatch(key):
            raise UsageError(f"'{shorten(key)}' is for one stage of several, and here a single one is loaded.")
    return build(settings)


def load_stages(
    name_or_path: str | None = None,
    overrides: Iterable[str | Mapping[str, Any]] = (),
    preset: str | None = None,
    **explicit: Any,
) -> list[RunConfig]:
    """The checked configurations of all the stages of a run, in order; the arguments are those of `load_config`.

    Each stage is, the later the stronger: the dataclass defaults; its own file; the preset, the overrides and the
    explicit arguments, which reach every stage, but for what makes a stage the one that it is (`representation`, `then`
    and `start.*`), which is for the first one; and what addresses it alone, as in `stage2.optimization.steps=50`. What
    a run has once (`WHOLE_RUN`) is that of the first stage in all of them, and what a file says of `export`,
    `checkpoints` and `kernels` holds for the stages after it, too, unless their own files say otherwise.

    A file may hold several documents, as `dump_stages` writes them: each is a stage, and `then` is not asked for.

    Raises UsageError as `load_config` does, for stages that do not exist, for more than `MAX_STAGES`, and, with the
    number of the stage, for what an override makes of a later one.
    """
    wanted = wanted_layer(overrides, preset, explicit)
    _check_addresses(wanted)
    path = find_config(name_or_path or "default")
    pending, carried, whole = file_layers(path), Layer(), Layer()
    stages: list[RunConfig] = []
    while pending:
        if len(stages) == MAX_STAGES:
            raise UsageError(
                f"The configuration has more than {MAX_STAGES} stages, or they form a circle: see its 'then'."
            )
        own, number = pending.pop(0), len(stages) + 1
        carried |= {key: given for key, given in own.items() if key.partition(".")[0] in CARRIED_ON}
        stages.append(_build_stage(carried | own | _for_stage(wanted, number) | whole, number, path, wanted))
        whole = {key: Given(getattr(stages[0], key), "the first stage") for key in WHOLE_RUN}
        following = stages[-1].then
        if following != (own["then"].value if "then" in own else ""):
            pending = []  # an override has chosen another next stage, or none
        if following and not pending:
            path = find_config(following)
            pending = file_layers(path)
    _check_numbers(wanted, len(stages))
    return stages


def parse_config(text: str, source: str = "the configuration") -> RunConfig:
    """The checked configuration in a YAML text, as `dump_config` writes it."""
    return build(only_document([flatten(data, source) for data in parse_documents(text, source)], source))


def parse_stages(text: str, source: str = "the configuration") -> list[RunConfig]:
    """The checked configurations in a YAML text of one or several documents, as `dump_stages` writes it."""
    documents = parse_documents(text, source)
    if len(documents) > MAX_STAGES:
        raise UsageError(f"{source} holds {len(documents)} stages, but a run has at most {MAX_STAGES}.")
    return [build(flatten(data, source)) for data in documents]


def dump_config(config: RunConfig) -> str:
    """YAML that `parse_config` and `load_config` read back to an equal configuration, single settings first."""
    data = dataclasses.asdict(config)
    return dump_yaml(dict(sorted(data.items(), key=lambda item: isinstance(item[1], dict))))


def dump_stages(stages: Sequence[RunConfig]) -> str:
    """YAML of all the stages of a run, a document each, that `parse_stages` and `load_stages` read back equal."""
    return "---\n".join(dump_config(stage) for stage in stages)


def _for_stage(wanted: Layer, number: int) -> Layer:
    """What is wanted of the stage of this number: first what is wanted of all, then what addresses it alone."""
    everywhere, here = Layer(), Layer()
    for key, given in wanted.items():
        addressed, bare = split_stage(key)
        if addressed == number:
            here[bare] = given
        elif addressed is None and (number == 1 or bare.partition(".")[0] not in OF_ONE_STAGE):
            everywhere[bare] = given
    return everywhere | here


def _build_stage(layer: Layer, number: int, path: Path, wanted: Layer) -> RunConfig:
    """The configuration of a stage. An error in a later one, which the user may not know of, says in which."""
    try:
        return build(layer)
    except UsageError as error:
        if number == 1:
            raise
        name = path.stem if path.parent == CONFIG_FOLDER else path
        hint = " A key of the first stage alone is set as stage1.KEY=VALUE." if wanted else ""
        raise UsageError(f"In stage {number} ({name}): {error}{hint}") from None


def _check_addresses(wanted: Layer) -> None:
    """Raises UsageError for what cannot be set for one stage, or not for that one."""
    for key in wanted:
        number, bare = split_stage(key)
        if number is None:
            continue
        if number == 0:
            raise UsageError(f"There is no stage 0 for '{key}': stages are counted from 1.")
        if bare in WHOLE_RUN:
            raise UsageError(f"'{key}' cannot be set for one stage, as a run has one '{bare}': set {bare} itself.")
        if number > 1 and bare.startswith("start."):
            raise UsageError(
                f"'{key}' is without effect: stage {number} goes on from the scene of the stage before, and only the "
                "first stage has a start."
            )


def _check_numbers(wanted: Layer, stages: int) -> None:
    """Raises UsageError for what addresses a stage after the last one."""
    for key, given in wanted.items():
        number, _ = split_stage(key)
        if number is not None and number > stages:
            there = "only one stage" if stages == 1 else f"{stages} stages"
            raise UsageError(f"'{key}' in {given.source} is for stage {number}, but the configuration has {there}.")
