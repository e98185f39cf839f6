"""The rasteriser of meshes in Triton for CUDA, as `kernels.reference.mesh` states it.

Its images are the same bits from run to run. The host waits once for each group of views, for the number of pairs of a
triangle and a tile.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.kernels.cpu.checks import MAX_COUNT, check_count, check_shape, require
from gen3d.kernels.triton import mesh_raster
from gen3d.kernels.triton.checks import check_device
from gen3d.kernels.triton.launch import launching_on

TILE = 8
"""Pixels along a side of what is looked at together of a triangle: many are no larger."""

PAIRS = 8
"""Of a triangle and a tile, in a program: four warps have four pixels a lane."""

BLOCK = 128
"""Triangles or pixels in a program."""

GROUP = 1 << 22
"""Triangles in views that are drawn together: they take half a gigabyte."""

MAX_VIEWS = 65_535
"""Rows of programs that CUDA launches at once."""

_EMPTY = 2**63 - 1


def rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, width: int, height: int, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rasterises as `kernels.reference.mesh.rasterize` says; vertices float32, faces int32, projections float64, all
    contiguous, on CUDA.

    Faces that name no vertex, or whose corners are not finite on the image, are not drawn. Raises UsageError for other
    tensors.
    """
    views = len(projections)
    expected: dict[str, tuple[Tensor, torch.dtype, tuple[int | None, ...]]] = {
        "vertices": (vertices, torch.float32, (None, 3)),
        "faces": (faces, torch.int32, (None, 3)),
        "projections": (projections, torch.float64, (views, 3, 4)),
    }
    check_device("raster", vertices, faces, projections, dtype=None)
    for name, (tensor, dtype, shape) in expected.items():
        check_shape(name, tensor, shape)
        require(
            tensor.dtype == dtype and tensor.is_contiguous(),
            f"The {name} have to be {dtype} and contiguous, not {tensor.dtype} with the strides {tensor.stride()}.",
        )
    check_count(max(len(vertices), len(faces), width, height), "vertices, faces or pixels along a side")
    device = vertices.device
    face = torch.full((views, height, width), -1, dtype=torch.int32, device=device)
    bary = torch.zeros(views, height, width, 3, dtype=torch.float32, device=device)
    depth = torch.zeros(views, height, width, dtype=torch.float32, device=device)
    if not (face.numel() and len(faces) and len(vertices)):
        return face, bary, depth
    nearest = torch.full((1,), near, dtype=torch.float64, device=device)
    group = min(max(GROUP // len(faces), 1), MAX_VIEWS)
    with launching_on(vertices.device):
        for first in range(0, views, group):
            some = slice(first, first + group)
            _rasterize(vertices, faces, projections[some], nearest, (face[some], bary[some], depth[some]))
    return face, bary, depth


def _rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, near: Tensor, images: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Fills the images of some views."""
    device, count = vertices.device, len(faces)
    views, height, width = images[0].shape
    planes = torch.empty(views * count, mesh_raster.PLANE_FLOATS, dtype=torch.float64, device=device)
    boxes = torch.empty(views * count, 4, dtype=torch.int32, device=device)
    counts = torch.empty(views * count, dtype=torch.int32, device=device)
    mesh_raster.set_up[(triton.cdiv(count, BLOCK), views)](
        vertices, faces, projections, planes, boxes, counts, near, len(vertices), count, width, height,
        TILE=TILE, BLOCK=BLOCK,
    )  # fmt: skip
    totals = counts.cumsum(0, dtype=torch.int64)
    pairs = int(totals[-1])
    if pairs > MAX_COUNT:
        raise Gen3DError(
            f"{count} triangles cover {pairs} tiles of {views} views at {width}x{height} pixels, too many to list; "
            f"render smaller images or fewer triangles."
        )
    if not pairs:
        return
    owners = torch.arange(views * count, dtype=torch.int32, device=device)
    owners = owners.repeat_interleave(counts, output_size=pairs)
    keys = torch.full((views, height, width), _EMPTY, dtype=torch.int64, device=device)
    mesh_raster.cover[(triton.cdiv(pairs, PAIRS),)](
        owners, totals - counts, planes, boxes, keys, near, pairs, count, width, height, TILE=TILE, PAIRS=PAIRS
    )
    mesh_raster.resolve[(triton.cdiv(keys.numel(), BLOCK),)](
        keys, planes, *images, keys.numel(), height * width, count, width, BLOCK=BLOCK
    )


def probe(device: torch.device) -> None:
    """Draws one triangle on `device`; raises whatever Triton raises where it does not work."""
    vertices = torch.tensor([[0.0, 0.0, 1.0], [9.0, 0.0, 1.0], [0.0, 9.0, 1.0]], device=device)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    projections = torch.eye(3, 4, dtype=torch.float64, device=device)[None]
    face, _, _ = rasterize(vertices, faces, projections, 8, 8, 1e-3)
    if int(face[0, 0, 0]) != 0 or int(face[0, 7, 7]) != -1:
        raise RuntimeError("the rasteriser's first triangle came out wrong")
