"""What the header of a safetensors file says of it: read in milliseconds, and without importing torch.

The format: eight bytes with the size of the header, the header in JSON, and the tensors one after the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gen3d.errors import Gen3DError

MAX_HEADER_BYTES = 100_000_000
"""The most bytes of a header, as in the library that reads the files."""
_LFS = b"version "
"""The bytes by which a file begins that Git LFS left in place of the weights; no header is as long as that."""


def tensor_names(path: Path) -> list[str]:
    """The names of the tensors of a file. Raises Gen3DError where `problem` would find one."""
    reason, header = _read(path)
    if reason:
        raise Gen3DError(f"The file '{path}' cannot be read: it {reason}.")
    return [name for name in header if name != "__metadata__"]


def problem(path: Path) -> str:
    """What is wrong with a file, as it shows in its header and its size, as in "is cut off ..."; nothing where it is
    whole.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """What is wrong, or nothing, and the header."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if start == _LFS and size < 1000:
                return "is a pointer of Git LFS to the weights, not the weights: run 'git lfs pull' beside it", {}
            if len(start) < 8 or not 2 <= length <= MAX_HEADER_BYTES:
                return "is empty" if not size else "is no safetensors file", {}
            if 8 + length > size:
                return f"is cut off within its header, at {size:,} bytes", {}
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except OSError as error:
        return f"cannot be opened ({error.strerror})", {}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "has a damaged header", {}
    if size < expected:
        return f"is cut off: {size:,} of {expected:,} bytes are there", {}
    return "", header
