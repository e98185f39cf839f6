"""Reading, checking and writing configurations.

Settings come in layers, the later the stronger: dataclass defaults, a named or user YAML file, a preset, dotted
overrides, explicit arguments. Every setting keeps its source, so that an error can say where it came from.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import reprlib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gen3d.config.limits import validate
from gen3d.config.schema import RunConfig
from gen3d.errors import UsageError
from gen3d.runtime.files import read_user_text, user_path

CONFIG_FOLDER = Path(__file__).parent / "recipes"
MAX_CONFIG_BYTES = 1_000_000
ALIASES = {"mini": "default"}
COMMAND_LINE = "the command line"
MAX_STAGES = 8


@dataclasses.dataclass(frozen=True)
class Setting:
    """One value of a layer and the file or place it came from."""

    value: Any
    source: str


def load_config(
    name_or_path: str | None,
    overrides: Iterable[str | Mapping[str, Any]] = (),
    preset: str | None = None,
    **explicit: Any,
) -> RunConfig:
    """The checked configuration of a run.

    name_or_path: a shipped name (see `list_configs`) or a YAML file; None is `default`. overrides: `key.sub=value`
    with the value in YAML, or mappings as a file holds them. preset: a shipped name laid over the configuration.
    explicit: dotted keys with values, as in `load_config(None, seed=3, **{"optimization.steps": 200})`; None leaves a
    key alone.

    Raises UsageError with the nearest match for unknown names and keys, and for values of a wrong type or range.
    """
    settings = _file_settings(find_config(name_or_path or "default"))
    if preset is not None:
        settings |= _file_settings(_find_named(preset, "preset"))
    for override in overrides:
        settings |= parse_override(override) if isinstance(override, str) else flatten(override, "the overrides")
    for key, value in explicit.items():
        if value is not None:
            settings |= flatten({key: value}, COMMAND_LINE)
    return _build(settings)


def load_stages(config: RunConfig) -> list[RunConfig]:
    """`config` and the configurations that it hands over to, in order, with its prompt, seed, device and folder.

    Raises UsageError for a stage that cannot be read, and for more than `MAX_STAGES`, as where stages form a circle.
    """
    stages = [config]
    while stages[-1].then:
        if len(stages) == MAX_STAGES:
            raise UsageError(
                f"The configuration has more than {MAX_STAGES} stages, or they form a circle: see its 'then'."
            )
        kept = {key: getattr(config, key) for key in ("prompt", "seed", "device", "out", "recipe")}
        stages.append(load_config(stages[-1].then, (), None, **kept))
    return stages


def parse_config(text: str, source: str = "the configuration") -> RunConfig:
    """The checked configuration in a YAML text, as `dump_config` writes it."""
    return _build(flatten(parse_yaml(text, source), source))


def dump_config(config: RunConfig) -> str:
    """YAML that `parse_config` and `load_config` read back to an equal configuration."""
    return yaml.dump(dataclasses.asdict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def list_configs() -> dict[str, str]:
    """The shipped configurations: name and the first comment line of the file, `default` first."""
    paths = sorted(CONFIG_FOLDER.glob("*.yaml"), key=lambda path: (path.stem != "default", path.stem))
    return {path.stem: path.read_text("utf-8").partition("\n")[0].lstrip("# ") for path in paths}


def find_config(name_or_path: str) -> Path:
    """The YAML file of a shipped name, or the user's file. Raises UsageError where there is neither."""
    looks_like_path = "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith((".yaml", ".yml"))
    if looks_like_path:
        return user_path(name_or_path)
    return _find_named(name_or_path, "configuration")


def is_override(text: str) -> bool:
    """Whether a word of the command line reads as `key.sub=value` with a key that begins like one of ours."""
    match = re.match(r"(\w+)(\.\w+)*=", text)
    return match is not None and match[1] in {field.name for field in dataclasses.fields(RunConfig)}


def parse_override(text: str) -> dict[str, Setting]:
    """One `key.sub=value` of the command line."""
    key, separator, raw = text.partition("=")
    if not separator:
        raise UsageError(
            f"'{reprlib.repr(text)[1:-1]}' is not a setting of the form key.sub=value; "
            'if it belongs to the prompt, put the whole prompt in quotes: gen3d "a wooden chair".'
        )
    key = key.strip()
    value = parse_yaml(raw, f"the value of '{key}'")
    if leaf_types().get(key) is str and not isinstance(value, str):
        value = raw.strip()  # on the command line out=2024 is text like any other
    return flatten({key: value}, COMMAND_LINE)


def flatten(data: object, source: str) -> dict[str, Setting]:
    """Dotted keys and values of a nested mapping. Raises UsageError for unknown keys and misplaced mappings."""
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise UsageError(f"A configuration is a mapping of keys to values, but {source} holds {_show(data)}.")
    settings: dict[str, Setting] = {}
    _flatten_into(settings, data, "", source)
    return settings


def _flatten_into(settings: dict[str, Setting], data: Mapping[Any, Any], prefix: str, source: str) -> None:
    for name, value in data.items():
        key = f"{prefix}{name}"
        if key in _sections():
            if value is not None and not isinstance(value, Mapping):
                example = next(leaf for leaf in leaf_types() if leaf.startswith(f"{key}."))
                raise UsageError(
                    f"'{key}' in {source} is a section, not a value: set one of its keys, for example '{example}'."
                )
            # A YAML alias may make a mapping contain itself; known keys are at most as deep as the dataclasses.
            _flatten_into(settings, value or {}, f"{key}.", source)
        elif key not in leaf_types():
            raise UsageError(f"Unknown configuration key '{_shorten(key)}' in {source}.{_suggest_key(key)}")
        else:
            settings[key] = Setting(value, source)


def _file_settings(path: Path) -> dict[str, Setting]:
    return flatten(load_yaml(path, "configuration"), str(path))


def _find_named(name: str, kind: str) -> Path:
    names = list_configs()
    if ALIASES.get(name, name) in names:
        return CONFIG_FOLDER / f"{ALIASES.get(name, name)}.yaml"
    known = ", ".join(f"'{known}'" for known in names)
    hint = suggest(name, [*names, *ALIASES])
    raise UsageError(
        f"There is no {kind} named '{_shorten(name)}'.{hint} The shipped ones are {known}"
        + ("; a file of your own needs the ending .yaml." if kind == "configuration" else ".")
    )


def _build(settings: Mapping[str, Setting]) -> RunConfig:
    values = {key: _check_type(key, setting) for key, setting in settings.items()}
    config = _build_dataclass(RunConfig, values, "")
    assert isinstance(config, RunConfig)
    validate(config)
    return config


def _build_dataclass(kind: type, values: Mapping[str, Any], prefix: str) -> Any:
    arguments = {}
    for name, hint in typing.get_type_hints(kind).items():
        key = f"{prefix}{name}"
        if dataclasses.is_dataclass(hint):
            arguments[name] = _build_dataclass(typing.cast(type, hint), values, f"{key}.")
        elif key in values:
            arguments[name] = values[key]
    return kind(**arguments)


def _check_type(key: str, setting: Setting) -> Any:
    # Here and not above: `gen3d --help` and the help of every command do without pydantic.
    from pydantic import TypeAdapter, ValidationError

    hint, value = leaf_types()[key], setting.value
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        value = tuple(value)
    try:
        return TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError:
        wanted: dict[Any, str] = {
            int: "a whole number",
            float: "a number",
            float | None: "a number or null",
            bool: "true or false",
            str: "text (try quotes)",
            tuple[int, ...]: "a list of whole numbers",
            tuple[float, ...]: "a list of numbers",
            tuple[str, ...]: "a list of texts",
        }
        raise UsageError(
            f"'{key}' must be {wanted.get(hint, str(hint))}, but {setting.source} has {_show(value)}."
        ) from None


@functools.cache
def leaf_types() -> dict[str, Any]:
    """Every dotted key of `RunConfig` that holds a value, with its type."""
    return _walk_types(RunConfig, "")


def _walk_types(kind: type, prefix: str) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            types |= _walk_types(typing.cast(type, hint), f"{prefix}{name}.")
        else:
            types[f"{prefix}{name}"] = hint
    return types


@functools.cache
def _sections() -> frozenset[str]:
    parts = [key.split(".") for key in leaf_types()]
    return frozenset(".".join(names[:depth]) for names in parts for depth in range(1, len(names)))


def suggest(word: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" with the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def _suggest_key(key: str) -> str:
    """Like `suggest`, but a bare or misplaced last name (`steps`, `prior.steps`) also finds its full key."""
    by_name: dict[str, str] = {}
    for leaf in leaf_types():
        by_name.setdefault(leaf.rpartition(".")[2], leaf)
    whole = difflib.get_close_matches(key[:100], [*leaf_types(), *_sections()], n=1, cutoff=0.8)
    last = difflib.get_close_matches(key[:100].rpartition(".")[2], list(by_name), n=1, cutoff=0.7)
    if whole or not last:
        return suggest(key, [*leaf_types(), *_sections()])
    return f" Did you mean '{by_name[last[0]]}'?"


def load_yaml(path: Path, kind: str) -> object:
    """The content of a YAML file that a user named, at most `MAX_CONFIG_BYTES` long."""
    return parse_yaml(read_user_text(path, MAX_CONFIG_BYTES, kind), str(path))


def parse_yaml(text: str, source: str) -> object:
    """The content of a YAML text, plain data only. Raises UsageError with the line for text that is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        place = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{source} is not valid YAML{place}: {error.problem or 'it cannot be read'}.") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{source} is not valid YAML: {_shorten(reason)}.") from None


class _Loader(yaml.SafeLoader):
    """Safe loading that refuses a key given twice and reads `1e-3` as the number it is in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key_node, _ in node.value:
                name = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if name in seen and name != "<<":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{_shorten(str(name))}' is given twice", key_node.start_mark
                    )
                seen.add(str(name))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would take for numbers."""


_EXPONENT_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+")
for _yaml_class in (_Loader, _Dumper):
    _yaml_class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(_EXPONENT_FLOAT.pattern + r"\Z"), list("-+.0123456789")
    )


def _show(value: object) -> str:
    return reprlib.repr(value)


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
