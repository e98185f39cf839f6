"""The typed configuration of a run. Objects are built from these dataclasses in plain Python; nothing else is one.

Files are YAML mappings with the same names; `gen3d.config_io.load_config` reads and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class PriorConfig:
    """How the shape prior is sampled for the initial scene."""

    guidance_scale: float = 2.5
    sample_steps: int = 40
    candidates: int = 4
    """Initial samples drawn; the one that best agrees with the prior's own text match is kept."""


@dataclass
class SplatsConfig:
    """3D Gaussians: how many to begin with, and the learning rate of each parameter group."""

    count: int = 12000
    lr_position: float = 1e-3
    lr_position_final: float = 5e-5
    lr_color: float = 0.01
    lr_opacity: float = 0.03
    lr_scale: float = 0.005
    lr_rotation: float = 0.005
    densify_every: int = 50
    densify_from: int = 50
    densify_until: float = 0.7
    """Fraction of the run after which densification stops."""
    densify_gradient: float = 2e-4
    prune_opacity: float = 0.02
    max_count: int = 40000
    strategy: str = "gradient"
    """How Gaussians are added and removed: 'gradient' (3DGS) or 'mcmc' (Kheradmand et al. 2024)."""
    mcmc_noise: float = 1e5
    """Strength of the noise on positions, in units of their learning rate and the Gaussian's covariance."""
    mcmc_opacity: float = 0.01
    """Weight of the mean opacity under 'mcmc', so that Gaussians of no use become free."""
    mcmc_scale: float = 0.01
    """Weight of the mean standard deviation under 'mcmc'."""
    sh_degree: int = 0
    """Degree of the harmonics: 0 for colours that are the same from every side, up to 3."""


@dataclass
class DmtetConfig:
    """A deformable lattice of signed distances, meshed anew at every step; lengths are counted in its cells."""

    extractor: str = "tetrahedra"
    """How the surface is found: 'tetrahedra' (DMTet) or 'flexicubes'."""
    grid: int = 64
    """Cells of the lattice along each axis."""
    color_grid: int = 80
    """Cells of the colour grid along each axis."""
    lr_distance: float = 0.1
    lr_coarse: float = 0.2
    """Of the coarse distances, which move the surface over whole neighbourhoods."""
    lr_deformation: float = 0.03
    lr_weight: float = 0.02
    """Of the weights of FlexiCubes."""
    lr_color: float = 0.05
    sign_change: float = 0.002
    """Weight of the cross-entropy between neighbours of different sign, against floating pieces."""
    normal_consistency: float = 0.02
    laplacian: float = 0.05
    deviation: float = 0.5
    """Weight of L_dev of FlexiCubes."""


@dataclass
class MeshConfig:
    """A mesh of fixed topology with a UV texture: its size, learning rates and regularisation."""

    faces: int = 7500
    texture_size: int = 256
    lr_vertices: float = 2e-3
    lr_vertices_final: float = 2e-4
    lr_texture: float = 0.003
    lr_texture_final: float = 3e-4
    diffusion: float = 19.0
    """How far a pull at one vertex spreads: the strength of the Laplacian in the preconditioner."""
    laplacian: float = 1.0
    """Weight of the roughness of the change since the start."""
    normal_consistency: float = 0.05
    """Weight of how much neighbouring triangles bend."""


@dataclass
class PointsConfig:
    """A coloured point cloud of soft discs: how many points, and the learning rate of each parameter group."""

    count: int = 12000
    lr_position: float = 1e-3
    lr_position_final: float = 1e-4
    lr_color: float = 0.02
    refresh_every: int = 20
    """Steps after which the size and direction of the discs are taken from the points around them again."""
    outlier: float = 0.01
    """Weight of the squared distance, in spacings, of points to the plane of their neighbours."""


@dataclass
class PrimitivesConfig:
    """Superquadrics: how many, how they are fitted to the first shape, and the learning rate of each group."""

    count: int = 16
    tessellation: int = 8
    """Rows of squares on each of the six sides of a tessellated primitive."""
    fit_steps: int = 200
    fit_samples: int = 2048
    """Points at which each step of the fit compares with the shape."""
    lr_position: float = 2e-3
    lr_size: float = 5e-3
    lr_rotation: float = 5e-3
    lr_shape: float = 1e-2
    """Of the exponents and the taper."""
    lr_color: float = 0.03
    overlap: float = 0.01
    """Weight of the share of the surface that is buried in other primitives."""


@dataclass
class CodeGuidanceConfig:
    """Score distillation in the shape prior's code space."""

    weight: float = 1.0
    guidance_scale: float = 1.0
    """The sample was drawn with guidance; more of it at every step would pull the scene off what was drawn."""
    t_max: float = 0.5
    t_min: float = 0.05
    draws: int = 4
    """Noise draws averaged in each step."""


@dataclass
class FieldGuidanceConfig:
    """Views of the field that the guided code decodes to, as targets of the splats' own renders."""

    weight: float = 1.0
    grid: int = 80
    """Cells along each axis of the grid on which the field's surface is found."""
    refresh_every: int = 25
    """Steps after which the guided code is decoded again."""
    views: int = 24
    """Views rendered at each refresh; every step compares some of them."""


@dataclass
class ViewGuidanceConfig:
    """Score distillation with the view prior, which adds edges and texture to the field's views. Weight 0: off."""

    weight: float = 0.0
    t_max: float = 0.4
    t_min: float = 0.05


@dataclass
class OptimizationConfig:
    steps: int = 150
    views_per_step: int = 4
    resolution: int = 128
    elevation_min: float = -10.0
    elevation_max: float = 45.0


@dataclass
class ExportConfig:
    image_size: int = 256
    video_size: int = 320
    video_frames: int = 48
    video_fps: int = 24
    mesh_faces: int = 30000
    mesh_grid: int = 96
    texture_size: int = 512
    """Texels a side of the mesh's baked textures; 0 for colours at its vertices instead."""
    viewer: bool = True


@dataclass
class RunConfig:
    """Everything that decides a run's result, the prompt and the seed included."""

    prompt: str = ""
    recipe: str = "mini"
    representation: str = "splats"
    """What is optimised: one of `gen3d.representations.table.REPRESENTATIONS`."""
    seed: int = 0
    device: str = "auto"
    out: str = "outputs"
    prior: PriorConfig = field(default_factory=PriorConfig)
    splats: SplatsConfig = field(default_factory=SplatsConfig)
    dmtet: DmtetConfig = field(default_factory=DmtetConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    points: PointsConfig = field(default_factory=PointsConfig)
    primitives: PrimitivesConfig = field(default_factory=PrimitivesConfig)
    code: CodeGuidanceConfig = field(default_factory=CodeGuidanceConfig)
    field_views: FieldGuidanceConfig = field(default_factory=FieldGuidanceConfig)
    view_prior: ViewGuidanceConfig = field(default_factory=ViewGuidanceConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
