"""JSON as the standard has it, from files that anyone may have written."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def parse_json(text: str | bytes) -> Any:
    """What the text holds. All numbers are finite: Python's own reader takes `NaN`, and makes infinity of `1e400`.

    Raises ValueError, and nothing else, for what is no JSON, nested too deeply, or not finite.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"it holds the number {text[:20]}, which is not finite")
