"""What a section of the configuration is: a dataclass whose annotations say what each of its settings may be.

    @dataclass
    class SplatsConfig(Section, key="splats"):
        count: Annotated[int, Bounds(1, 1_000_000)] = 12000

The bounds stand here and nowhere else: `SplatsConfig(count=0)` is refused, and so are `splats.count=0` on the command
line and in a file; `gen3d config splats` and `docs/configuration.md` say what is allowed. Rules between the settings of
a section stand in its `__post_init__`. This module is light: it imports neither torch nor a library of schemas.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import math
import numbers
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

from gen3d.errors import UsageError

MAX_SHOWN = 80
"""Characters of a user's text that an error repeats."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The smallest and the largest value of a number, both allowed; of a tuple they hold for each of its numbers."""

    low: float
    high: float

    def hold(self, value: float) -> bool:
        """Whether a number lies between them; NaN does not."""
        return self.low <= value <= self.high


class Choices:
    """The texts that a setting may be, in the order in which they are listed."""

    def __init__(self, *names: str) -> None:
        self.names = names


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting as the annotation of its field describes it.

    key: its dotted name. kind: its type, without the annotation. default: None may be a default like any other.
    """

    key: str
    kind: Any
    default: Any
    bounds: Bounds | None = None
    choices: tuple[str, ...] = ()

    def typed(self, value: object, place: str = "it is") -> Any:
        """`value` as the type of the setting: a whole number is a number, a list a tuple, and nothing else changes.

        Raises UsageError for any other type. place: what the sentence says before the value, as in "user.yaml has".
        """
        if isinstance(value, bool) and self.kind is str and {"on", "off"} & set(self.choices):
            # YAML reads 'off' and 'on' as false and true.
            value = {False: "off", True: "on" if "on" in self.choices else self.choices[1]}[value]
        try:
            return _converted(value, self.kind)
        except TypeError:
            raise UsageError(
                f"'{self.key}' must be {type_in_words(self.kind)}, but {place} {reprlib.repr(value)}."
            ) from None

    def check(self, value: Any) -> None:
        """Raises UsageError for a value of the right type that is out of bounds or none of the choices."""
        if self.choices and value not in self.choices:
            raise UsageError(
                f"'{self.key}' is '{shorten(value)}', but must be one of {', '.join(self.choices)}."
                f"{suggest(value, self.choices)}"
            )
        if self.bounds is None or value is None:
            return
        limits = f"between {self.bounds.low:,} and {self.bounds.high:,}"
        if isinstance(value, tuple):
            if not all(self.bounds.hold(number) for number in value):
                shown = ", ".join(_number(number) for number in value)
                raise UsageError(f"'{self.key}' is ({shown}), but each must lie {limits}.")
        elif not self.bounds.hold(value):
            raise UsageError(f"'{self.key}' is {_number(value)}, but must lie {limits}.")


class Section:
    """The base of every section: making one checks all of its settings. A value that is set later is not checked.

    key: where the section stands in the configuration, which is given with the class; nothing at the top.
    """

    key: ClassVar[str] = ""

    def __init_subclass__(cls, key: str | None = None) -> None:
        super().__init_subclass__()
        if key is not None:
            cls.key = key

    def __post_init__(self) -> None:
        """Raises UsageError, with the dotted key and the value, for the first setting that is not as annotated."""
        for name, setting in settings_of(type(self)).items():
            value = setting.typed(getattr(self, name))
            setting.check(value)
            setattr(self, name, value)
        for name, kind in sections_of(type(self)).items():
            if not isinstance(getattr(self, name), kind):
                raise UsageError(
                    f"'{name}' must be a {kind.__name__}, but it is a {type(getattr(self, name)).__name__}."
                )

    def check_order(self, small: str, large: str) -> None:
        """Raises UsageError where the first of two settings is larger than the second."""
        low, high = getattr(self, small), getattr(self, large)
        if low > high:
            raise UsageError(
                f"'{self.key}.{small}' is {low:g}, but may not be larger than '{self.key}.{large}', which is {high:g}."
            )


def settings_of(section: type[Section]) -> Mapping[str, Setting]:
    """The settings of a section by the names of its fields, but for sections inside of it."""
    return _parts_of(cast(Any, section))[0]


def sections_of(section: type[Section]) -> Mapping[str, type[Section]]:
    """The sections inside of a section by the names of its fields."""
    return _parts_of(cast(Any, section))[1]


@functools.cache
def _parts_of(section: Any) -> tuple[Mapping[str, Setting], Mapping[str, type[Section]]]:
    hints = typing.get_type_hints(section, include_extras=True)
    prefix = f"{section.key}." if section.key else ""
    settings, sections = {}, {}
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        kind, *notes = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        if isinstance(kind, type) and issubclass(kind, Section):
            sections[field.name] = kind
            continue
        bounds = next((note for note in notes if isinstance(note, Bounds)), None)
        choices = next((note.names for note in notes if isinstance(note, Choices)), ())
        settings[field.name] = Setting(f"{prefix}{field.name}", kind, field.default, bounds, choices)
    return types.MappingProxyType(settings), types.MappingProxyType(sections)


def type_in_words(kind: Any) -> str:
    """What a setting of this type must be, as in "'seed' must be a whole number"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        many = {int: "whole numbers", float: "numbers", str: "texts"}[arguments[0]]
        return f"a list of {many}" if arguments[1:] == (...,) else f"a list of {len(arguments)} {many}"
    if origin in (types.UnionType, typing.Union):
        return f"{type_in_words(arguments[0])} or null"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text (try quotes)"}[kind]


def suggest(word: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" with the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def shorten(text: str) -> str:
    """The text, or its beginning where it is long."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _converted(value: Any, kind: Any) -> Any:
    """`value` as `kind`. Raises TypeError where it is of another type: '3', true and 3.0 are no whole numbers."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # the only unions are with None
        return None if value is None else _converted(value, arguments[0])
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        kinds = itertools.repeat(arguments[0], len(value)) if arguments[1:] == (...,) else arguments
        if isinstance(kinds, tuple) and len(kinds) != len(value):
            raise TypeError
        return tuple(_converted(item, each) for item, each in zip(value, kinds, strict=True))
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if kind is int else numbers.Real):
            raise TypeError
        try:
            return kind(value)
        except OverflowError:  # a whole number with hundreds of digits is no float
            return math.inf if value > 0 else -math.inf  # type: ignore[operator]
    if not isinstance(value, kind):
        raise TypeError
    return value


def _number(value: float) -> str:
    """The number as an error shows it: whole numbers with all of their digits, unless nobody would read them."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
    return f"{value:.10g}"
