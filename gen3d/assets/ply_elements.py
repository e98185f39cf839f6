"""The tables of a PLY file (Turk 1994), ASCII or binary of either byte order, with everything declared checked against
what the file has before memory is taken for it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from gen3d.assets.reading import Malformed, Reading

MAX_HEADER_BYTES = 65536
_MOST_ASCII_BYTES = 1 << 27
_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class Lists:
    """A list for each row. counts: [N] how many values. values: all of them, row after row."""

    counts: np.ndarray
    values: np.ndarray


@dataclass
class Element:
    """One table. fields: its properties in order, as name, type, and the type of the count where it is a list.
    columns, lists: what was read, by property.
    """

    name: str
    count: int
    fields: list[tuple[str, str, str | None]] = field(default_factory=list)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, Lists] = field(default_factory=dict)

    def table(self, names: tuple[str, ...], dtype: type = np.float32) -> np.ndarray:
        """The columns `names` side by side, [N, C]."""
        values: np.ndarray = np.empty((self.count, len(names)), dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, which readers count
            for index, name in enumerate(names):
                values[:, index] = self.columns[name]
        return values

    def has(self, *names: str) -> bool:
        return all(name in self.columns for name in names)


@dataclass(frozen=True)
class Ply:
    """A whole file. comments: without the word."""

    elements: dict[str, Element]
    comments: list[str]


def read_elements(content: bytes, reading: Reading) -> Ply:
    """All tables of a file. Raises Malformed for one that is damaged."""
    kind, elements, comments, start = _header(content)
    for element in elements:
        if element.count and any(count_type for _, _, count_type in element.fields):
            reading.check("triangles", element.count)
    if kind == "ascii":
        _read_ascii(content[start:], elements)
    else:
        _read_binary(content, start, elements, "<" if kind == "binary_little_endian" else ">")
    return Ply({element.name: element for element in elements}, comments)


def _header(content: bytes) -> tuple[str, list[Element], list[str], int]:
    """The format, the tables without their rows, the comments, and where the rows begin."""
    if content[:3] != b"ply" or content[3:4] not in (b"\n", b"\r"):
        raise Malformed("it does not begin with 'ply'")
    end = b"\n" if content[3:4] == b"\n" else b"\r\n" if content[4:5] == b"\n" else b"\r"
    kind, elements, comments, start = "", list[Element](), list[str](), 3 + len(end)
    while True:
        stop = content.find(end, start, MAX_HEADER_BYTES)
        if stop < 0:
            raise Malformed(f"its header has no end within {MAX_HEADER_BYTES} bytes")
        line = content[start:stop].decode("utf-8", "replace")
        words = line.split()
        start = stop + len(end)
        if words[:1] in (["comment"], ["obj_info"]):
            comments.append(line.split(maxsplit=1)[1] if len(words) > 1 else "")
        elif words == ["end_header"]:
            break
        elif words[:1] == ["format"]:
            kind = words[1] if words[2:] == ["1.0"] else ""
            if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
                raise Malformed(f"its format is '{' '.join(words[1:])[:40]}', which is none of PLY's three")
        elif words[:1] == ["element"] and len(words) == 3:
            elements.append(Element(words[1], _count(words[2], words[1])))
        elif words[:1] == ["property"] and elements:
            elements[-1].fields.append(_property(words, elements[-1]))
        elif words:
            raise Malformed(f"its header has the unknown line '{' '.join(words)[:60]}'")
    names = [element.name for element in elements]
    if not kind or not elements or len(set(names)) != len(names):
        raise Malformed("its header names no format or no elements, or one of them twice")
    return kind, elements, comments, start


def _count(word: str, name: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 12):
        raise Malformed(f"its number of '{name[:40]}' is '{word[:40]}'")
    return int(word)


def _property(words: list[str], element: Element) -> tuple[str, str, str | None]:
    if len(words) == 3 and words[1] in _TYPES:
        found: tuple[str, str, str | None] = words[2], _TYPES[words[1]], None
    elif len(words) == 5 and words[1] == "list" and words[3] in _TYPES and _TYPES.get(words[2], "f")[0] in "iu":
        found = words[4], _TYPES[words[3]], _TYPES[words[2]]
    else:
        raise Malformed(f"it has the unsupported property '{' '.join(words[1:])[:60]}'")
    if found[0] in (name for name, _, _ in element.fields):
        raise Malformed(f"the property '{found[0][:40]}' is named twice")
    return found


def _read_binary(content: bytes, start: int, elements: list[Element], order: str) -> None:
    for element in elements:
        if not element.fields or not element.count:
            _fill_empty(element)
            continue
        shortest = sum(np.dtype(count_type or kind).itemsize for _, kind, count_type in element.fields)
        if len(content) - start < element.count * shortest:
            raise Malformed(
                f"it is cut short: {element.count:,} of '{element.name[:40]}' need {element.count * shortest:,} bytes, "
                f"{len(content) - start:,} follow"
            )
        lengths = _first_lengths(content, start, element, order)
        fits = start + sum(lengths.values()) <= len(content)  # no row is longer than the file
        if fits:
            dtype = _row(element, order, lengths)
            fits = len(content) - start >= element.count * dtype.itemsize
        if fits:
            rows = np.frombuffer(content, dtype, element.count, start)
            fits = all(bool((rows[f"{name} count"] == length).all()) for name, length in lengths.items())
        if fits:  # all rows are of one length, as of all triangles
            for name, _, count_type in element.fields:
                if count_type is None:
                    element.columns[name] = rows[name]
                else:
                    counts = np.full(element.count, lengths[name], np.int64)
                    element.lists[name] = Lists(counts, rows[name].reshape(-1))
            start += element.count * dtype.itemsize
        else:
            start = _walk(content, start, element, order)


def _first_lengths(content: bytes, start: int, element: Element, order: str) -> dict[str, int]:
    """How long each list of the first row is."""
    lengths = {}
    for name, kind, count_type in element.fields:
        if count_type is None:
            start += np.dtype(kind).itemsize
            continue
        lengths[name] = _length(content, start, count_type, order)
        start += np.dtype(count_type).itemsize + lengths[name] * np.dtype(kind).itemsize
    return lengths


def _length(content: bytes, at: int, count_type: str, order: str) -> int:
    size = int(count_type[1])
    word = content[at : at + size]
    length = int.from_bytes(word, "little" if order == "<" else "big", signed=count_type[0] == "i")
    if len(word) < size or length < 0 or length > len(content):
        raise Malformed("it is cut short, or a list in it is longer than the file")
    return length


def _row(element: Element, order: str, lengths: dict[str, int]) -> np.dtype:
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    for name, kind, count_type in element.fields:
        if count_type is None:
            fields.append((name, order + kind))
        else:
            fields += [(f"{name} count", order + count_type), (name, order + kind, (lengths[name],))]
    return np.dtype(fields)


def _walk(content: bytes, start: int, element: Element, order: str) -> int:
    """Reads rows of several lengths, one after the other; returns where the next element begins."""
    sizes = [(int(kind[1]), count_type) for _, kind, count_type in element.fields]
    begins = [np.empty(element.count, np.int64) for _ in sizes]
    counts = [np.zeros(element.count, np.int64) for _ in sizes]
    for row in range(element.count):
        for column, (size, count_type) in enumerate(sizes):
            length = 1
            if count_type is not None:
                length = (
                    content[start]
                    if count_type == "u1" and start < len(content)
                    else _length(content, start, count_type, order)
                )
                start += int(count_type[1])
                counts[column][row] = length
            begins[column][row] = start
            start += length * size
        if start > len(content):
            raise Malformed(f"it is cut short within '{element.name[:40]}'")
    for (name, kind, count_type), begin, count in zip(element.fields, begins, counts, strict=True):
        dtype = np.dtype(order + kind)
        first = begin if count_type is None else np.repeat(begin, count) + dtype.itemsize * _ranks(count)
        # A view of a value at every byte of the file, of which those are taken that begin where one does.
        everywhere = np.ndarray(max(len(content) - dtype.itemsize + 1, 0), dtype, content, 0, (1,))
        values = everywhere[first]
        if count_type is None:
            element.columns[name] = values
        else:
            element.lists[name] = Lists(count, values)
    return start


def _read_ascii(text: bytes, elements: list[Element]) -> None:
    if len(text) > _MOST_ASCII_BYTES:
        raise Malformed(
            f"it has {len(text):,} bytes of text, and at most {_MOST_ASCII_BYTES:,} are read: make it binary"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            words = np.fromstring(text.decode("ascii", "replace"), sep=" ") if text.strip() else np.zeros(0)
        except (ValueError, DeprecationWarning):
            raise Malformed("its rows hold something that is no number") from None
    at = 0
    for element in elements:
        if not element.fields or not element.count:
            _fill_empty(element)
            continue
        if len(words) - at < element.count * len(element.fields):
            raise Malformed(
                f"it is cut short: {element.count:,} of '{element.name[:40]}' need more numbers than the "
                f"{len(words) - at:,} that follow"
            )
        if not any(count_type for _, _, count_type in element.fields):
            stop = at + element.count * len(element.fields)
            rows = words[at:stop].reshape(element.count, -1)
            element.columns = {name: rows[:, index] for index, (name, _, _) in enumerate(element.fields)}
            at = stop
        else:
            at = _walk_words(words, at, element)


def _walk_words(words: np.ndarray, at: int, element: Element) -> int:
    """Does what `_walk` does, where the numbers are words of text."""
    begins = np.empty((element.count, len(element.fields)), np.int64)
    counts = np.ones((element.count, len(element.fields)), np.int64)
    lists = [count_type is not None for _, _, count_type in element.fields]
    for row in range(element.count):
        for column, is_list in enumerate(lists):
            if is_list:
                length = words.item(at) if at < len(words) else -1
                if not 0 <= length <= len(words) or length != int(length):
                    raise Malformed("it is cut short, or a list in it is longer than the file")
                counts[row, column] = length
                at += 1
            begins[row, column] = at
            at += int(counts[row, column])
        if at > len(words):
            raise Malformed(f"it is cut short within '{element.name[:40]}'")
    for column, (name, _, count_type) in enumerate(element.fields):
        begin, count = begins[:, column], counts[:, column]
        values = words[np.repeat(begin, count) + _ranks(count)]
        if count_type is None:
            element.columns[name] = values
        else:
            element.lists[name] = Lists(count, values)
    return at


def _ranks(counts: np.ndarray) -> np.ndarray:
    """0, 1, … for each of the counts, one after the other."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _fill_empty(element: Element) -> None:
    for name, kind, count_type in element.fields:
        if count_type is None:
            element.columns[name] = np.zeros(0, kind)
        else:
            element.lists[name] = Lists(np.zeros(0, np.int64), np.zeros(0, kind))
