"""The C++ kernels of volume rendering for float32 on the CPU, differentiable once, as `kernels.reference.volume` states
them.

NaN in gives NaN out, as in PyTorch; infinite coordinates take the values at the border; rays that are not finite miss
the cube. What has other sizes than it should raises UsageError.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gen3d.errors import Gen3DError, UsageError
from gen3d.kernels.cpu import checks
from gen3d.kernels.cpu import library as native
from gen3d.kernels.cpu.checks import room
from gen3d.kernels.dispatch import HASH_FEATURES

_MAX_MARKS = 2**29  # words of 64 steps, for all rays of a call: 4 GB


def hash_encode(points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> Tensor:
    """Encodes points as `rendering.encodings.hash_encode` says."""
    return _HashEncode.apply(points, table, resolutions)


def hash_encode_jacobian(points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Encodes points as `rendering.encodings.hash_encode_jacobian` says; differentiable in the table alone."""
    return _HashEncodeJacobian.apply(points.detach(), table, resolutions)


def triplane_encode(points: Tensor, planes: Tensor) -> Tensor:
    """Encodes points as `rendering.encodings.triplane_encode` says."""
    return _LatticeEncode.apply(points, planes)


def grid_encode(points: Tensor, grid: Tensor) -> Tensor:
    """Encodes points as `rendering.encodings.grid_encode` says."""
    return _LatticeEncode.apply(points, grid[None])


def composite(opacity: Tensor, values: Tensor, offsets: Tensor, is_alpha: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Blends samples as `rendering.volume.composite` says."""
    return _Composite.apply(opacity, values, offsets, is_alpha)


def composite_field(
    outputs: Tensor, t: Tensor, delta: Tensor, offsets: Tensor, gain: float, density: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Blends samples as `rendering.volume.composite_field` says."""
    return _CompositeField.apply(outputs, t, delta, offsets, gain, density)


def march(
    origins: Tensor, directions: Tensor, occupied: Tensor, coarse: Tensor, step: float, jitter: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Positions [N, 3], t [N], delta [N], ray [N] and offsets [R + 1] of the samples in occupied cells.

    occupied: [S, S, S] and coarse: bool, z first. The other arguments are those of `kernels.reference.volume.march`.
    """
    _check(origins, directions, jitter)
    checks.check_march(origins, directions, occupied, coarse, step, jitter)
    origins, directions, jitter = (tensor.contiguous() for tensor in (origins, directions, jitter))
    occupied, coarse = occupied.contiguous(), coarse.contiguous()
    rays, threads = len(origins), torch.get_num_threads()
    words = int(12**0.5 / step) // 64 + 1  # the diagonal of the cube is the longest way through it
    if rays * words > _MAX_MARKS:
        raise Gen3DError(f"{rays} rays in steps of {step:.3g} are too many for one call; take longer steps.")
    hits = room(rays, words, dtype=torch.int64)
    counts = room(rays, dtype=torch.int64)
    common = (rays, origins.data_ptr(), directions.data_ptr(), jitter.data_ptr(), step)
    _library().gen3d_volume_march(
        *common, occupied.data_ptr(), len(occupied), coarse.data_ptr(), len(coarse), words, hits.data_ptr(),
        counts.data_ptr(), threads,
    )  # fmt: skip
    offsets = torch.zeros(rays + 1, dtype=torch.int64, device="cpu")
    torch.cumsum(counts, 0, out=offsets[1:])
    samples = int(offsets[-1])
    checks.check_count(samples, "samples")
    positions, t, delta = room(samples, 3), room(samples), room(samples)
    ray = room(samples, dtype=torch.int64)
    _library().gen3d_volume_samples(
        *common, words, hits.data_ptr(), offsets.data_ptr(), positions.data_ptr(), t.data_ptr(), delta.data_ptr(),
        ray.data_ptr(), threads,
    )  # fmt: skip
    return positions, t, delta, ray, offsets


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> Tensor:
        ctx.grid = _HashGrid(points, table, resolutions)
        ctx.save_for_backward(points, table)
        return ctx.grid.encode(points, table)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> tuple[Tensor | None, ...]:
        points, table = ctx.saved_tensors
        out_grad = out_grad.contiguous()
        points_grad = ctx.grid.points_grad(points, table, out_grad) if ctx.needs_input_grad[0] else None
        table_grad = ctx.grid.table_grad(points, out_grad, None) if ctx.needs_input_grad[1] else None
        return points_grad, table_grad, None


class _HashEncodeJacobian(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        ctx.grid = _HashGrid(points, table, resolutions)
        ctx.save_for_backward(points)
        return ctx.grid.encode(points, table, jacobian=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor, jacobian_grad: Tensor) -> tuple[Tensor | None, ...]:
        (points,) = ctx.saved_tensors
        return None, ctx.grid.table_grad(points, out_grad.contiguous(), jacobian_grad.contiguous()), None


class _HashGrid:
    """The shape of a hash grid, and its kernels."""

    def __init__(self, points: Tensor, table: Tensor, resolutions: tuple[int, ...]) -> None:
        _check(points, table)
        checks.check_hash_grid(points, table, resolutions, HASH_FEATURES)
        self.shape, self.threads = table.shape, torch.get_num_threads()
        self.resolutions = torch.tensor(resolutions, dtype=torch.int32, device="cpu")

    def encode(self, points: Tensor, table: Tensor, jacobian: bool = False) -> tuple[Tensor, Tensor | None]:
        levels, rows, features = self.shape
        points, table = points.contiguous(), table.contiguous()
        out = room(len(points), levels * features)
        slopes = room(len(points), levels * features, 3) if jacobian else None
        _library().gen3d_volume_hash(
            len(points), points.data_ptr(), table.data_ptr(), levels, rows, features, self.resolutions.data_ptr(),
            out.data_ptr(), _pointer(slopes), self.threads,
        )  # fmt: skip
        return out, slopes

    def table_grad(self, points: Tensor, out_grad: Tensor, jacobian_grad: Tensor | None) -> Tensor:
        points, grad = points.contiguous(), room(*self.shape)
        _library().gen3d_volume_hash_table_backward(
            len(points), points.data_ptr(), *self.shape, self.resolutions.data_ptr(), out_grad.data_ptr(),
            _pointer(jacobian_grad), grad.data_ptr(), self.threads,
        )  # fmt: skip
        return grad

    def points_grad(self, points: Tensor, table: Tensor, out_grad: Tensor) -> Tensor:
        points, table = points.contiguous(), table.contiguous()
        grad = torch.empty_like(points)
        _library().gen3d_volume_hash_points_backward(
            len(points), points.data_ptr(), table.data_ptr(), *self.shape, self.resolutions.data_ptr(),
            out_grad.data_ptr(), grad.data_ptr(), self.threads,
        )  # fmt: skip
        return grad


class _LatticeEncode(torch.autograd.Function):
    """Features of three planes [3, C, H, W] or one grid [1, C, D, H, W]; the kernels take the channels last."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, lattice: Tensor) -> Tensor:
        _check(points, lattice)
        checks.check_lattice(points, lattice)
        points, values = points.contiguous(), lattice.movedim(1, -1).contiguous()
        ctx.save_for_backward(points, values)
        ctx.threads = torch.get_num_threads()
        out = room(len(points), len(values) * values.shape[-1])
        _library().gen3d_volume_lattice(
            len(points), points.data_ptr(), values.data_ptr(), *_sizes(values), out.data_ptr(), ctx.threads
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: Tensor) -> tuple[Tensor | None, ...]:
        points, values = ctx.saved_tensors
        out_grad = out_grad.contiguous()
        points_grad = torch.empty_like(points) if ctx.needs_input_grad[0] else None
        values_grad = torch.zeros_like(values) if ctx.needs_input_grad[1] else None
        _library().gen3d_volume_lattice_backward(
            len(points), points.data_ptr(), values.data_ptr(), *_sizes(values), out_grad.data_ptr(),
            _pointer(values_grad), _pointer(points_grad), ctx.threads,
        )  # fmt: skip
        return points_grad, None if values_grad is None else values_grad.movedim(-1, 1)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, opacity: Tensor, values: Tensor, offsets: Tensor, is_alpha: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        _check(opacity, values)
        checks.check_shape("opacities of the samples", opacity, (None,))
        checks.check_shape("values of the samples", values, (len(opacity), None))
        checks.check_offsets("offsets of the samples", offsets, len(opacity))
        opacity, values, offsets = opacity.contiguous(), values.contiguous(), offsets.long().contiguous()
        rays, channels = len(offsets) - 1, values.shape[1]
        out, alpha, weights = room(rays, channels), room(rays), torch.empty_like(opacity)
        ctx.save_for_backward(opacity, values, offsets)
        ctx.set_materialize_grads(False)
        ctx.is_alpha, ctx.threads = is_alpha, torch.get_num_threads()
        _library().gen3d_volume_composite(
            rays, offsets.data_ptr(), opacity.data_ptr(), is_alpha, values.data_ptr(), channels, out.data_ptr(),
            alpha.data_ptr(), weights.data_ptr(), ctx.threads,
        )  # fmt: skip
        return out, alpha, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        opacity, values, offsets = ctx.saved_tensors
        out_grad, alpha_grad, weights_grad = (None if grad is None else grad.contiguous() for grad in grads)
        if out_grad is None:
            out_grad = values.new_zeros(len(offsets) - 1, values.shape[1])
        opacity_grad, values_grad = torch.empty_like(opacity), torch.empty_like(values)
        _library().gen3d_volume_composite_backward(
            len(offsets) - 1, offsets.data_ptr(), opacity.data_ptr(), ctx.is_alpha, values.data_ptr(),
            values.shape[1], out_grad.data_ptr(), _pointer(alpha_grad), _pointer(weights_grad),
            opacity_grad.data_ptr(), values_grad.data_ptr(), ctx.threads,
        )  # fmt: skip
        return opacity_grad, values_grad, None, None


class _CompositeField(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, t: Tensor, delta: Tensor, offsets: Tensor, gain: float, density: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        _check(outputs, t, delta)
        checks.check_shape("outputs of the field", outputs, (None, 4))
        for name, numbers in (("distances", t), ("lengths", delta)):
            checks.check_shape(f"{name} of the samples", numbers, (len(outputs),))
        checks.check_offsets("offsets of the samples", offsets, len(outputs))
        outputs, t, delta, offsets = (tensor.contiguous() for tensor in (outputs, t, delta, offsets.long()))
        rays = len(offsets) - 1
        out, alpha, weights = room(rays, 4), room(rays), room(len(outputs))
        ctx.save_for_backward(outputs, t, delta, offsets)
        ctx.set_materialize_grads(False)
        ctx.activation, ctx.threads = (gain, density), torch.get_num_threads()
        _library().gen3d_volume_field(
            rays, offsets.data_ptr(), outputs.data_ptr(), delta.data_ptr(), t.data_ptr(), gain, density,
            out.data_ptr(), alpha.data_ptr(), weights.data_ptr(), ctx.threads,
        )  # fmt: skip
        return out, alpha, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        outputs, t, delta, offsets = ctx.saved_tensors
        out_grad, alpha_grad, weights_grad = (None if grad is None else grad.contiguous() for grad in grads)
        if out_grad is None:
            out_grad = outputs.new_zeros(len(offsets) - 1, 4)
        outputs_grad = torch.empty_like(outputs)
        _library().gen3d_volume_field_backward(
            len(offsets) - 1, offsets.data_ptr(), outputs.data_ptr(), delta.data_ptr(), t.data_ptr(), *ctx.activation,
            out_grad.data_ptr(), _pointer(alpha_grad), _pointer(weights_grad), outputs_grad.data_ptr(), ctx.threads,
        )  # fmt: skip
        return outputs_grad, None, None, None, None, None


def _check(*tensors: Tensor) -> None:
    checks.check_float32("volume", "pass `reference=True`", *tensors)
    checks.check_count(len(tensors[0]), "samples")


def _sizes(values: Tensor) -> tuple[int, ...]:
    """Depth (0 for planes), height, width and channels of values with the channels last."""
    sizes = tuple(values.shape[1:])
    return sizes if len(sizes) == 4 else (0, *sizes)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    kernels = native.library()
    if kernels is None:
        raise UsageError("The native kernels are not available; pass `reference=True`.")
    pointer, count, size = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    hashed = [size, count, size, pointer]  # levels, rows, features, resolutions
    rays = [count, *[pointer] * 3, ctypes.c_float]  # rays, origins, directions, jitter, step
    signatures: dict[str, list[type]] = {
        "hash": [count, pointer, pointer, *hashed, pointer, pointer, size],
        "hash_table_backward": [count, pointer, *hashed, *[pointer] * 3, size],
        "hash_points_backward": [count, pointer, pointer, *hashed, *[pointer] * 2, size],
        "lattice": [count, *[pointer] * 2, *[size] * 4, pointer, size],
        "lattice_backward": [count, *[pointer] * 2, *[size] * 4, *[pointer] * 3, size],
        "composite": [count, *[pointer] * 2, size, pointer, size, *[pointer] * 3, size],
        "composite_backward": [count, *[pointer] * 2, size, pointer, size, *[pointer] * 5, size],
        "field": [count, *[pointer] * 4, ctypes.c_float, ctypes.c_float, *[pointer] * 3, size],
        "field_backward": [count, *[pointer] * 4, ctypes.c_float, ctypes.c_float, *[pointer] * 4, size],
        "march": [*rays, pointer, size, pointer, size, size, pointer, pointer, size],
        "samples": [*rays, size, *[pointer] * 6, size],
    }
    for name, arguments in signatures.items():
        function = getattr(kernels, f"gen3d_volume_{name}")
        function.restype = None
        function.argtypes = arguments
    return kernels
