"""What Triton kernels of meshes share: vertices in the pixels of a camera, and what those mean for them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def homogeneous(vertices, index, projection, some):
    """Pixel coordinates times depth, and depth: float64, of the vertices [V, 3] float32 that `index` names where `some`
    holds. projection: where the matrix [3, 4] float64 of the view begins.
    """
    index = index.to(tl.int64)
    x = tl.load(vertices + 3 * index, mask=some, other=0.0).to(tl.float64)
    y = tl.load(vertices + 3 * index + 1, mask=some, other=0.0).to(tl.float64)
    z = tl.load(vertices + 3 * index + 2, mask=some, other=0.0).to(tl.float64)
    return (
        tl.load(projection) * x + tl.load(projection + 1) * y + tl.load(projection + 2) * z + tl.load(projection + 3),
        tl.load(projection + 4) * x
        + tl.load(projection + 5) * y
        + tl.load(projection + 6) * z
        + tl.load(projection + 7),
        tl.load(projection + 8) * x
        + tl.load(projection + 9) * y
        + tl.load(projection + 10) * z
        + tl.load(projection + 11),
    )


@triton.jit
def add_to_vertex(grads, index, projection, x, y, z, some):
    """Adds to the gradients [V, 3] float64 of vertices those of their pixel coordinates times depth, and depth."""
    grad = grads + 3 * index.to(tl.int64)
    for column in tl.static_range(3):
        total = tl.load(projection + column) * x + tl.load(projection + 4 + column) * y
        total += tl.load(projection + 8 + column) * z
        tl.atomic_add(grad + column, total, mask=some, sem="relaxed")
