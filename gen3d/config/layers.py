"""The layers that a configuration is made of: from files, presets, overrides and arguments to one checked object.

Every value keeps its source, so that an error can say where it came from.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gen3d.config.schema import RunConfig, all_settings
from gen3d.config.section import Section, sections_of, settings_of, shorten, suggest
from gen3d.config.shipped import find_shipped
from gen3d.config.yaml_text import load_documents, parse_yaml
from gen3d.errors import UsageError

COMMAND_LINE = "the command line"
ONE_STAGE = re.compile(r"stage(\d{1,3})(?:\.(.*))?", re.DOTALL)
"""A key of one stage alone, as in `stage2.optimization.steps`."""


@dataclasses.dataclass(frozen=True)
class Given:
    """One value of a layer and the file or place it came from."""

    value: Any
    source: str


Layer = dict[str, Given]
"""Values by their dotted keys."""


def is_override(text: str) -> bool:
    """Whether a word of the command line reads as `key.sub=value` with a key that begins like one of ours."""
    match = re.match(r"(\w+)(\.\w+)*=", text)
    if match is None:
        return False
    return match[1] in _first_names() or ONE_STAGE.fullmatch(match[1]) is not None


def wanted_layer(
    overrides: Iterable[str | Mapping[str, Any]], preset: str | None, explicit: Mapping[str, Any]
) -> Layer:
    """What is laid over the files: a preset, then overrides, then explicit arguments. Keys may be of one stage."""
    layer: Layer = {}
    if preset is not None:
        path = find_shipped(preset, "preset")
        layer |= only_document(file_layers(path), str(path))
    for override in overrides:
        if isinstance(override, str):
            layer |= parse_override(override)
        else:
            layer |= flatten(override, "the overrides", stages=True)
    for key, value in explicit.items():
        if value is not None:
            layer |= flatten({key: value}, COMMAND_LINE, stages=True)
    return layer


def parse_override(text: str) -> Layer:
    """One `key.sub=value` of the command line."""
    key, separator, raw = text.partition("=")
    if not separator:
        raise UsageError(
            f"'{reprlib.repr(text)[1:-1]}' is not a setting of the form key.sub=value; "
            'if it belongs to the prompt, put the whole prompt in quotes: gen3d "a wooden chair".'
        )
    key, raw = key.strip(), raw.strip()
    setting = all_settings().get(split_stage(key)[1])
    if setting is not None and setting.kind is str and raw[:1] not in ("'", '"'):
        value: object = raw  # on the command line out=2024 is text like any other
    else:
        value = parse_yaml(raw, f"the value of '{key}'")
    return flatten({key: value}, COMMAND_LINE, stages=True)


def split_stage(key: str) -> tuple[int | None, str]:
    """The number of the stage that a key addresses, None for all stages, and the key within a stage."""
    match = ONE_STAGE.fullmatch(key)
    return (int(match[1]), match[2] or "") if match else (None, key)


def file_layers(path: Path) -> list[Layer]:
    """The settings of a configuration file, one layer for each of its documents."""
    return [flatten(data, str(path)) for data in load_documents(path, "configuration")]


def only_document(layers: list[Layer], source: str) -> Layer:
    """The one layer of a source. Raises UsageError where there are several."""
    if len(layers) > 1:
        raise UsageError(f"{source} holds {len(layers)} stages, and here a single one is asked for.")
    return layers[0]


def flatten(data: object, source: str, stages: bool = False) -> Layer:
    """Dotted keys and values of a nested mapping. stages: whether keys may address one stage.

    Raises UsageError for unknown keys and misplaced mappings.
    """
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise UsageError(f"A configuration is a mapping of keys to values, but {source} holds {reprlib.repr(data)}.")
    layer: Layer = {}
    _flatten_into(layer, data, "", source, stages)
    return layer


def _flatten_into(layer: Layer, data: Mapping[Any, Any], prefix: str, source: str, stages: bool) -> None:
    for name, value in data.items():
        whole = f"{prefix}{name}"
        number, key = split_stage(whole) if stages else (None, whole)
        if key in _section_keys() or (number is not None and not key):
            if value is not None and not isinstance(value, Mapping):
                example = next(leaf for leaf in all_settings() if leaf.startswith(f"{key or 'optimization'}."))
                shown = f"stage{number}.{example}" if number is not None else example
                raise UsageError(
                    f"'{whole}' in {source} is a section, not a value: set one of its keys, for example '{shown}'."
                )
            # A YAML alias may make a mapping contain itself; known keys are at most as deep as the dataclasses.
            _flatten_into(layer, value or {}, f"{whole}.", source, stages)
        elif key not in all_settings():
            raise UsageError(f"Unknown configuration key '{shorten(whole)}' in {source}.{suggest_key(key)}")
        else:
            layer[whole] = Given(value, source)


def build(settings: Mapping[str, Given]) -> RunConfig:
    """The checked configuration of the defaults and the given values, which keys of one stage may not be among."""
    values = {key: all_settings()[key].typed(given.value, f"{given.source} has") for key, given in settings.items()}
    config = _build_section(RunConfig, values)
    assert isinstance(config, RunConfig)
    return config


def _build_section(kind: type[Section], values: Mapping[str, Any]) -> Section:
    arguments: dict[str, Any] = {name: _build_section(inner, values) for name, inner in sections_of(kind).items()}
    for name, setting in settings_of(kind).items():
        if setting.key in values:
            arguments[name] = values[setting.key]
    return kind(**arguments)


@functools.cache
def _section_keys() -> frozenset[str]:
    return frozenset(sections_of(RunConfig))


@functools.cache
def _first_names() -> frozenset[str]:
    return frozenset(key.partition(".")[0] for key in all_settings())


def suggest_key(key: str) -> str:
    """Like `suggest`, but a bare or misplaced last name (`steps`, `prior.steps`) also finds its full key."""
    by_name: dict[str, str] = {}
    for leaf in all_settings():
        by_name.setdefault(leaf.rpartition(".")[2], leaf)
    known = [*all_settings(), *_section_keys()]
    whole = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.8)
    last = difflib.get_close_matches(key[:100].rpartition(".")[2], list(by_name), n=1, cutoff=0.7)
    if whole or not last:
        return suggest(key, known)
    return f" Did you mean '{by_name[last[0]]}'?"
