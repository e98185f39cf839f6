"""YAML in and out: plain data only, numbers that can be read in one way only, and errors that name the line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gen3d.config.section import shorten
from gen3d.errors import UsageError
from gen3d.runtime.files import read_user_text

MAX_CONFIG_BYTES = 1_000_000
MAX_DOCUMENTS = 64


def load_yaml(path: Path, kind: str) -> object:
    """The content of a YAML file that a user named, at most `MAX_CONFIG_BYTES` long. kind: what it was meant to be."""
    return parse_yaml(read_user_text(path, MAX_CONFIG_BYTES, kind), str(path))


def load_documents(path: Path, kind: str) -> list[object]:
    """The contents of a YAML file of several documents, divided by lines `---`; arguments as of `load_yaml`."""
    return parse_documents(read_user_text(path, MAX_CONFIG_BYTES, kind), str(path))


def parse_yaml(text: str, source: str) -> object:
    """The content of a YAML text, plain data only. Raises UsageError with the line for text that is not YAML, and for
    more than one document. source: what the text is, for the errors.
    """
    documents = parse_documents(text, source)
    if len(documents) > 1:
        raise UsageError(f"{source} holds {len(documents)} documents, but must hold one: remove the lines '---'.")
    return documents[0]


def parse_documents(text: str, source: str) -> list[object]:
    """The contents of the documents of a YAML text, at least one; an empty text is an empty document."""
    try:
        documents: list[object] = []
        for document in yaml.load_all(text, Loader=_Loader):
            documents.append(document)
            if len(documents) > MAX_DOCUMENTS:
                raise UsageError(f"{source} holds more than {MAX_DOCUMENTS} documents: remove lines '---'.")
        return documents or [None]
    except _Ambiguous as error:
        raise UsageError(f"{source} has at line {error.line} {error}") from None
    except yaml.MarkedYAMLError as error:
        place = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{source} is not valid YAML{place}: {error.problem or 'it cannot be read'}.") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{source} is not valid YAML: {shorten(reason)}.") from None


def dump_yaml(data: Mapping[str, Any]) -> str:
    """One document that `parse_yaml` reads back equal."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Ambiguous(Exception):
    """A number that YAML 1.1 and 1.2 read differently; the message goes on after 'FILE has at line N'."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Safe loading that refuses a key given twice and numbers that YAML 1.1 reads in base 8 or 60, and reads `1e-3` as
    the number it is in YAML 1.2.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key_node, _ in node.value:
                name = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if name in seen and name != "<<":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{shorten(str(name))}' is given twice", key_node.start_mark
                    )
                seen.add(str(name))
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """A number in base 10, or with the prefix 0x or 0b; `010` would be 8, and `1:30` 90."""
        text = str(self.construct_scalar(node))
        whole = node.tag == "tag:yaml.org,2002:int"
        if ":" in text or (whole and re.fullmatch(r"[-+]?0[0-9_]+", text)):
            other = "60" if ":" in text else "8"
            raise _Ambiguous(
                f"the number '{shorten(text)}', which YAML reads in base {other}: write it without a leading zero or "
                "colon, or put it in quotes if it is text.",
                node.start_mark.line + 1,
            )
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that `_Loader` would take for numbers, and escapes line breaks that PyYAML reads as spaces."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if _BREAKS.search(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BREAKS = re.compile("[\x85\u2028\u2029]")
_Dumper.add_representer(str, _Dumper.represent_text)
_EXPONENT_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+")
for _yaml_class in (_Loader, _Dumper):
    _yaml_class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(_EXPONENT_FLOAT.pattern + r"\Z"), list("-+.0123456789")
    )
for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)
