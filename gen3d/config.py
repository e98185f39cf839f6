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


@dataclass
class CodeGuidanceConfig:
    """Score distillation in the shape prior's code space."""

    weight: float = 1.0
    guidance_scale: float = 2.5
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
    code: CodeGuidanceConfig = field(default_factory=CodeGuidanceConfig)
    field_views: FieldGuidanceConfig = field(default_factory=FieldGuidanceConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
