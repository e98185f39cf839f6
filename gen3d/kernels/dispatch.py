"""Which kernels compute an operation: chosen by where its tensors are, from one table.

Float32 tensors on the CPU go to the C++ kernels; those on CUDA to a CUDA library that is installed and works, or to
kernels in Triton; all others to PyTorch's formulas, which take any device and dtype. A library can be imported and
still fail at its first call (without a compiler for its extension, on a GPU that it was not built for), so each is
tried before it is trusted.

A new kernel is a module with the functions of its operation and one line in `OPERATIONS`.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError
from gen3d.kernels.cpu import library as native

logger = logging.getLogger(__name__)

Trouble = Callable[[Sequence[Tensor]], str | None]
"""What keeps kernels from taking these tensors, in a few words, or None: quickly answered, and without an exception."""

HASH_FEATURES = (1, 2, 4, 8)
"""Features of a level that the C++ kernels of hash grids are compiled for."""


@dataclass(frozen=True)
class Backend:
    """One way to compute an operation. name: what `backend=` arguments call it. module: where its functions are."""

    name: str
    module: str
    trouble: Trouble

    def usable(self, tensors: Sequence[Tensor]) -> bool:
        """Whether the kernels take these tensors."""
        return self.trouble(tensors) is None

    def load(self) -> ModuleType:
        """The module, imported when it is first asked for. Raises UsageError where a package that it needs is not
        installed.
        """
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"The backend '{self.name}' needs the package '{error.name}': install it, or use the backend 'auto'."
            ) from error


def on_cpu(tensors: Sequence[Tensor]) -> str | None:
    """What keeps the C++ kernels, which read float32 by pointers, from taking these tensors."""
    if any(tensor.device.type != "cpu" for tensor in tensors):
        return "takes CPU tensors only"
    if any(tensor.dtype != torch.float32 for tensor in tensors):
        return "takes float32 only"
    return "not compiled" if native.library() is None else None


def hash_on_cpu(tensors: Sequence[Tensor]) -> str | None:
    """What keeps the C++ kernels of hash grids from taking points [N, 3] and a table [L, T, F]."""
    if tensors[1].shape[2] not in HASH_FEATURES:
        return f"takes {', '.join(map(str, HASH_FEATURES))} features only"
    return on_cpu(tensors)


def anywhere(tensors: Sequence[Tensor]) -> None:
    """Nothing keeps PyTorch's formulas from taking tensors."""
    return None


def by_cuda(module: str) -> Trouble:
    """The question what keeps a CUDA library behind `module` from taking tensors. The module has a function `probe`
    beside those of its operation.
    """

    def trouble(tensors: Sequence[Tensor]) -> str | None:
        if not all(tensor.is_cuda for tensor in tensors):
            return "takes CUDA tensors only"
        if any(tensor.dtype != torch.float32 for tensor in tensors):
            return "takes float32 only"
        return defect(module, tensors[0].device)

    return trouble


@lru_cache(maxsize=64)
def defect(module: str, device: torch.device) -> str | None:
    """What keeps the library behind `module` from computing on `device`, in a few words: asked once, by a tiny real
    call. None where it works. Never raises.
    """
    try:
        # Compiled kernels read memory by its address: what has none is no place for them.
        torch.zeros(1, device=device).data_ptr()
        with torch.enable_grad():
            importlib.import_module(module).probe(device)
    except Exception as error:  # a missing package, compiler, driver or architecture: each library has its own kinds
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        logger.info("%s does not work on %s (%s: %s).", module, device, type(error).__name__, reason)
        missing = error.__cause__ or error
        if isinstance(missing, ModuleNotFoundError):
            package = (missing.name or "").partition(".")[0]
            return "not installed" if package in module.split(".") else f"needs the package {package}"
        kind = "" if isinstance(error, Gen3DError) else f"{type(error).__name__}: "
        return f"probe failed: {kind}{reason[:300]}"
    return None


def _torch(module: str) -> Backend:
    return Backend("torch", f"gen3d.kernels.reference.{module}", anywhere)


def _native(module: str, trouble: Trouble = on_cpu) -> Backend:
    return Backend("native", f"gen3d.kernels.cpu.{module}", trouble)


def _cuda(name: str) -> Backend:
    return Backend(name, f"gen3d.kernels.{name}", by_cuda(f"gen3d.kernels.{name}"))


def _triton(module: str) -> Backend:
    return Backend("triton", f"gen3d.kernels.triton.{module}", by_cuda(f"gen3d.kernels.triton.{module}"))


OPERATIONS: dict[str, tuple[Backend, ...]] = {
    "splat": (_native("splats"), _cuda("gsplat"), _triton("splats"), _torch("splats")),
    "surface": (_native("surface"), _cuda("nvdiffrast"), _triton("surface"), _torch("surface")),
    # kaolin tests every triangle at every pixel: the kernels in Triton stand before it.
    "raster": (_native("mesh"), _triton("mesh"), _cuda("kaolin"), _torch("mesh")),
    "composite": (_native("volume"), _cuda("nerfacc"), _triton("volume_composite"), _torch("volume")),
    "march": (_native("volume"), _triton("volume_march"), _torch("volume")),
    "lattice": (_native("volume"), _triton("volume_lattice"), _torch("volume")),
    "hash": (_native("volume", hash_on_cpu), _triton("volume_hash"), _torch("volume")),
}
"""The backends of each operation, the preferred ones first; the last one takes everything.

splat: rasterising Gaussians. surface: interpolating, shading and antialiasing what is seen of a mesh, with gradients.
raster: which triangle each pixel sees. composite: blending samples along rays. march: placing them in occupied cells.
lattice: interpolating dense grids and planes. hash: interpolating hash grids.
"""


_forced: ContextVar[tuple[str, str] | None] = ContextVar("_forced", default=None)
"""The backend that `forcing` names, and the type of the device that it is for."""


def choose(operation: str, *tensors: Tensor, backend: str = "auto") -> Backend:
    """The backend that computes `operation` for these tensors. backend: a name forces that one, which then refuses
    tensors that it cannot take; "auto" takes the one that `forcing` names, or the first that can.

    Raises UsageError for a name that the operation does not have.
    """
    backends = OPERATIONS[operation]
    if backend == "auto":
        wanted = [one for one in backends if _is_forced(one.name, tensors)]
        return wanted[0] if wanted else next(one for one in backends if one.usable(tensors))
    for one in backends:
        if one.name == backend:
            return one
    *names, last = [one.name for one in backends]
    raise UsageError(f"The {operation} backend {backend!r} is unknown; use auto, {', '.join(names)} or {last}.")


def kernels(operation: str, *tensors: Tensor, backend: str = "auto") -> ModuleType:
    """The module with the functions of `operation` for these tensors; arguments and errors as of `choose`."""
    return choose(operation, *tensors, backend=backend).load()


def _is_forced(name: str, tensors: Sequence[Tensor]) -> bool:
    forced = _forced.get()
    if forced is None or name != forced[0]:
        return False
    return all(tensor.device.type == forced[1] and tensor.dtype == torch.float32 for tensor in tensors)


@contextmanager
def forcing(name: str, device: torch.device) -> Iterator[None]:
    """Within it, `auto` means the backend `name` for float32 tensors on devices of that type, of all operations that
    have it, in this thread; "auto" forces nothing. Use `check_forced` before.
    """
    before = _forced.get()
    _forced.set(None if name == "auto" else (name, device.type))
    try:
        yield
    finally:
        _forced.set(before)


def check_forced(name: str, device: torch.device) -> list[str]:
    """The operations that have no backend `name`, and are left to choose their own. Raises UsageError where one that
    has it cannot compute by it on `device`.
    """
    if name == "auto":
        return []
    one = torch.zeros(1, 1, 1, device=device)
    without = []
    for operation, backends in OPERATIONS.items():
        found = next((backend for backend in backends if backend.name == name), None)
        if found is None:
            without.append(operation)
            continue
        by_library = name not in ("native", "torch")
        trouble = defect(found.module, device) if by_library else found.trouble((one, one))
        if trouble is not None and by_library and device.type != "cuda":
            raise UsageError(
                f"'kernels.backend' is '{name}', which computes on CUDA and cannot compute on {device}: leave it at "
                "'auto', or use --device cuda."
            )
        if trouble is not None:
            raise UsageError(
                f"'kernels.backend' is '{name}', which cannot compute the operation '{operation}' on {device} "
                f"({trouble}): use another device or backend, or 'auto'."
            )
    return without


def troubles(operation: str, device: torch.device | str) -> dict[str, str | None]:
    """What keeps each backend of an operation from taking float32 tensors on `device`, the preferred ones first; the
    first with None is taken, and those after it are asked on the CPU alone, where no library is tried for it.
    """
    one = torch.zeros(1, 1, 1, device=device)
    found: dict[str, str | None] = {}
    for backend in OPERATIONS[operation]:
        found[backend.name] = backend.trouble((one, one))
        if one.is_cuda and found[backend.name] is None:
            break
    return found
