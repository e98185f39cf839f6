"""Which kernels compute an operation: chosen by where its tensors are, from one table.

Float32 tensors on the CPU go to the C++ kernels; those on CUDA to a CUDA library that is installed and works; all
others to PyTorch's formulas, which take any device and dtype. A library can be imported and still fail at its first
call (without a compiler for its extension, on a GPU that it was not built for), so each is tried before it is trusted.

A new kernel is a module with the functions of its operation and one line in `OPERATIONS`.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.kernels.cpu import library as native

logger = logging.getLogger(__name__)

Usable = Callable[[Sequence[Tensor]], bool]
"""Whether kernels can take these tensors: quickly answered, and without an exception."""

HASH_FEATURES = (1, 2, 4, 8)
"""Features of a level that the C++ kernels of hash grids are compiled for."""


@dataclass(frozen=True)
class Backend:
    """One way to compute an operation. name: what `backend=` arguments call it. module: where its functions are."""

    name: str
    module: str
    usable: Usable

    def load(self) -> ModuleType:
        """The module, imported when it is first asked for."""
        return importlib.import_module(self.module)


def on_cpu(tensors: Sequence[Tensor]) -> bool:
    """Whether the C++ kernels, which read float32 by pointers, take these tensors."""
    fits = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    return fits and native.library() is not None


def hash_on_cpu(tensors: Sequence[Tensor]) -> bool:
    """Whether the C++ kernels of hash grids take these tensors: points [N, 3] and a table [L, T, F]."""
    return tensors[1].shape[2] in HASH_FEATURES and on_cpu(tensors)


def anywhere(tensors: Sequence[Tensor]) -> bool:
    """Whether PyTorch's formulas take these tensors: they take any."""
    return True


def by_cuda(module: str) -> Usable:
    """The test whether tensors are for a CUDA library behind `module`, which has a function `probe` beside those of its
    operation.
    """

    def usable(tensors: Sequence[Tensor]) -> bool:
        fits = all(tensor.is_cuda and tensor.dtype == torch.float32 for tensor in tensors)
        return fits and works(module, tensors[0].device)

    return usable


@lru_cache(maxsize=64)
def works(module: str, device: torch.device) -> bool:
    """Whether the library behind `module` computes on `device`: asked once, by a tiny real call. Never raises."""
    try:
        # Compiled kernels read memory by its address: what has none is no place for them.
        torch.zeros(1, device=device).data_ptr()
        with torch.enable_grad():
            importlib.import_module(module).probe(device)
    except Exception as error:  # a missing package, compiler, driver or architecture: each library has its own kinds
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        logger.info("%s does not work on %s (%s: %s).", module, device, type(error).__name__, reason)
        return False
    return True


def _torch(module: str) -> Backend:
    return Backend("torch", f"gen3d.kernels.reference.{module}", anywhere)


def _native(module: str, usable: Usable = on_cpu) -> Backend:
    return Backend("native", f"gen3d.kernels.cpu.{module}", usable)


def _cuda(name: str) -> Backend:
    return Backend(name, f"gen3d.kernels.{name}", by_cuda(f"gen3d.kernels.{name}"))


def _triton(module: str) -> Backend:
    return Backend("triton", f"gen3d.kernels.triton.{module}", by_cuda(f"gen3d.kernels.triton.{module}"))


OPERATIONS: dict[str, tuple[Backend, ...]] = {
    "splat": (_native("splats"), _cuda("gsplat"), _torch("splats")),
    "surface": (_native("surface"), _cuda("nvdiffrast"), _torch("surface")),
    "raster": (_native("mesh"), _torch("mesh")),
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


def choose(operation: str, *tensors: Tensor, backend: str = "auto") -> Backend:
    """The backend that computes `operation` for these tensors. backend: a name forces that one, which then refuses
    tensors that it cannot take; "auto" takes the first that can.

    Raises UsageError for a name that the operation does not have.
    """
    backends = OPERATIONS[operation]
    if backend == "auto":
        return next(one for one in backends if one.usable(tensors))
    for one in backends:
        if one.name == backend:
            return one
    *names, last = [one.name for one in backends]
    raise UsageError(f"The {operation} backend {backend!r} is unknown; use auto, {', '.join(names)} or {last}.")


def kernels(operation: str, *tensors: Tensor, backend: str = "auto") -> ModuleType:
    """The module with the functions of `operation` for these tensors; arguments and errors as of `choose`."""
    return choose(operation, *tensors, backend=backend).load()


def backends_on(device: torch.device | str) -> dict[str, list[str]]:
    """The names of each operation's backends that work for float32 tensors on `device`; the first is taken."""
    one = torch.zeros(1, 1, 1, device=device)
    return {name: [each.name for each in backends if each.usable((one, one))] for name, backends in OPERATIONS.items()}
