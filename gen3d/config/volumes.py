"""Settings of the representations that are fields, drawn by sampling along the rays of every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gen3d.config.section import Bounds, Choices, Section


@dataclass
class VolumeConfig(Section):
    """What all volume-rendered representations share."""

    samples: Annotated[int, Bounds(16, 1024)] = 96
    """Samples of a ray over the length of an edge of the world, that is over 2 world units. Larger values resolve
    thinner parts; time and memory grow in proportion."""
    occupancy: Annotated[int, Bounds(8, 256)] = 64
    """Cells along each axis of the grid that remembers where something is; rays are sampled in its occupied cells
    alone. The next multiple of 4 is taken. Larger values enclose the object more tightly and take longer to refresh."""
    refresh_every: Annotated[int, Bounds(1, 1_000_000)] = 10
    """Steps after which the occupied cells and the surface are found again. Larger values save time and notice later
    that something has grown."""
    distortion: Annotated[float, Bounds(0, 1000)] = 0.05
    """Weight of the distortion loss of mip-NeRF 360, which asks what a ray sees to lie in one place. Larger values
    clear fog away and thin the surface; 0 turns it off."""
    solid: Annotated[float, Bounds(0, 1000)] = 0.05
    """Weight of the loss that keeps the inside of the object solid where no view sees it. 0 turns it off, and a field
    made of a network may then become hollow."""


@dataclass
class HashGridConfig(VolumeConfig):
    """What the representations share whose features may lie in a multi-resolution hash grid (Müller et al. 2022)."""

    encoding: Annotated[str, Choices("hash")] = "hash"
    """What the network sees of a point."""
    levels: Annotated[int, Bounds(1, 16)] = 8
    """Levels of the hash grid, from the coarsest to the finest. More levels cover the sizes in between more evenly and
    take longer."""
    rows: Annotated[int, Bounds(16, 1 << 24)] = 32768
    """Rows of the table of each level of the hash grid, of two features each. Larger tables have fewer collisions, and
    so finer detail, and take more memory."""
    coarsest: Annotated[int, Bounds(2, 1024)] = 16
    """Cells along each axis of the first level of the hash grid. Smaller values tie larger regions together."""
    finest: Annotated[int, Bounds(2, 4096)] = 256
    """Cells along each axis of the last level of the hash grid; the levels in between grow geometrically. Larger values
    allow finer detail, and noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("coarsest", "finest")


@dataclass
class VoxelsConfig(VolumeConfig, key="voxels"):
    """Dense grids of density and colour, coarse to fine (DVGO, Sun et al. 2022)."""

    solid: Annotated[float, Bounds(0, 1000)] = 0.0
    """Weight of the loss that keeps the inside of the object solid where no view sees it. Voxels need none: cells that
    nobody sees stay as they are."""
    grid: Annotated[int, Bounds(8, 256)] = 96
    """Cells along each axis of both grids at the end. Larger values hold finer detail; memory grows with the third
    power."""
    coarse_grid: Annotated[int, Bounds(8, 256)] = 64
    """Cells along each axis of both grids at the beginning, at most as many as at the end. Smaller values let the shape
    change faster at first."""
    refine_at: Annotated[float, Bounds(0, 1)] = 0.25
    """Fraction of the run after which the grids change from the coarse to the fine size. Larger values stay coarse for
    longer."""
    lr_density: Annotated[float, Bounds(0, 10)] = 0.3
    """Learning rate of the densities, which falls to a tenth of it by the end. Larger values change the shape faster
    and more roughly; 0 keeps it."""
    lr_color: Annotated[float, Bounds(0, 1)] = 0.05
    """Learning rate of the colours, which falls to a tenth of it by the end. Larger values change them faster; 0 keeps
    them."""
    variation_density: Annotated[float, Bounds(0, 1000)] = 3e-4
    """Weight of the differences between neighbouring densities (total variation). Larger values smooth the shape."""
    variation_color: Annotated[float, Bounds(0, 1000)] = 3e-3
    """Weight of the differences between neighbouring colours (total variation). Larger values smooth the colours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("coarse_grid", "grid")


@dataclass
class NerfConfig(HashGridConfig, key="nerf"):
    """A small network on a hash grid (Müller et al. 2022) or on frequencies (NeRF, Mildenhall et al. 2020)."""

    encoding: Annotated[str, Choices("hash", "frequency")] = "hash"
    """What the network sees of a point: the features of a multi-resolution hash grid ('hash'), or sines and cosines of
    its coordinates ('frequency'), which are smoother and slower to learn."""
    bands: Annotated[int, Bounds(1, 12)] = 4
    """Octaves of sines and cosines of the encoding 'frequency'. More of them allow finer detail, and noise."""
    width: Annotated[int, Bounds(4, 256)] = 32
    """Neurons of each of the network's two hidden layers; the encoding 'frequency' has twice as many. Wider networks
    can express more and are slower."""
    fit_steps: Annotated[int, Bounds(0, 100_000)] = 200
    """Steps in which the network learns the first shape before the run begins. More of them begin closer to that
    shape."""
    lr_table: Annotated[float, Bounds(0, 1)] = 0.01
    """Learning rate of the features of the hash grid, which falls to a tenth of it by the end. Larger values change the
    scene faster and more roughly."""
    lr_network: Annotated[float, Bounds(0, 1)] = 0.002
    """Learning rate of the network's weights, which falls to a tenth of it by the end. Larger values change the whole
    scene faster and may undo it."""


@dataclass
class TriplaneConfig(VolumeConfig, key="triplane"):
    """Three planes of features and a small network that reads them (EG3D, Chan et al. 2022)."""

    resolution: Annotated[int, Bounds(4, 2048)] = 96
    """Width and height of each plane in texels. Larger values hold finer detail; memory grows with the square."""
    channels: Annotated[int, Bounds(1, 64)] = 8
    """Features in each texel; the network sees those of all three planes side by side. More of them can express more
    and are slower."""
    width: Annotated[int, Bounds(4, 256)] = 32
    """Neurons of each of the network's two hidden layers. Wider networks can express more and are slower."""
    fit_steps: Annotated[int, Bounds(0, 100_000)] = 200
    """Steps in which planes and network learn the first shape before the run begins. More of them begin closer to that
    shape."""
    lr_planes: Annotated[float, Bounds(0, 1)] = 0.01
    """Learning rate of the planes, which falls to a tenth of it by the end. Larger values change the scene faster and
    more roughly."""
    lr_network: Annotated[float, Bounds(0, 1)] = 0.002
    """Learning rate of the network's weights, which falls to a tenth of it by the end. Larger values change the whole
    scene faster and may undo it."""
    variation: Annotated[float, Bounds(0, 1000)] = 0.01
    """Weight of the differences between neighbouring texels of the planes (total variation). Larger values smooth the
    scene."""


@dataclass
class SdfConfig(HashGridConfig, key="sdf"):
    """A signed distance field, volume rendered."""

    samples: Annotated[int, Bounds(16, 1024)] = 144
    density: Annotated[str, Choices("neus", "volsdf")] = "volsdf"
    """How distances become opacity: 'volsdf' (Yariv et al. 2021) or 'neus' (Wang et al. 2021), which may lose thin
    parts."""
    encoding: Annotated[str, Choices("hash", "triplane")] = "hash"
    """What the network sees of a point: the features of a multi-resolution hash grid ('hash') or of three planes
    ('triplane')."""
    finest: Annotated[int, Bounds(2, 4096)] = 160
    resolution: Annotated[int, Bounds(4, 2048)] = 96
    """Width and height, in texels, of each plane of the encoding 'triplane', which has eight features a texel. Larger
    values hold finer detail; memory grows with the square."""
    width: Annotated[int, Bounds(4, 256)] = 48
    """Neurons of the hidden layer. Wider networks can express more and are slower."""
    fit_steps: Annotated[int, Bounds(0, 100_000)] = 200
    """Steps in which the field learns the distances of the first shape before the run begins. More of them begin closer
    to that shape."""
    settle_steps: Annotated[int, Bounds(0, 100_000)] = 30
    """Steps in which the field, after that, learns views of the first shape, two at a time. More of them keep thin
    parts and edges better."""
    sharpness: Annotated[float, Bounds(1, 10_000)] = 192.0
    """Inverse of the width of the soft surface at the beginning, per world unit; it is learned from there on. Larger
    values begin with a harder surface, whose shape moves less easily."""
    lr_features: Annotated[float, Bounds(0, 1)] = 0.001
    """Learning rate of the features of the hash grid or the planes, which falls to a tenth of it by the end. Larger
    values change the scene faster and more roughly."""
    lr_network: Annotated[float, Bounds(0, 1)] = 3e-4
    """Learning rate of the networks' weights, which falls to a tenth of it by the end. Larger values change the whole
    scene faster and may undo it."""
    lr_sharpness: Annotated[float, Bounds(0, 1)] = 0.01
    """Learning rate of the logarithm of the sharpness, which falls to a tenth of it by the end. Larger values let the
    surface harden or soften faster; 0 keeps the sharpness."""
    eikonal: Annotated[float, Bounds(0, 1000)] = 0.02
    """Weight of (|gradient| - 1)^2, which keeps the field one of distances (Gropp et al. 2020). Larger values make it a
    more exact one and hold the shape back."""
