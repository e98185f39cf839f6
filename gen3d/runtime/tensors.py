"""Tensors in files: safetensors with text beside them, which appear whole or not at all. Nothing here unpickles.

Three kinds of files, all of them safetensors that other programs can open:
    tensors by name, with texts in the metadata     `save_tensors`, `read_metadata`
    the finished weights of a model                 written by `save_tensors`, read and checked by `load_weights`
    any nesting of dicts, lists, numbers, tensors   `save_state`, `load_state`
"""

from __future__ import annotations

import contextlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.runtime.files import replacing

STATE_KEY = "gen3d state 1"
"""Name of the text in the metadata that says how a state is nested; the number is the version of that text."""

CHECKSUM_KEY = "crc32"
"""Name of the checksum of a state's tensors, beside the outermost nesting: safetensors itself does not notice a flipped
bit, which would go on unseen as another result. States without one are from earlier versions, and are read.
"""

MAX_DEPTH = 100
"""Containers within each other that a state may have: more of them are a loop."""
MAX_NESTING_BYTES = 50_000_000
"""Size of the text that says how a state is nested. Safetensors reads no header above 100 million bytes."""
MAX_INTEGER_BITS = 10_000
"""The most bits of a whole number in a state: Python reads no longer ones from text."""

_AS_BYTES = frozenset({torch.complex128, torch.complex32, torch.float4_e2m1fn_x2})
"""Dtypes that safetensors does not read back; they are stored as uint8 with their name beside them."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file under a temporary name in the same folder, which is made, and renames it.

    Raises Gen3DError where the file cannot be written, as on a full disk.
    """
    # Safetensors refuses tensors that share memory or are laid out in strides.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    _write(path, own, metadata)


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a safetensors file holds beside its tensors. Raises Gen3DError as `load_weights`."""
    with _opened(path) as file:
        return file.metadata() or {}


def load_weights(path: Path, expected: Mapping[str, Sequence[int]] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, on the CPU, every number of them finite.

    expected: the names and shapes that the file must hold, no more and no less (see `shapes_of`); anything goes without
    it. Raises Gen3DError that names the file, and the tensor where it is to blame: for a file that is missing, cut off
    or of another format, for other names or shapes than expected, and for NaN and infinity.
    """
    with _opened(path) as file:
        if expected is not None:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            check_shapes(found, expected, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    check_finite(tensors, path)
    return tensors


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, as of a module's `state_dict()`."""
    return {name: tuple(value.shape) for name, value in tensors.items()}


def check_shapes(found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]], path: Path) -> None:
    """Raises Gen3DError naming the first tensor of the file that is missing, of another shape, or not expected."""
    for name, shape in expected.items():
        if name not in found:
            raise Gen3DError(f"The file '{path}' does not fit the model that reads it: it lacks the tensor '{name}'.")
        if tuple(found[name]) != tuple(shape):
            raise Gen3DError(
                f"The file '{path}' does not fit the model that reads it: the tensor '{name}' has the shape "
                f"{list(found[name])} instead of {list(shape)}."
            )
    unknown = next((name for name in found if name not in expected), None)
    if unknown is not None:
        raise Gen3DError(f"The file '{path}' does not fit the model that reads it, which has no tensor '{unknown}'.")


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises Gen3DError naming the file's first tensor that holds NaN or infinity."""
    name = not_finite(tensors)
    if name is not None:
        raise Gen3DError(
            f"The tensor '{name}' in '{path}' holds numbers that are not finite (NaN or infinity): the file is "
            "broken, so take another copy or make it again."
        )


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity, if one does."""
    return next((name for name, value in tensors.items() if not is_finite(value)), None)


def is_finite(value: Tensor) -> bool:
    """Whether all numbers of a tensor of any shape and dtype are finite."""
    if value.is_complex():
        value = torch.view_as_real(value)
    if not value.is_floating_point() or not value.numel():
        return True
    if value.element_size() == 1:
        value = value.float()  # nothing is computed in 8 bits
    # Both ends carry a NaN on. One pass without a copy: ten times as fast as asking each number.
    return all(math.isfinite(float(end)) for end in torch.aminmax(value.detach()))


def save_state(path: Path, state: Any) -> None:
    """Writes a nested state to one safetensors file, under a temporary name that is renamed: whole or not at all.

    state: dicts with keys of str or int, lists, tuples, tensors, numbers, strings, booleans and None, within each other
    in any way. `load_state` gives back equal values: every dtype and bit (NaN too), 0-d and empty tensors, the order of
    keys and of dense tensors' dimensions in memory. What it does not keep: the device, whether a gradient is wanted,
    which tensors share memory, and subclasses (a parameter comes back as a tensor, an OrderedDict as a dict).

    Raises Gen3DError for anything else in it, with its place, before anything is written; and where the file cannot be
    written, as on a full disk.
    """
    tensors: dict[str, Tensor] = {}
    packed = _pack(state, (), tensors)
    if isinstance(packed, dict):
        packed[CHECKSUM_KEY] = _checksum(tensors)
    nesting = json.dumps(packed, separators=(",", ":"))
    if len(nesting) > MAX_NESTING_BYTES:
        raise Gen3DError(
            f"The state for '{path}' holds {len(nesting):,} bytes of plain numbers and texts, more than "
            f"{MAX_NESTING_BYTES:,}: put long lists of numbers into tensors."
        )
    _write(path, tensors, {STATE_KEY: nesting})


def load_state(path: Path) -> Any:
    """What `save_state` wrote, with its tensors on the CPU.

    Raises Gen3DError that names the file where it is missing, damaged, or nothing that `save_state` wrote.
    """
    with _opened(path) as file:
        nesting = (file.metadata() or {}).get(STATE_KEY)
        if nesting is None:
            raise Gen3DError(f"The file '{path}' is no state that this version of gen3d saved: take another one.")
        try:
            packed = json.loads(nesting)
            written = packed.pop(CHECKSUM_KEY, None) if isinstance(packed, dict) else None
            state = _unpack(packed, file)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise Gen3DError(
                f"The file '{path}' is damaged: what it says of its own nesting cannot be followed ({_reason(error)}). "
                "Take another copy, or remove it."
            ) from None
        if written is not None and written != _checksum({name: file.get_tensor(name) for name in file.keys()}):  # noqa: SIM118
            raise Gen3DError(f"The file '{path}' is damaged: its tensors are not those that were saved. Remove it.")
        return state


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """A checksum of the bytes of all tensors, in the order of their names."""
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def _write(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str] | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # as the user's umask has it; safetensors would let nobody else read it
            save_file(tensors, temporary, dict(metadata) if metadata else None)
            temporary.chmod(mode)
    except (OSError, SafetensorError) as error:
        raise Gen3DError(
            f"The file '{path}' cannot be written ({_reason(error)}): check the folder's permissions and the space "
            "that is free."
        ) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file to read from; whatever is wrong with the file becomes a sentence that names it."""
    try:
        if not Path(path).is_file():
            problem = "is no file" if Path(path).exists() else "does not exist"
            raise Gen3DError(f"The file '{path}' {problem}: check the path.")
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise Gen3DError(
            f"The file '{path}' cannot be read: it is damaged, cut off or no safetensors file ({_reason(error)}). Take "
            "another copy, or remove it."
        ) from None


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0].rstrip(".")


def _pack(value: Any, place: tuple[str | int, ...], tensors: dict[str, Tensor]) -> Any:
    """A value as JSON in which every object has one key, its kind; the tensors go to `tensors`, by their place."""
    if len(place) > MAX_DEPTH:
        raise Gen3DError(f"A state cannot be saved whose containers lie more than {MAX_DEPTH} deep within each other.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if int(value).bit_length() > MAX_INTEGER_BITS:
            raise Gen3DError(f"A state cannot be saved with the number at '{_spelt(place)}': it has too many digits.")
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, Tensor):
        return {"tensor": _pack_tensor(value, place, tensors)}
    if isinstance(value, list):
        return [_pack(item, (*place, index), tensors) for index, item in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [_pack(item, (*place, index), tensors) for index, item in enumerate(value)]}
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise Gen3DError(f"A state cannot be saved with the key {key!r} at '{_spelt(place)}': use str or int.")
        items = [[_pack(key, place, tensors), _pack(item, (*place, key), tensors)] for key, item in value.items()]
        return {"dict": items}
    raise Gen3DError(
        f"A state cannot be saved with a {type(value).__module__}.{type(value).__qualname__} at '{_spelt(place)}': use "
        "dicts, lists, tuples, tensors, numbers, strings, booleans and None."
    )


def _pack_tensor(value: Tensor, place: tuple[str | int, ...], tensors: dict[str, Tensor]) -> dict[str, Any]:
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise Gen3DError(
            f"A state cannot be saved with the tensor at '{_spelt(place)}', which is sparse, quantised or without "
            "values: save plain tensors."
        )
    name = _spelt(place) or "state"
    while name in tensors or name == "__metadata__":  # {"a/b": ...} beside {"a": {"b": ...}}; safetensors' own key
        name += "~"
    value = value.detach().cpu().resolve_conj().resolve_neg()
    packed: dict[str, Any] = {"name": name}
    # Convolutions and their averages may lie in memory with the channels last, on which sums over them depend.
    strides = value.stride()
    order = sorted(range(value.dim()), key=lambda axis: -strides[axis])
    if order != sorted(order) and value.permute(order).is_contiguous():
        packed["order"] = order
        value = value.permute(order)
    value = value.contiguous()
    if value.dtype in _AS_BYTES:
        packed |= {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
        value = value.reshape(-1).view(torch.uint8)
    tensors[name] = value.clone()
    return packed


def _unpack(value: Any, file: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item, file) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {_key(key): _unpack(item, file) for key, item in content}
    if kind == "tuple":
        return tuple(_unpack(item, file) for item in content)
    if kind == "float":
        return float(content)
    if kind != "tensor":
        raise ValueError(f"'{kind}' is no kind of value")
    # A copy: what the file is mapped to need not be aligned, and goes with the file.
    tensor: Tensor = file.get_tensor(content["name"]).clone()
    if "dtype" in content:
        tensor = tensor.view(getattr(torch, content["dtype"])).reshape(content["shape"])
    if "order" in content:
        axes = range(tensor.dim())
        if sorted(content["order"]) != list(axes):
            raise ValueError(f"{content['order']} is no order of {len(axes)} dimensions")
        tensor = tensor.permute([content["order"].index(axis) for axis in axes])
    return tensor


def _key(key: Any) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError(f"{key!r} is no key")
    return key


def _spelt(place: tuple[str | int, ...]) -> str:
    """A place in a nested state, as in "model/weight", in characters that any file can hold."""
    text = "/".join(str(part) for part in place)
    return text.encode("utf-8", "backslashreplace").decode()
