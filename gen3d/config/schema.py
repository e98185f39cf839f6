"""The typed configuration of a run. Objects are built from these dataclasses in plain Python; nothing else is one.

Files are YAML mappings with the same names; `gen3d.config.load.load_config` reads and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass
class PriorConfig:
    """How the shape prior is sampled for the initial scene."""

    guidance_scale: float = 2.5
    guided_above: float = 0.5
    """Diffusion time, 0..1, below which samples are drawn without guidance."""
    sample_steps: int = 40
    candidates: int = 8
    """Initial samples drawn, of which one is kept."""
    select: str = "guide"
    """Which: the one whose views the packaged guide takes for the prompt ('guide'), or the most plausible one under the
    shape prior itself ('plausibility')."""


@dataclass
class StartConfig:
    """What the scene begins as, before anything is optimised."""

    kind: str = "prior"
    """'prior' (a sample of the shape prior), or a grey 'sphere', 'box' or 'blob'."""
    radius: float = 0.5
    """Of the solid, in world units; half the side of the box."""


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
    blend: float = 0.02
    """World units over which primitives that meet run into one another, in form and colour; 0 leaves sharp seams."""


@dataclass
class VolumeConfig:
    """What the volume-rendered representations share."""

    samples: int = 96
    """Samples of a ray along an edge of the world."""
    occupancy: int = 64
    """Cells along each axis of the grid of what is occupied, where alone rays are sampled; a multiple of 4, or the next
    one is taken."""
    refresh_every: int = 10
    """Steps after which the occupied cells and the surface are found again."""
    distortion: float = 0.05
    """Weight of how far the weights along a ray are spread out (mip-NeRF 360), against fog."""
    solid: float = 0.05
    """Weight of what keeps the field from becoming hollow where no view sees it."""


@dataclass
class VoxelsConfig(VolumeConfig):
    """Dense grids of density and colour, coarse to fine (DVGO)."""

    solid: float = 0.0
    """Cells that nobody sees stay as they are by themselves."""
    grid: int = 96
    """Cells along each axis in the end."""
    coarse_grid: int = 64
    """Cells along each axis in the beginning."""
    refine_at: float = 0.25
    """Fraction of the run after which the grids become fine."""
    lr_density: float = 0.3
    lr_color: float = 0.05
    variation_density: float = 3e-4
    """Weight of the total variation of the raw densities."""
    variation_color: float = 3e-3
    """Weight of the total variation of the raw colours."""


@dataclass
class NerfConfig(VolumeConfig):
    """A small network on a hash grid (Müller et al. 2022) or on frequencies (Mildenhall et al. 2020)."""

    encoding: str = "hash"
    """What the network sees of a point: 'hash' or 'frequency'."""
    levels: int = 8
    rows: int = 32768
    """Of the table of each level, two features each."""
    coarsest: int = 16
    finest: int = 256
    """Cells along each axis of the first and last level; those between grow geometrically."""
    bands: int = 4
    """Octaves of 'frequency'."""
    width: int = 32
    """Neurons of each of the two hidden layers; twice as many with 'frequency'."""
    fit_steps: int = 200
    """Steps in which the network learns the first shape."""
    lr_table: float = 0.01
    lr_network: float = 0.002


@dataclass
class TriplaneConfig(VolumeConfig):
    """Three planes of features and a small network (EG3D)."""

    resolution: int = 96
    """Texels a side of each plane."""
    channels: int = 8
    """Of each plane; the network sees those of all three side by side."""
    width: int = 32
    """Neurons of each of the two hidden layers."""
    fit_steps: int = 200
    """Steps in which planes and network learn the first shape."""
    lr_planes: float = 0.01
    lr_network: float = 0.002
    variation: float = 0.01
    """Weight of the total variation of the planes."""


@dataclass
class SdfConfig(VolumeConfig):
    """A signed distance field, volume rendered."""

    samples: int = 144
    density: str = "volsdf"
    """How distances become opacity: 'volsdf' (Yariv et al. 2021) or 'neus' (Wang et al. 2021)."""
    encoding: str = "hash"
    """What the network sees of a point: 'hash' or 'triplane'."""
    levels: int = 8
    rows: int = 32768
    """Of the table of each level of 'hash', two features each."""
    coarsest: int = 16
    finest: int = 160
    """Cells along each axis of the first and last level of 'hash'."""
    resolution: int = 96
    """Texels a side of each plane of 'triplane', of eight channels."""
    width: int = 48
    """Neurons of the hidden layer."""
    fit_steps: int = 200
    """Steps in which the field learns the first shape."""
    settle_steps: int = 30
    """Steps in which it learns views of it, two at a time."""
    sharpness: float = 192.0
    """Inverse of the width of the surface in the beginning, per world unit; it is learned."""
    lr_features: float = 0.001
    lr_network: float = 3e-4
    lr_sharpness: float = 0.01
    """Of its logarithm."""
    eikonal: float = 0.02
    """Weight of (|gradient| - 1)^2."""


@dataclass
class CodeGuidanceConfig:
    """Score distillation in the shape prior's code space."""

    weight: float = 0.1
    weight_final: float | None = None
    """Weight at the end of the run, to which it changes linearly; null for the same throughout."""
    rule: str = "sdi"
    """Of `gen3d.guidance.code.CODE_RULES`, or 'vsd'; the default came out first in `benchmarks/rules.py`."""
    guidance_scale: float = 1.0
    """The sample was drawn with guidance; more of it at every step would pull the scene off what was drawn."""
    t_max: float = 0.5
    t_min: float = 0.05
    draws: int = 4
    """Noise draws averaged in each step."""
    student_rate: float = 1e-3
    """Learning rate of the student of 'vsd'."""


@dataclass
class FieldGuidanceConfig:
    """Views of the field that the guided code decodes to, as targets of the splats' own renders."""

    weight: float = 1.0
    weight_final: float | None = None
    """As `code.weight_final`."""
    grid: int = 80
    """Cells along each axis of the grid on which the field's surface is found."""
    follow: float = 0.0
    """How far the views follow the guided code away from the code that was sampled, 0..1. A start that was not sampled
    follows it all the way."""
    refresh_every: int = 25
    """Steps after which the code is decoded and seen from new sides."""
    views: int = 24
    """Views rendered at each refresh; every step compares some of them."""
    detail: float = 1.0
    """Share, 0..1, of what the view prior expects the field's views to lack that is added to them. 0: off."""


@dataclass
class ViewGuidanceConfig:
    """Score distillation with the view prior, which adds edges and texture to the field's views. Weight 0: off."""

    weight: float = 0.0
    t_max: float = 0.4
    t_min: float = 0.05


@dataclass
class ClipConfig:
    """Guidance of the renders by an image-text encoder. Weight 0: off."""

    weight: float = 0.0
    weight_final: float | None = None
    """As `code.weight_final`."""
    model: str = "mini"
    """'mini' (the packaged guide, which never judges), or one of `gen3d.encoders.clip_models`."""
    background: str = "dream_fields"
    """Behind the renders: 'dream_fields' (noise, checkers, Fourier textures), 'solid' (random colours) or 'white'."""
    transmittance: float = 0.0
    """Weight of Dream Fields' loss of the mean opacity above its target; meshes need none."""
    crops: int = 4
    """Of every render."""
    crop_min: float = 0.7
    crop_max: float = 1.0
    """Side of a crop over that of the render, between both."""
    perspective: float = 0.2
    """How far each corner of a crop may be pulled inwards, in half sides."""
    jitter: float = 0.1
    """How far brightness, contrast and saturation of a crop may lie from 1."""
    view_prompts: bool = False
    """Whether 'front view', 'side view', ... are added to the prompt by the camera."""
    directional: float = 0.0
    """Weight of the direction in which the renders have changed, against that from `neutral` to the prompt."""
    neutral: str = "a grey 3d model"
    """What the scene is at the start, in words, for `directional`."""


@dataclass
class EncoderConfig:
    """Guidance of all views of a step at once by an aligned text-3D encoder. Weight 0: off."""

    weight: float = 0.0
    weight_final: float | None = None
    """As `code.weight_final`."""
    model: str = "mini"
    """As `clip.model`; the features of the views are averaged to one of the object, as in DuoduoCLIP's baseline."""
    background: str = "solid"
    """As `clip.background`."""


@dataclass
class ReferenceConfig:
    """An image that the render of one camera has to match. Weight 0: off."""

    weight: float = 0.0
    weight_final: float | None = None
    """As `code.weight_final`."""
    image: str = ""
    """A PNG, JPEG or WebP file; without transparency its background is taken as white. Diffusion models that are
    conditioned on an image take it as well."""
    azimuth: float = 0.0
    """Of the camera that took it, in degrees: 0 looks at the front, 90 comes from +X."""
    elevation: float = 0.0
    """Of the camera that took it, in degrees above the horizon."""
    fov: float = 40.0
    """Its vertical field of view in degrees. It stands where the bounding sphere of an object just fits."""
    alpha_weight: float = 0.1
    """Weight of the alphas relative to the colours, where the image has transparency."""


@dataclass
class DiffusionConfig:
    """Score distillation of the renders with a diffusion model from a folder or the hub. Weight 0: off."""

    weight: float = 0.0
    weight_final: float | None = None
    """As `code.weight_final`."""
    models: tuple[str, ...] = ()
    """Folders or OWNER/NAME of the hub, tried in order."""
    rule: str = "sds"
    """Of `gen3d.guidance.rules.RULES`, or 'vsd', 'dds' or 'refine'."""
    guidance_scale: float = 100.0
    guidance_scale_final: float | None = None
    """Guidance scale at the end of the run, to which it changes linearly; null for the same throughout."""
    rescale: float = 0.5
    """Share of the CFG rescale in 'reconstruction'."""
    t_max: float = 0.98
    t_min: float = 0.02
    schedule: str = "uniform"
    """Of the times: 'uniform' between t_min and t_max; falling from t_max to t_min, 'linear' or 'sqrt'; 'narrowing',
    whose ends move to their final values, or 'stepped', where they jump to them, at `t_until`; or 'dreamtime'."""
    t_max_final: float | None = None
    t_min_final: float | None = None
    """Ends of the window of 'narrowing' and 'stepped' after `t_until`; null for no change."""
    t_until: float = 1.0
    """Fraction of the run at which both are reached."""
    negative: str = ""
    """Negative prompt."""
    view_prompts: bool = True
    """Whether 'front view', 'side view', ... are added to the prompt by the camera."""
    perp_neg: bool = False
    """Whether the texts of the other views push away from themselves, by Perp-Neg; needs view_prompts."""
    perp_neg_strength: float = 1.0
    """Factor on Perp-Neg's published weights."""
    debias: str = ""
    """Folder or OWNER/NAME of a masked language model, such as google-bert/bert-base-uncased, that strikes the words
    of the prompt that speak against a view; nothing for no debiasing. Needs view_prompts."""
    source: str = ""
    """What the scene shows at the start, in words: what 'dds' edits from."""
    latents_until: float = 0.0
    """Fraction of the run in which the renders, colours and alpha, are taken for latents as they are (Fantasia3D)."""
    refine_steps: int = 50
    """Steps of a whole sampling; 'refine' takes the share t of them."""
    clip_gradient: float = 0.0
    """Largest root mean square of a view's gradient; 0 for no limit."""
    clip_pixels: float = 0.0
    """Largest norm of a pixel's gradient over the channels; 0 for no limit."""
    normalise_gradient: float = 0.0
    """Root mean square that every view's gradient is scaled to; 0 to leave it as it is."""
    dtype: str = "fp32"
    """'fp32', 'fp16' or 'bf16'."""
    attention_slicing: bool = False
    cpu_offload: bool = False
    download: bool = False
    """Whether missing weights are fetched from the hub."""


@dataclass
class OptimizationConfig:
    steps: int = 150
    views_per_step: int = 4
    views_together: int = 1
    """Views that stand evenly around the object at one elevation, distance and field of view; 4 for a diffusion model
    that sees four views at once."""
    resolution: int = 128
    changes: tuple[float, ...] = ()
    """Fractions of the run at which the next of `later_views` and `later_resolutions` holds, ascending."""
    later_views: tuple[int, ...] = ()
    """Views of a step after each of `changes`; nothing for `views_per_step` throughout."""
    later_resolutions: tuple[int, ...] = ()
    """Resolutions after each of `changes`; nothing for `resolution` throughout."""
    elevation_min: float = -10.0
    elevation_max: float = 45.0
    radius_min: float = 3.6547555
    """Smallest distance of a camera to the origin, world units; this one just shows every normalised object whole."""
    radius_max: float = 3.6547555
    fov_min: float = 40.0
    """Smallest vertical field of view of a camera, degrees."""
    fov_max: float = 40.0

    def at(self, progress: float) -> OptimizationConfig:
        """The settings with the views and the resolution that hold at `progress`, 0..1 of the run."""
        passed = sum(change <= progress for change in self.changes)
        return replace(
            self,
            views_per_step=(self.views_per_step, *self.later_views)[passed if self.later_views else 0],
            resolution=(self.resolution, *self.later_resolutions)[passed if self.later_resolutions else 0],
        )

    @property
    def elevations(self) -> tuple[float, float]:
        """Range of the cameras' elevations in degrees."""
        return self.elevation_min, self.elevation_max

    @property
    def radii(self) -> tuple[float, float]:
        """Range of the cameras' distances to the origin, world units."""
        return self.radius_min, self.radius_max

    @property
    def fovs(self) -> tuple[float, float]:
        """Range of the cameras' vertical fields of view in degrees."""
        return self.fov_min, self.fov_max


@dataclass
class AppearanceConfig:
    """How the renders look that image guides (CLIP, diffusion) see. The shape prior's own views keep the studio light.

    Each step draws one of the shadings by their relative chances. All but the studio light need a representation whose
    renders hold normals.
    """

    background: str = "random"
    """Behind the renders: 'random' (what each guide draws for itself), 'solid' (`color`), 'learned' (an environment
    learned with the scene) or 'dream_fields' (noise, checkers, Fourier textures)."""
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Red, green, blue, 0..1, of the solid background, and of a learned one at its start."""
    lr_background: float = 0.01
    studio: float = 1.0
    """Chance of the fixed studio light that all other renders have."""
    albedo: float = 0.0
    """Chance of colours without light."""
    lambertian: float = 0.0
    """Chance of colours under one random light a view (DreamFusion)."""
    textureless: float = 0.0
    """Chance of bare clay under one random light a view (DreamFusion)."""
    normal: float = 0.0
    """Chance of normals as colours (Fantasia3D's first stage)."""


@dataclass
class RegularizersConfig:
    """Weights of terms that every representation's renders can be asked for; 0: off. See `rendering.regularizers`."""

    opacity: float = 0.0
    """Of the mean opacity above `opacity_target` (Dream Fields)."""
    opacity_target: float = 0.1
    sparsity: float = 0.0
    """Of DreamFusion's sqrt(alpha^2 + 0.01)."""
    entropy: float = 0.0
    """Of the binary entropy of the alphas (Latent-NeRF)."""
    depth_smoothness: float = 0.0
    """Of squared steps between neighbouring pixels' depths (RegNeRF)."""
    orientation: float = 0.0
    """Of normals that face away from the camera (Ref-NeRF); needs renders with normals."""
    z_variance: float = 0.0
    """Of the variance of depth along each ray (HiFA); needs a volume-rendered representation."""


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
class CheckpointsConfig:
    """How often the whole state of a run is saved in its folder, from which an interrupted run goes on."""

    seconds: float = 30.0
    """Time between two checkpoints; 0 saves one after every step."""
    keep: int = 2
    """Checkpoints that are kept, the newest; 0 saves none."""


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
    candidates: int = 1
    """Seeds tried as drafts, from `seed` on; the one that the evaluator ranks first is finished."""
    then: str = ""
    """Name or file of the configuration of the next stage, which goes on from the scene that this one leaves."""
    start: StartConfig = field(default_factory=StartConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    splats: SplatsConfig = field(default_factory=SplatsConfig)
    dmtet: DmtetConfig = field(default_factory=DmtetConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    points: PointsConfig = field(default_factory=PointsConfig)
    primitives: PrimitivesConfig = field(default_factory=PrimitivesConfig)
    voxels: VoxelsConfig = field(default_factory=VoxelsConfig)
    nerf: NerfConfig = field(default_factory=NerfConfig)
    triplane: TriplaneConfig = field(default_factory=TriplaneConfig)
    sdf: SdfConfig = field(default_factory=SdfConfig)
    code: CodeGuidanceConfig = field(default_factory=CodeGuidanceConfig)
    field_views: FieldGuidanceConfig = field(default_factory=FieldGuidanceConfig)
    view_prior: ViewGuidanceConfig = field(default_factory=ViewGuidanceConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    regularizers: RegularizersConfig = field(default_factory=RegularizersConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
