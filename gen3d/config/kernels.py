"""What computes: which of the ways to draw and to interpolate that this machine has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gen3d.config.section import Choices, Section


@dataclass
class KernelsConfig(Section, key="kernels"):
    """Which kernels compute a run. 'gen3d doctor' says which this machine has; the settings of the first stage hold."""

    backend: Annotated[
        str, Choices("auto", "native", "torch", "triton", "gsplat", "nerfacc", "nvdiffrast", "kaolin")
    ] = "auto"
    """What computes every operation that it has kernels for: 'native' stands for the C++ kernels, for the CPU; 'torch'
    for PyTorch's formulas, slow and at home everywhere; 'triton' for kernels that come with PyTorch, for a graphics
    card; 'gsplat' (splats), 'nerfacc' (fields), 'nvdiffrast' and 'kaolin' (meshes) for libraries that have to be
    installed beside it. Operations without such kernels choose their own, as all do with 'auto': the fastest that work
    where the scene is."""
