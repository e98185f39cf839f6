"""Two pretended CUDA devices, on which tests find every forgotten `.to(device)` without a GPU.

Inside `with PretendedCuda():` unchanged PyTorch code may use `cuda:0` and `cuda:1`. A tensor "there" is a wrapper
around one on the CPU, which every operation runs on; the wrapper says it lives on its device, and refuses what CUDA
refuses: operations that mix devices, `.numpy()`, and draws for the device from a generator of the CPU. `data_ptr()` is
refused, too: a kernel that was compiled for the CPU would read it. Nothing is learned here of speed, streams or CUDA's
own kernels. What would make the program wait for a GPU, `synchronisations` counts.

Inside, the wrapper is a tensor of PyTorch's "meta" device with an index, as the guard of that device does nothing,
while the one for CUDA would ask a driver: `meta:1`, where it comes out of C++, stands for `cuda:1`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gen3d.kernels import dispatch

DEVICES = 2

COPIES = frozenset({"aten._to_copy.default", "aten.copy_.default", "aten._copy_from.default"})
"""Operations that take a tensor from one device to another."""

TAKE_CPU_SCALARS = frozenset(
    f"aten.{name}"
    for name in (
        "masked_fill.Tensor", "masked_fill_.Tensor", "fill.Tensor", "fill_.Tensor", "index_fill.int_Tensor",
        "index_fill_.int_Tensor", "floor_divide.default", "floor_divide_.Tensor", "huber_loss.default",
        "mse_loss.default",
    )
)  # fmt: skip
"""Operations beside the pointwise ones that take CPU tensors without dimensions together with tensors on CUDA."""

CPU = torch.device("cpu")

READS = {
    "aten._local_scalar_dense.default": "a value is read",
    "aten.nonzero.default": "nonzero",
    "aten.masked_select.default": "masked_select",
    "aten.bincount.default": "bincount",
    "aten.equal.default": "equal",
    "aten._unique2.default": "unique",
    "aten.unique_dim.default": "unique",
    "aten.unique_consecutive.default": "unique",
    "aten._linalg_check_errors.default": "whether a matrix could be solved",
}
"""Operations after which the program knows something that the GPU has found out, such as a size: it has waited."""


class Synchronisation(NamedTuple):
    """Where the program would have waited for the GPU. file: in the package; function: in it. what: it waited for."""

    file: str
    function: str
    what: str


synchronisations: list[Synchronisation] = []
"""Those since the list was last cleared, in their order."""


class PretendedTensor(Tensor):
    """A tensor that says it lives on `cuda:index`; its values are those of `inner`, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor, index: int) -> PretendedTensor:
        made: PretendedTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=torch.device("meta", index),
        )  # fmt: skip
        made.inner, made.index = inner, index
        return made

    def __init__(self, inner: Tensor, index: int) -> None:
        super().__init__()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", self.index)

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: PretendedTensor) -> None:
        """How a module moves a parameter that is on a GPU already: the object stays, with new memory."""
        torch._C.TensorBase.data.__set__(self, value)  # type: ignore[attr-defined]
        self.inner, self.index = value.inner, value.index

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def to(self, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """No copy where nothing changes, as everywhere; C++ would take `cuda` for another device than ours."""
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **_without(kwargs, "copy"))
        here = device is None or _resolved(device) == self.device
        if here and dtype in (None, self.dtype) and memory_format is None and not kwargs.get("copy"):
            return self
        return super().to(*args, **kwargs)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:  # type: ignore[override]
        """Makes a tensor with values, which C++ would not, as "meta" has none."""
        made = torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device)
        return made.requires_grad_(requires_grad)

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_with_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_with_tensors(index), value)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )

    def __array__(self, dtype: Any = None) -> np.ndarray:
        return self.numpy()

    def data_ptr(self) -> int:
        raise RuntimeError(f"data_ptr() was asked of a tensor on {self.device}: no kernel for the CPU may read it.")

    def tolist(self) -> Any:
        _note("values are read")
        return self.inner.detach().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"PretendedTensor({self.inner!r}, device='{self.device}')"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            if not self.is_leaf:
                raise RuntimeError("Only tensors that are leaves of the graph can be deep-copied.")
            copied = PretendedTensor(self.inner.detach().clone(), self.index).requires_grad_(self.requires_grad)
            memo[id(self)] = torch.nn.Parameter(copied, self.requires_grad) if _is_parameter(self) else copied
        return memo[id(self)]


class PretendedCuda(TorchDispatchMode):
    """Within it tensors can be made on and moved to `cuda:0` and `cuda:1`, and `torch.cuda.is_available()` is true."""

    def __enter__(self) -> PretendedCuda:
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(_patched())
        self._stack.enter_context(_NoDriver())
        # What was found out about the real devices of this machine says nothing about the pretended ones, nor back.
        dispatch.defect.cache_clear()
        self._stack.callback(dispatch.defect.cache_clear)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _NoDriver(TorchFunctionMode):
    """What C++ would ask the driver for: the number of `cuda` in `tensor.to("cuda")` and `tensor.cuda()`, which is 0,
    and a place to make `torch.tensor(..., device="cuda")`, which is made on the CPU and moved.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            made = func(*args, **{key: kwargs[key] for key in kwargs if key not in ("device", "requires_grad")})
            return made.to(_numbered(kwargs["device"])).requires_grad_(kwargs.get("requires_grad", False))
        if func is torch.Tensor.cuda:
            return args[0].to(_numbered(args[1] if len(args) > 1 else kwargs.get("device", "cuda")))
        if func is torch.Tensor.to:
            args = tuple(_numbered(argument) for argument in args)
            kwargs = {name: _numbered(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the CPU tensors inside, after the checks that CUDA would make; what it returns is wrapped."""
    note_waiting(func, args, kwargs)
    given = [*_leaves(args), *_leaves(list(kwargs.values()))]
    common = check_devices(func, args, kwargs, [x for x in given if isinstance(x, Tensor)])
    target = _resolved(kwargs["device"]) if kwargs.get("device") is not None else common
    check_generator(given, target)
    inner_kwargs = {name: _mapped(_unwrapped, value) for name, value in kwargs.items()}
    if inner_kwargs.get("device") is not None:
        inner_kwargs["device"] = CPU if target.type == "cuda" else target
    if inner_kwargs.get("pin_memory"):
        inner_kwargs["pin_memory"] = False
    out = func(*_mapped(_unwrapped, args), **inner_kwargs)
    wrappers = {id(x.inner): x for x in given if isinstance(x, PretendedTensor)}
    if func._schema.is_mutable:
        for wrapper in wrappers.values():
            if wrapper.inner.shape != wrapper.shape or wrapper.inner.stride() != wrapper.stride():
                raise RuntimeError(f"{func} changed a shape in place, which the pretended device cannot follow.")

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, PretendedTensor):
            return x
        if id(x) in wrappers:  # in place, or `out=`: the very tensor that was changed
            return wrappers[id(x)]
        return PretendedTensor(x, target.index) if target.type == "cuda" else x

    return _mapped(wrapped, out)


def note_waiting(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Notes an operation for which a program on CUDA waits: one that tells it what the GPU has found, and a copy
    between CPU and GPU that was not asked to go on by itself (`non_blocking`).
    """
    name = str(func)
    if name in COPIES:
        place = 0 if name == "aten._to_copy.default" else 1
        source, target = args[place], kwargs.get("device") if place == 0 else args[0].device
        blocks = not (kwargs.get("non_blocking") or (name == "aten.copy_.default" and len(args) > 2 and args[2]))
        there = isinstance(source, PretendedTensor)
        if target is not None and blocks and there != (_resolved(target).type == "cuda"):
            _note("a copy to the CPU" if there else "a copy to the GPU")
    elif not any(isinstance(value, PretendedTensor) for value in _leaves(args)):
        return
    elif name in READS:
        _note(READS[name])
    elif name == "aten.repeat_interleave.Tensor" and kwargs.get("output_size") is None:
        _note("repeat_interleave")
    elif name.startswith(("aten.index.", "aten.index_put", "aten._index_put")):
        masked = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        filled = len(args) > 2 and isinstance(args[2], Tensor) and args[2].dim() == 0  # becomes a masked_fill
        if masked and not filled:
            _note("a boolean mask")


def _note(what: str) -> None:
    """Where in the package an operation was asked for, from the innermost of its functions outwards."""
    frame = sys._getframe(1)
    while frame is not None and f"{_PACKAGE}/" not in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return
    path = Path(frame.f_code.co_filename).relative_to(_PACKAGE.parent)
    synchronisations.append(Synchronisation(path.as_posix(), frame.f_code.co_name, what))


_PACKAGE = Path(dispatch.__file__).resolve().parents[1]


class PretendedEvent:
    """What `torch.cuda.Event` is on a stream on which everything is done at once."""

    def __init__(self, enable_timing: bool = False, **settings: Any) -> None:
        self.seconds = 0.0

    def record(self, stream: Any = None) -> None:
        self.seconds = time.perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None: ...

    def elapsed_time(self, other: PretendedEvent) -> float:
        return 1e3 * (other.seconds - self.seconds)


def check_devices(func: Any, args: Any, kwargs: dict[str, Any], tensors: list[Tensor]) -> torch.device:
    """The one device of the `tensors` that an operation takes. Raises RuntimeError where they are on several, by the
    rules of CUDA: tensors without dimensions may come from the CPU to most operations, and so may indices.
    """
    name = str(func)
    if name in COPIES:
        return args[0].device
    if name.startswith(("aten.index.", "aten.index_put", "aten._index_put", "aten._unsafe_index")):
        own = args[0].device
        for index in args[1]:
            if index is not None and index.device not in (own, CPU):
                raise _mixed(name, own, index)
        for value in args[2:3]:
            if isinstance(value, Tensor) and value.device != own and not (value.device == CPU and value.dim() == 0):
                raise _mixed(name, own, value)
        return own
    on_cuda = [x for x in tensors if isinstance(x, PretendedTensor)]
    if not on_cuda:
        return tensors[0].device if tensors else CPU
    common = on_cuda[0].device
    scalars = torch.Tag.pointwise in func.tags or name in TAKE_CPU_SCALARS or name.startswith("aten._foreach_")
    for tensor in tensors:
        if tensor.device != common and not (scalars and tensor.device == CPU and tensor.dim() == 0):
            raise _mixed(name, common, tensor)
    if func._schema.is_mutable:
        for tensor in _written(func, args, kwargs):
            if tensor.device != common:
                raise _mixed(name, common, tensor)
    return common


def check_generator(given: list[Any], target: torch.device) -> None:
    """Raises RuntimeError for a generator of another kind of device than the values that are drawn."""
    for value in given:
        if isinstance(value, torch.Generator) and value.device.type != target.type:
            raise RuntimeError(f"Expected a '{target.type}' device type for generator but found '{value.device.type}'")


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operation changes."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (x for x in _leaves([value]) if isinstance(x, Tensor))


def _mixed(name: str, common: torch.device, stray: Tensor) -> RuntimeError:
    return RuntimeError(
        f"Expected all tensors to be on the same device, but {name} got {common} and a tensor of shape "
        f"{tuple(stray.shape)} on {stray.device}."
    )


def _resolved(device: Any) -> torch.device:
    """A device with its number; the numbered "meta" ones are those that C++ takes ours for."""
    device = torch.device(device)
    if device.type == "meta" and device.index is not None:
        return torch.device("cuda", device.index)
    if device.type != "cuda":
        return device
    index = device.index or 0
    if index >= DEVICES:
        raise RuntimeError(
            f"CUDA error: invalid device ordinal (the pretended devices are cuda:0 to cuda:{DEVICES - 1})"
        )
    return torch.device("cuda", index)


def _numbered(value: Any) -> Any:
    if isinstance(value, (str, torch.device)) and str(value) == "cuda":
        return torch.device("cuda", 0)
    return value


def _with_tensors(index: Any) -> Any:
    """An index with tensors for lists, which C++ would make on the "meta" device, without values."""
    if isinstance(index, tuple):
        return tuple(_with_tensors(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _unwrapped(value: Any) -> Any:
    return value.inner if isinstance(value, PretendedTensor) else value


def _leaves(values: Any) -> Iterator[Any]:
    """What lies in lists and tuples, which may be nested, as arguments of operations are."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _leaves(value)
        else:
            yield value


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """A value, or a list or tuple of values, with the function applied to each."""
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(function, part) for part in value)
    return function(value)


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, torch.nn.Parameter)


def _without(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


@contextlib.contextmanager
def _patched() -> Iterator[None]:
    """What Python code asks of CUDA, answered as if it were there."""
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "device_count": lambda: DEVICES,
        "synchronize": lambda device=None: None,
        "get_device_name": lambda device=None: "a pretended device",
        "current_stream": lambda device=None: None,
        "Event": PretendedEvent,
        "empty_cache": lambda: None,
        "max_memory_allocated": lambda device=None: 3 << 20,
        "reset_peak_memory_stats": lambda device=None: None,
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        # Optimisers ask the driver whether a graph is being captured.
        check = "_accelerator_graph_capture_health_check"
        if hasattr(torch.optim.Optimizer, check):
            stack.enter_context(mock.patch.object(torch.optim.Optimizer, check))
        yield
