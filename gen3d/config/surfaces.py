"""Settings of the representations that are surfaces: Gaussians, points, meshes and primitives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gen3d.config.section import Bounds, Choices, Section


@dataclass
class SplatsConfig(Section, key="splats"):
    """3D Gaussians (3DGS, Kerbl et al. 2023), and how their number changes."""

    count: Annotated[int, Bounds(1, 1_000_000)] = 12000
    """Number of Gaussians that the scene begins with, at most `max_count`. Larger values hold finer detail and are
    slower. Runs of other representations export so many Gaussians, laid on their mesh."""
    lr_position: Annotated[float, Bounds(0, 1)] = 1e-3
    """Learning rate of the positions, in world units, at the beginning. Larger values change the shape faster and more
    roughly; 0 keeps it."""
    lr_position_final: Annotated[float, Bounds(0, 1)] = 5e-5
    """Learning rate of the positions at the end, to which it falls exponentially. Smaller values let the scene come to
    rest."""
    lr_color: Annotated[float, Bounds(0, 1)] = 0.01
    """Learning rate of the colours. Larger values change them faster; 0 keeps them."""
    lr_opacity: Annotated[float, Bounds(0, 1)] = 0.03
    """Learning rate of the logits of the opacities. Larger values let Gaussians appear and vanish faster."""
    lr_scale: Annotated[float, Bounds(0, 1)] = 0.005
    """Learning rate of the logarithms of the Gaussians' sizes. Larger values let them grow and shrink faster."""
    lr_rotation: Annotated[float, Bounds(0, 1)] = 0.005
    """Learning rate of the Gaussians' rotations, which are quaternions. Larger values turn them faster."""
    densify_every: Annotated[int, Bounds(1, 1_000_000)] = 50
    """Steps from one densification, which adds and removes Gaussians, to the next. Larger values change their number
    less often."""
    densify_from: Annotated[int, Bounds(0, 1_000_000)] = 50
    """Step at which the first densification may happen. Larger values let the scene settle before."""
    densify_until: Annotated[float, Bounds(0, 1)] = 0.7
    """Fraction of the run after which there is no densification any more; 0 turns it off."""
    densify_gradient: Annotated[float, Bounds(0, 1)] = 2e-4
    """Mean gradient of a Gaussian's position in the image above which it is cloned or split under 'gradient'. Larger
    values add fewer Gaussians."""
    prune_opacity: Annotated[float, Bounds(0, 1)] = 0.02
    """Opacity below which a densification removes a Gaussian, or, under 'mcmc', puts it elsewhere. Larger values remove
    more of them."""
    max_count: Annotated[int, Bounds(1, 1_000_000)] = 40000
    """Largest number of Gaussians that densification may reach. Larger values hold finer detail and are slower."""
    strategy: Annotated[str, Choices("gradient", "mcmc")] = "gradient"
    """How Gaussians are added and removed: by their gradients in the image ('gradient', 3DGS), or as samples that are
    shaken and moved to where the scene is ('mcmc', Kheradmand et al. 2024)."""
    mcmc_noise: Annotated[float, Bounds(0, 1e9)] = 1e5
    """Strength of the noise on the positions of nearly transparent Gaussians under 'mcmc', in units of their learning
    rate and covariance. Larger values explore further; 0 turns the noise off."""
    mcmc_opacity: Annotated[float, Bounds(0, 1000)] = 0.01
    """Weight of the mean opacity under 'mcmc'. Larger values make more Gaussians fade, which frees them for use
    elsewhere."""
    mcmc_scale: Annotated[float, Bounds(0, 1000)] = 0.01
    """Weight of the mean size of the Gaussians under 'mcmc'. Larger values keep them smaller."""
    sh_degree: Annotated[int, Bounds(0, 3)] = 0
    """Degree of the spherical harmonics of the colours. At 0 a Gaussian has one colour from every side; larger values
    let it change with the side it is seen from, and take more memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("count", "max_count")


@dataclass
class DmtetConfig(Section, key="dmtet"):
    """A deformable lattice of signed distances, meshed anew at every step; lengths are counted in its cells."""

    extractor: Annotated[str, Choices("tetrahedra", "flexicubes")] = "tetrahedra"
    """How the surface is found in the lattice: by marching tetrahedra ('tetrahedra', DMTet, Shen et al. 2021) or by
    dual marching cubes with learned weights ('flexicubes', Shen et al. 2023), whose triangles are more even."""
    grid: Annotated[int, Bounds(8, 256)] = 64
    """Cells of the lattice along each axis. Larger values hold finer detail; time and memory grow with the third
    power."""
    color_grid: Annotated[int, Bounds(4, 256)] = 80
    """Cells of the grid of colours along each axis. Larger values hold finer colours; memory grows with the third
    power."""
    lr_distance: Annotated[float, Bounds(0, 1)] = 0.1
    """Learning rate of the signed distances, which falls to a tenth of it by the end. Larger values move the surface
    faster and more roughly; 0 keeps them."""
    lr_coarse: Annotated[float, Bounds(0, 1)] = 0.2
    """Learning rate of the coarse distances, one for every eight cells, which move the surface over whole
    neighbourhoods; it falls to a tenth of it by the end. Larger values move them faster; 0 keeps them."""
    lr_deformation: Annotated[float, Bounds(0, 1)] = 0.03
    """Learning rate of the shifts of the lattice's vertices, which falls to a tenth of it by the end. Larger values
    bend the lattice faster; 0 keeps it."""
    lr_weight: Annotated[float, Bounds(0, 1)] = 0.02
    """Learning rate of the weights of FlexiCubes, which falls to a tenth of it by the end. Larger values change them
    faster; it is without effect on 'tetrahedra'."""
    lr_color: Annotated[float, Bounds(0, 1)] = 0.05
    """Learning rate of the colours, which falls to a tenth of it by the end. Larger values change them faster; 0 keeps
    them."""
    sign_change: Annotated[float, Bounds(0, 1000)] = 0.002
    """Weight of the cross-entropy between neighbours of different sign (nvdiffrec, Munkberg et al. 2022). Larger values
    remove floating pieces and thin parts."""
    normal_consistency: Annotated[float, Bounds(0, 1000)] = 0.02
    """Weight of how much neighbouring triangles bend. Larger values flatten the surface."""
    laplacian: Annotated[float, Bounds(0, 1000)] = 0.05
    """Weight of the squared distance, in cells, of a vertex to the middle of its neighbours. Larger values smooth the
    surface."""
    deviation: Annotated[float, Bounds(0, 1000)] = 0.5
    """Weight of FlexiCubes' own regulariser L_dev, which keeps a vertex near the middle of its cell's crossings. Larger
    values make the triangles more even; it is without effect on 'tetrahedra'."""


@dataclass
class MeshConfig(Section, key="mesh"):
    """A mesh of fixed topology with a UV texture."""

    faces: Annotated[int, Bounds(100, 1_000_000)] = 7500
    """Number of triangles to which the first shape is simplified. Larger values hold finer detail and are slower."""
    texture_size: Annotated[int, Bounds(16, 8192)] = 256
    """Width and height of the texture in texels. Larger values hold finer colours and take more memory."""
    lr_vertices: Annotated[float, Bounds(0, 1)] = 2e-3
    """Learning rate of the vertices, in world units, at the beginning. Larger values change the shape faster and more
    roughly; 0, here and at the end, keeps it."""
    lr_vertices_final: Annotated[float, Bounds(0, 1)] = 2e-4
    """Learning rate of the vertices at the end, to which it changes exponentially, or linearly where one of both is 0.
    Smaller values let the shape come to rest."""
    lr_texture: Annotated[float, Bounds(0, 1)] = 0.003
    """Learning rate of the texture's colours at the beginning. Larger values change them faster; 0, here and at the
    end, keeps them."""
    lr_texture_final: Annotated[float, Bounds(0, 1)] = 3e-4
    """Learning rate of the texture's colours at the end, to which it changes exponentially, or linearly where one of
    both is 0. Smaller values let them come to rest."""
    diffusion: Annotated[float, Bounds(0, 10_000)] = 19.0
    """How far a pull at one vertex spreads: the strength of the Laplacian in the preconditioner (Large Steps, Nicolet
    et al. 2021). Larger values move larger regions together; 0 moves every vertex alone."""
    laplacian: Annotated[float, Bounds(0, 10_000)] = 1.0
    """Weight of the roughness of the change since the start of the stage. Larger values keep the details of the first
    shape; 0 turns it off."""
    normal_consistency: Annotated[float, Bounds(0, 10_000)] = 0.05
    """Weight of how much neighbouring triangles bend. Larger values flatten the surface; 0 turns it off."""


@dataclass
class PointsConfig(Section, key="points"):
    """A coloured point cloud, drawn as soft discs whose size and direction follow from the points around them."""

    count: Annotated[int, Bounds(16, 1_000_000)] = 12000
    """Number of points, which stays the same. Larger values hold finer detail and are slower."""
    lr_position: Annotated[float, Bounds(0, 1)] = 1e-3
    """Learning rate of the positions, in world units, at the beginning. Larger values change the shape faster and more
    roughly; 0 keeps it."""
    lr_position_final: Annotated[float, Bounds(0, 1)] = 1e-4
    """Learning rate of the positions at the end, to which it falls exponentially. Smaller values let the scene come to
    rest."""
    lr_color: Annotated[float, Bounds(0, 1)] = 0.02
    """Learning rate of the colours. Larger values change them faster; 0 keeps them."""
    refresh_every: Annotated[int, Bounds(1, 1_000_000)] = 20
    """Steps after which the size and the direction of the discs are taken from the points around them again. Larger
    values save time, and the discs follow the points later."""
    outlier: Annotated[float, Bounds(0, 1000)] = 0.01
    """Weight of the squared distance of a point to the plane of its neighbours, in spacings of the points. Larger
    values smooth the surface and pull stray points back; 0 turns it off."""


@dataclass
class PrimitivesConfig(Section, key="primitives"):
    """Superquadrics: rounded boxes, cylinders and balls that are fitted to the first shape and then optimised."""

    count: Annotated[int, Bounds(1, 256)] = 16
    """Number of primitives. Larger values follow the shape more closely, in more and smaller parts, and are slower."""
    tessellation: Annotated[int, Bounds(2, 64)] = 8
    """Rows of squares on each of the six sides of a primitive, when it is drawn. Larger values draw it rounder; time
    grows with the square."""
    fit_steps: Annotated[int, Bounds(0, 100_000)] = 200
    """Steps in which the primitives are fitted to the first shape before the run begins. More of them begin closer to
    that shape."""
    fit_samples: Annotated[int, Bounds(64, 1_000_000)] = 2048
    """Points at which each step of the fit compares the primitives with the shape. More of them fit more exactly and
    take longer."""
    lr_position: Annotated[float, Bounds(0, 1)] = 2e-3
    """Learning rate of the centres, in world units, which falls to a fifth of it by the end. Larger values move the
    primitives faster; 0 keeps them where they are."""
    lr_size: Annotated[float, Bounds(0, 1)] = 5e-3
    """Learning rate of the logarithms of the sizes, which falls to a fifth of it by the end. Larger values change them
    faster; 0 keeps them."""
    lr_rotation: Annotated[float, Bounds(0, 1)] = 5e-3
    """Learning rate of the rotations, which are quaternions; it falls to a fifth of it by the end. Larger values turn
    the primitives faster; 0 keeps them."""
    lr_shape: Annotated[float, Bounds(0, 1)] = 1e-2
    """Learning rate of the exponents, which make a primitive round or square, and of its taper; it falls to a fifth of
    it by the end. Larger values change the form faster; 0 keeps it."""
    lr_color: Annotated[float, Bounds(0, 1)] = 0.03
    """Learning rate of the colours, which falls to a fifth of it by the end. Larger values change them faster; 0 keeps
    them."""
    overlap: Annotated[float, Bounds(0, 1000)] = 0.01
    """Weight of the share of the surface that is buried in other primitives. Larger values keep the parts further
    apart; 0 turns it off."""
    blend: Annotated[float, Bounds(0, 0.2)] = 0.02
    """Distance, in world units, over which primitives that meet run into one another in form and colour. Larger values
    make softer seams; 0 leaves them sharp."""
