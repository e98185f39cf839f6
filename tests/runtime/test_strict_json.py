"""Whatever is no JSON of finite numbers is one kind of error."""

from __future__ import annotations

import pytest

from gen3d.runtime.strict_json import parse_json


def test_what_is_json_is_read() -> None:
    assert parse_json(b'{"a": [1, -2.5, 1e3, null, true, "x"]}') == {"a": [1, -2.5, 1000.0, None, True, "x"]}
    assert parse_json('"\\u00e9"') == "é"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "NaN", '{"a": -Infinity}', "[1e400]", "[" * 100_000, b"\xff\xfe\x00", "9" * 5000],
)
def test_everything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
