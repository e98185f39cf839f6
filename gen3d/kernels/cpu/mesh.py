"""The C++ rasteriser of meshes behind the signature of `reference.mesh.rasterize`; CPU."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.kernels.cpu import library as native


def rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, width: int, height: int, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See `reference.mesh.rasterize`; vertices float32, faces int32, projections float64, all contiguous."""
    views = len(projections)
    face = torch.empty(views, height, width, dtype=torch.int32)
    bary = torch.empty(views, height, width, 3)
    depth = torch.empty(views, height, width)
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
