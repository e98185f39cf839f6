"""Compiles Triton's kernels for a GPU that is not there: their functions are called, and each launch becomes a build.

A process in which Triton's interpreter is switched on cannot do it, so that the tests run this module as a script and
read the lines that it prints: one for each kernel and kind of arguments, with the size of its machine code.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime import JITFunction

from gen3d.kernels.triton import checks, volume_composite, volume_hash, volume_lattice, volume_march

TARGET = GPUTarget("cuda", 90, 32)  # an H100
POINTERS = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64", torch.uint8: "*u8",
    torch.bool: "*i1", torch.int8: "*i8", torch.int16: "*i16",
}  # fmt: skip
OPTIONS = ("num_warps", "num_stages")


@contextmanager
def compiling() -> Iterator[dict[str, int]]:
    """Within it, kernels that are launched with CPU tensors are compiled instead, and tensors stay as they are.

    Gives the bytes of machine code by the kernel's name and what it was specialised for.
    """
    found: dict[str, int] = {}

    def build(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
        values = inspect.signature(kernel.fn).bind(*args, **kwargs)
        values.apply_defaults()
        signature: dict[str, str] = {}
        constants: dict[str, Any] = {}
        attributes: dict[tuple[int, ...], list[list[object]]] = {}
        for position, (parameter, value) in enumerate(zip(kernel.params, values.arguments.values(), strict=True)):
            if isinstance(value, torch.Tensor):
                signature[parameter.name] = POINTERS[value.dtype]
                attributes[position,] = [["tt.divisibility", 16]]  # as of all memory that PyTorch hands out
            elif parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
                signature[parameter.name] = "constexpr"
                constants[parameter.name] = value
            elif isinstance(value, int):
                signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            else:
                signature[parameter.name] = "fp32"
        name = f"{kernel.fn.__module__}.{kernel.fn.__name__} {signature} {constants} {options}"
        if name not in found:
            source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
            found[name] = len(triton.compile(source, target=TARGET, options=options).asm["cubin"])

    run, interpreted = JITFunction.run, checks.INTERPRETED
    JITFunction.run, checks.INTERPRETED = build, True
    try:
        yield found
    finally:
        JITFunction.run, checks.INTERPRETED = run, interpreted


def volume_probes() -> None:
    """Calls every kernel of volumes once or twice."""
    for module in (volume_composite, volume_hash, volume_lattice, volume_march):
        module.probe(torch.device("cpu"))


def volumes() -> None:
    """Calls every kernel of volumes, with sizes that are 1 and sizes that are not."""
    volume_march.probe(torch.device("cpu"))
    points, offsets = torch.zeros(40, 3), torch.tensor([0, 17, 40])
    for channels in (1, 3, 40):
        for is_alpha in (False, True):
            opacity, values = (torch.zeros(40, *shape, requires_grad=True) for shape in ((), (channels,)))
            sum(part.sum() for part in volume_composite.composite(opacity, values, offsets, is_alpha)).backward()
    outputs = torch.zeros(40, 4, requires_grad=True)
    blended = volume_composite.composite_field(outputs, points[:, 0], points[:, 1], offsets, 2.0, 5.0)
    sum(part.sum() for part in blended).backward()
    for features in (1, 2, 4, 8):
        for rows, cells in ((1, (3,)), (500, (3, 20)), (512, (3, 20))):
            table = torch.zeros(len(cells), rows, features, requires_grad=True)
            volume_hash.hash_encode(points.requires_grad_(), table, cells).sum().backward()
            sum(part.sum() for part in volume_hash.hash_encode_jacobian(points, table, cells)).backward()
    for channels in (1, 4, 32, 100):
        for size in ((1, 1, 1), (5, 6, 7)):
            grid = torch.zeros(channels, *size, requires_grad=True)
            planes = torch.zeros(3, channels, *size[1:], requires_grad=True)
            (volume_lattice.grid_encode(points, grid).sum()).backward()
            (volume_lattice.triplane_encode(points, planes).sum()).backward()


KERNELS: dict[str, Callable[[], None]] = {"volume probes": volume_probes, "volumes": volumes}

if __name__ == "__main__":
    with compiling() as built:
        KERNELS[sys.argv[1]]()
    for name, size in built.items():
        sys.stdout.write(f"{size} {name}\n")
