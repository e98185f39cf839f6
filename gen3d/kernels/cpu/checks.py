"""What the C++ kernels have to be told truthfully: types, shapes, and indices that stay inside what they point into.

The kernels take any numbers in their tensors, NaN and infinities included, but read and write by the sizes and indices
that they are given. Their callers check these here. A check costs a look at the shapes, or at the extremes of integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError
from gen3d.kernels.reference.surface import Views

MAX_COUNT = 2**31 - 1
"""The most items of one call: the kernels count in 32 bits."""

MAX_SIDE = 2**20
"""Texels or cells along an axis: float32 still tells their positions apart, and an int64 counts a cube of them."""

SHORTEST_STEP = 1e-6
"""The shortest step of a march through the cube, in world units; the marks of shorter ones would take gigabytes."""


def room(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uninitialised memory for results, whatever PyTorch's default dtype and device are at the moment."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def require(met: bool, sentence: str) -> None:
    """Raises UsageError with the sentence where something is not met."""
    if not met:
        raise UsageError(sentence)


def check_float32(kind: str, remedy: str, *tensors: Tensor) -> None:
    """Raises UsageError for tensors that are not float32 on the CPU.

    kind: names the kernels in the message. remedy: what else takes these tensors.
    """
    for tensor in tensors:
        require(
            tensor.device.type == "cpu" and tensor.dtype == torch.float32,
            f"The native {kind} kernels take float32 tensors on the CPU, not {tensor.dtype} on {tensor.device}; "
            f"{remedy}.",
        )


def check_count(count: int, what: str) -> None:
    """Raises Gen3DError where the kernels cannot count so many."""
    if count > MAX_COUNT:
        raise Gen3DError(f"{count} {what} are too many for one call; render smaller images or fewer views.")


def check_shape(name: str, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raises UsageError for a tensor of another shape, in which None stands for any size."""
    fits = tensor.ndim == len(shape) and all(
        size is None or size == found for size, found in zip(shape, tensor.shape, strict=True)
    )
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    require(fits, f"The {name} have the shape {tuple(tensor.shape)}; [{wanted}] was expected.")


def check_memory(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    """Raises UsageError for a tensor that cannot be read as it lies."""
    check_shape(name, tensor, shape)
    require(
        tensor.dtype == dtype and tensor.device.type == "cpu" and tensor.is_contiguous(),
        f"The {name} have to be {dtype}, contiguous and on the CPU, not {tensor.dtype} on {tensor.device} with the "
        f"strides {tensor.stride()}.",
    )


def check_indices(name: str, indices: Tensor, count: int, lowest: int = 0) -> None:
    """Raises UsageError for integers that do not lie in lowest..count - 1."""
    check_integers(name, indices)
    if not indices.numel():
        return
    low, high = (int(extreme) for extreme in indices.aminmax())
    require(
        lowest <= low and high < count,
        f"The {name} go from {low} to {high}, but have to be {lowest} or more and less than {count}.",
    )


def check_integers(name: str, tensor: Tensor) -> None:
    whole = tensor.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    require(
        whole and tensor.device.type == "cpu",
        f"The {name} have to be integers on the CPU, not {tensor.dtype} on {tensor.device}.",
    )


def check_hash_grid(
    points: Tensor, table: Tensor, resolutions: tuple[int, ...], features: tuple[int, ...] | range
) -> None:
    """Raises UsageError for what is no hash grid. features: how many a level may have."""
    check_shape("points", points, (None, 3))
    check_shape("rows of the hash table", table, (len(resolutions), None, None))
    rows, width = table.shape[1:]
    allowed = f"1 to {max(features)}" if isinstance(features, range) else ", ".join(map(str, features))
    require(
        1 <= rows <= MAX_COUNT and width in features,
        f"A level of a hash grid has at least one row of {allowed} features, not {rows} of {width}.",
    )
    for cells in resolutions:
        require(1 <= cells <= MAX_SIDE, f"A level of a hash grid has 1 to {MAX_SIDE} cells a side, not {cells}.")


def check_lattice(points: Tensor, lattice: Tensor) -> None:
    """Raises UsageError for a lattice that is neither three planes [3, C, H, W] nor one grid [1, C, D, H, W]."""
    check_shape("points", points, (None, 3))
    shape = tuple(lattice.shape)
    require(
        (lattice.ndim, shape[0]) in ((4, 3), (5, 1)),
        f"A lattice has the shape [3, C, H, W] of planes or [1, C, D, H, W] of a grid, not {shape}.",
    )
    sizes = shape[2:]
    require(
        all(1 <= size <= MAX_SIDE for size in sizes) and math.prod(sizes) <= MAX_COUNT,
        f"A lattice has 1 to {MAX_SIDE} texels along each axis and at most {MAX_COUNT} in all, not {sizes}.",
    )


def check_offsets(name: str, offsets: Tensor, count: int) -> None:
    """Raises UsageError unless offsets [R + 1] share all of `count` items out to R owners, one after another."""
    check_integers(name, offsets)
    require(
        offsets.ndim == 1 and len(offsets) > 0,
        f"The {name} have the shape {tuple(offsets.shape)}; one number more than owners was expected.",
    )
    first, last = int(offsets[0]), int(offsets[-1])
    require(
        (first, last) == (0, count) and not bool((offsets[1:] < offsets[:-1]).any()),
        f"The {name} have to ascend from 0 to {count}; these go from {first} to {last}, or fall in between.",
    )


def check_march(
    origins: Tensor, directions: Tensor, occupied: Tensor, coarse: Tensor, step: float, jitter: Tensor
) -> None:
    """Whether rays and the cells that they cross fit together, and lie on one device."""
    check_shape("origins of the rays", origins, (None, 3))
    check_shape("directions of the rays", directions, (len(origins), 3))
    check_shape("shifts of the rays", jitter, (len(origins),))
    for cells in (occupied, coarse):
        require(
            cells.dtype == torch.bool and cells.device == origins.device,
            f"Occupied cells are boolean and on the device of the rays, not {cells.dtype} on {cells.device}.",
        )
        check_shape("occupied cells", cells, (len(cells),) * 3)
    sides = len(occupied), len(coarse)
    require(
        0 < sides[1] <= sides[0] <= MAX_SIDE and sides[0] % sides[1] == 0,
        f"A side of {sides[0]} fine cells cannot be divided into {sides[1]} coarse ones.",
    )
    require(SHORTEST_STEP <= step < math.inf, f"A march takes steps of {SHORTEST_STEP} or longer, not {step}.")


Shape = tuple[int | None, ...]
"""The sizes of a tensor, None for those that may be any."""


def check_gaussians(parameters: Sequence[Tensor], views: int, screen_grads: Tensor, views_seen: Tensor) -> None:
    """Raises UsageError unless what describes Gaussians has the shapes that `reference.splats.rasterize` states.

    parameters: means, quaternions, scales, opacities and colours.
    """
    means, quats, scales, opacities, colors = parameters
    n = len(means)
    shapes: dict[str, tuple[Tensor, Shape]] = {
        "means": (means, (n, 3)),
        "quaternions": (quats, (n, 4)),
        "scales": (scales, (n, 3)),
        "opacities": (opacities, (n,)),
        "colours": (colors, (n, 3) if colors.ndim == 2 else (views, n, 3)),
        "gradients on the image": (screen_grads, (n,)),
        "counts of views": (views_seen, (n,)),
    }
    for name, (tensor, shape) in shapes.items():
        check_shape(f"Gaussians' {name}", tensor, shape)


def layout_of(views: Views) -> dict[str, tuple[Tensor, torch.dtype, Shape]]:
    """The tensors of views by name, each with the type and the shape that `Views` states. The faces that pixels see
    must have three dimensions.
    """
    count, height, width = views.face.shape
    return {
        "faces": (views.faces, torch.int32, (None, 3)),
        "edges": (views.edges, torch.int32, (None, 4)),
        "starts of the vertices' corners": (views.corner_starts, torch.int32, (None,)),
        "corners of the vertices": (views.corners, torch.int32, (3 * len(views.faces),)),
        "projections": (views.projections, torch.float64, (count, 3, 4)),
        "faces that pixels see": (views.face, torch.int32, (count, height, width)),
        "depths": (views.depth, torch.float32, (count, height, width)),
        "barycentrics": (views.bary, torch.float32, (count, height, width, 3)),
        "pixels": (views.pixels, torch.int64, (None,)),
    }


def check_views(views: Views) -> None:
    """Raises UsageError unless views have the types and shapes that `Views` states, and indices in their ranges."""
    check_integers("faces that pixels see", views.face)
    check_shape("faces that pixels see", views.face, (None, None, None))
    triangles, corners = len(views.faces), 3 * len(views.faces)
    for name, (tensor, dtype, shape) in layout_of(views).items():
        check_memory(name, tensor, dtype, shape)
    check_count(views.face.numel(), "pixels")
    check_count(max(corners, 2 * len(views.edges)), "corners or edges")
    vertices = len(views.corner_starts) - 1
    check_indices("faces", views.faces, vertices)
    check_indices("edges", views.edges, vertices, lowest=-1)  # -1 where there is no other triangle
    check_offsets("starts of the vertices' corners", views.corner_starts, corners)
    check_indices("corners of the vertices", views.corners, corners)
    check_indices("pixels", views.pixels, views.face.numel())
    check_indices("faces that pixels see", views.face.view(-1).index_select(0, views.pixels), triangles)
