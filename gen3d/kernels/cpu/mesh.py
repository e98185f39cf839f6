"""The C++ rasteriser of meshes on the CPU, with the signature of `kernels.reference.mesh.rasterize`."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.kernels.cpu import checks
from gen3d.kernels.cpu import library as native
from gen3d.kernels.cpu.checks import room


def rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, width: int, height: int, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rasterises a mesh as `kernels.reference.mesh.rasterize` says.

    The vertices are float32, the faces int32 and the projections float64, all of them contiguous.

    Faces that name no vertex, or whose corners are not finite on the image, are not drawn.
    """
    views = len(projections)
    expected: dict[str, tuple[Tensor, torch.dtype, tuple[int | None, ...]]] = {
        "vertices": (vertices, torch.float32, (None, 3)),
        "faces": (faces, torch.int32, (None, 3)),
        "projections": (projections, torch.float64, (views, 3, 4)),
    }
    for name, (tensor, dtype, shape) in expected.items():
        checks.check_memory(name, tensor, dtype, shape)
    checks.check_count(max(len(vertices), len(faces)), "vertices or faces")
    checks.check_count(max(width, height), "pixels along a side")
    face = room(views, height, width, dtype=torch.int32)
    bary, depth = room(views, height, width, 3), room(views, height, width)
    _library().gen3d_mesh_rasterize(
        len(vertices), len(faces), views, vertices.data_ptr(), faces.data_ptr(), projections.data_ptr(),
        width, height, near, face.data_ptr(), bary.data_ptr(), depth.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return face, bary, depth


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = native.library()
    if library is None:
        raise UsageError("The native kernels are not available; use the raster backend 'torch'.")
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.gen3d_mesh_rasterize.argtypes = [
        size, size, size, pointer, pointer, pointer, size, size, ctypes.c_double, pointer, pointer, pointer, size,
    ]  # fmt: skip
    library.gen3d_mesh_rasterize.restype = None
    return library
