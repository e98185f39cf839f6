"""What the Triton kernels ask of their tensors, beside what `kernels.cpu.checks` says of shapes and counts.

The kernels compute on CUDA, and in Triton's interpreter on the CPU: slowly, for tests. The interpreter is there where
the environment had TRITON_INTERPRET=1 before Triton was first imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.kernels.cpu.checks import check_count, check_shape, layout_of, require
from gen3d.kernels.reference.surface import Views

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")
"""Whether the kernels of this process are interpreted."""


def check_device(kind: str, *tensors: Tensor, dtype: torch.dtype | None = torch.float32) -> None:
    """Raises UsageError for tensors that the kernels cannot read: of another dtype (None: any will do), on another
    device than the first, or on a device where they do not run. kind: of kernels, for the message.
    """
    device = tensors[0].device
    if device.type != "cuda" and not (INTERPRETED and device.type == "cpu"):
        raise UsageError(
            f"The Triton {kind} kernels take tensors on CUDA, not on {device}; use the {kind} backend 'auto'."
        )
    for tensor in tensors:
        require(
            tensor.device == device and (dtype is None or tensor.dtype == dtype),
            f"The Triton {kind} kernels take {dtype or 'any'} tensors on one device, not {tensor.dtype} on "
            f"{tensor.device} beside {device}; use the {kind} backend 'auto'.",
        )


def check_ranges(ranges: Sequence[tuple[str, Tensor, int, int]]) -> None:
    """Raises UsageError where integers leave lowest..count - 1. ranges: names, integers, lowest and count. All are
    looked at together: the host waits for the device once.
    """
    some = [entry for entry in ranges if entry[1].numel()]
    if not some:
        return
    extremes = torch.stack([torch.stack(indices.aminmax()).long() for _, indices, _, _ in some]).tolist()
    for (name, _, lowest, count), (low, high) in zip(some, extremes, strict=True):
        require(
            lowest <= low and high < count,
            f"The {name} go from {low} to {high}, but have to be {lowest} or more and less than {count}.",
        )


def check_views(views: Views) -> None:
    """Whether what cameras see of a mesh has the types and shapes that `Views` states, and indices in their ranges."""
    check_shape("faces that pixels see", views.face, (None, None, None))
    corners = 3 * len(views.faces)
    for name, (tensor, dtype, shape) in layout_of(views).items():
        check_shape(name, tensor, shape)
        require(
            tensor.dtype == dtype and tensor.is_contiguous() and tensor.device == views.face.device,
            f"The {name} have to be {dtype}, contiguous and where the faces are, not {tensor.dtype} on "
            f"{tensor.device} with the strides {tensor.stride()}.",
        )
    check_count(2 * views.face.numel(), "pairs of pixels")
    check_count(max(corners, 2 * len(views.edges)), "corners or edges")
    vertices, pixels = len(views.corner_starts) - 1, views.face.numel()
    check_ranges([("pixels", views.pixels, 0, pixels)])
    check_ranges(
        [
            ("faces", views.faces, 0, vertices),
            ("edges", views.edges, -1, vertices),  # -1 where there is no other triangle
            ("faces that pixels see", views.face.view(-1)[views.pixels], 0, len(views.faces)),
        ]
    )
