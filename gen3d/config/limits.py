"""The range of every number of a configuration, and the rules between them."""

from __future__ import annotations

import difflib
import math
import operator
import re

from gen3d.config.schema import OptimizationConfig, RunConfig
from gen3d.errors import UsageError

RECIPES = (
    "mini",
    "clip-mesh",
    "clip-mesh-mini",
    "dreamfields",
    "dreamfields-mini",
    "dreamfusion",
    "dreamfusion-mini",
    "dreamgaussian",
    "dreamgaussian-mini",
    "fantasia3d",
    "fantasia3d-mini",
    "gaussiandreamer",
    "gaussiandreamer-mini",
    "latent-nerf",
    "latent-nerf-mini",
    "luciddreamer",
    "luciddreamer-mini",
    "magic3d",
    "magic3d-mini",
    "mvdream",
    "mvdream-mini",
    "prolificdreamer",
    "prolificdreamer-mini",
    "sjc",
    "sjc-mini",
    "textmesh",
    "textmesh-mini",
)
"""What `recipe` may be: the label of a shipped configuration, which names the folder of its runs."""

REPRESENTATIONS = ("splats", "dmtet", "mesh", "points", "primitives", "voxels", "nerf", "triplane", "sdf")
"""The names in `gen3d.representations.table`, which this module may not import; a test compares them."""

LIMITS: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "candidates": (1, 64),
    "start.radius": (0.05, 0.95),
    "prior.guidance_scale": (0, 100),
    "prior.guided_above": (0, 1),
    "prior.sample_steps": (1, 1000),
    "prior.candidates": (1, 256),
    "splats.count": (1, 1_000_000),
    "splats.lr_position": (0, 1),
    "splats.lr_position_final": (0, 1),
    "splats.lr_color": (0, 1),
    "splats.lr_opacity": (0, 1),
    "splats.lr_scale": (0, 1),
    "splats.lr_rotation": (0, 1),
    "splats.densify_every": (1, 1_000_000),
    "splats.densify_from": (0, 1_000_000),
    "splats.densify_until": (0, 1),
    "splats.densify_gradient": (0, 1),
    "splats.prune_opacity": (0, 1),
    "splats.max_count": (1, 1_000_000),
    "splats.mcmc_noise": (0, 1e9),
    "splats.mcmc_opacity": (0, 1000),
    "splats.mcmc_scale": (0, 1000),
    "splats.sh_degree": (0, 3),
    "points.count": (16, 1_000_000),
    "points.lr_position": (0, 1),
    "points.lr_position_final": (0, 1),
    "points.lr_color": (0, 1),
    "points.refresh_every": (1, 1_000_000),
    "points.outlier": (0, 1000),
    "primitives.count": (1, 256),
    "primitives.tessellation": (2, 64),
    "primitives.fit_steps": (0, 100_000),
    "primitives.fit_samples": (64, 1_000_000),
    "primitives.lr_position": (0, 1),
    "primitives.lr_size": (0, 1),
    "primitives.lr_rotation": (0, 1),
    "primitives.lr_shape": (0, 1),
    "primitives.lr_color": (0, 1),
    "primitives.overlap": (0, 1000),
    "primitives.blend": (0, 0.2),
    "dmtet.grid": (8, 256),
    "dmtet.color_grid": (4, 256),
    "dmtet.lr_distance": (0, 1),
    "dmtet.lr_coarse": (0, 1),
    "dmtet.lr_deformation": (0, 1),
    "dmtet.lr_weight": (0, 1),
    "dmtet.lr_color": (0, 1),
    "dmtet.sign_change": (0, 1000),
    "dmtet.normal_consistency": (0, 1000),
    "dmtet.laplacian": (0, 1000),
    "dmtet.deviation": (0, 1000),
    "mesh.faces": (100, 1_000_000),
    "mesh.texture_size": (16, 8192),
    "mesh.lr_vertices": (0, 1),
    "mesh.lr_vertices_final": (0, 1),
    "mesh.lr_texture": (0, 1),
    "mesh.lr_texture_final": (0, 1),
    "mesh.diffusion": (0, 10_000),
    "mesh.laplacian": (0, 10_000),
    "mesh.normal_consistency": (0, 10_000),
    "voxels.samples": (16, 1024),
    "voxels.occupancy": (8, 256),
    "voxels.refresh_every": (1, 1_000_000),
    "voxels.distortion": (0, 1000),
    "voxels.solid": (0, 1000),
    "voxels.grid": (8, 256),
    "voxels.coarse_grid": (8, 256),
    "voxels.refine_at": (0, 1),
    "voxels.lr_density": (0, 10),
    "voxels.lr_color": (0, 1),
    "voxels.variation_density": (0, 1000),
    "voxels.variation_color": (0, 1000),
    "nerf.samples": (16, 1024),
    "nerf.occupancy": (8, 256),
    "nerf.refresh_every": (1, 1_000_000),
    "nerf.distortion": (0, 1000),
    "nerf.solid": (0, 1000),
    "nerf.levels": (1, 16),
    "nerf.rows": (16, 1 << 24),
    "nerf.coarsest": (2, 1024),
    "nerf.finest": (2, 4096),
    "nerf.bands": (1, 12),
    "nerf.width": (4, 256),
    "nerf.fit_steps": (0, 100_000),
    "nerf.lr_table": (0, 1),
    "nerf.lr_network": (0, 1),
    "triplane.samples": (16, 1024),
    "triplane.occupancy": (8, 256),
    "triplane.refresh_every": (1, 1_000_000),
    "triplane.distortion": (0, 1000),
    "triplane.solid": (0, 1000),
    "triplane.resolution": (4, 2048),
    "triplane.width": (4, 256),
    "triplane.fit_steps": (0, 100_000),
    "triplane.lr_network": (0, 1),
    "sdf.samples": (16, 1024),
    "sdf.occupancy": (8, 256),
    "sdf.refresh_every": (1, 1_000_000),
    "sdf.distortion": (0, 1000),
    "sdf.solid": (0, 1000),
    "sdf.resolution": (4, 2048),
    "sdf.width": (4, 256),
    "sdf.fit_steps": (0, 100_000),
    "sdf.lr_network": (0, 1),
    "triplane.channels": (1, 64),
    "triplane.lr_planes": (0, 1),
    "triplane.variation": (0, 1000),
    "sdf.levels": (1, 16),
    "sdf.rows": (16, 1 << 24),
    "sdf.coarsest": (2, 1024),
    "sdf.finest": (2, 4096),
    "sdf.settle_steps": (0, 100_000),
    "sdf.sharpness": (1, 10_000),
    "sdf.lr_features": (0, 1),
    "sdf.lr_sharpness": (0, 1),
    "sdf.eikonal": (0, 1000),
    "code.weight": (0, 1000),
    "code.guidance_scale": (0, 1000),
    "code.t_max": (0, 1),
    "code.t_min": (0, 1),
    "code.draws": (1, 256),
    "code.student_rate": (0, 1),
    "field_views.weight": (0, 1000),
    "field_views.follow": (0, 1),
    "field_views.grid": (16, 256),
    "field_views.refresh_every": (1, 1_000_000),
    "field_views.views": (1, 1000),
    "field_views.detail": (0, 1),
    "view_prior.weight": (0, 1000),
    "view_prior.t_max": (0.001, 0.999),
    "view_prior.t_min": (0.001, 0.999),
    "clip.weight": (0, 1000),
    "clip.transmittance": (0, 1000),
    "clip.crops": (1, 64),
    "clip.crop_min": (0.05, 1),
    "clip.crop_max": (0.05, 1),
    "clip.perspective": (0, 0.9),
    "clip.jitter": (0, 0.9),
    "clip.directional": (0, 1000),
    "encoder.weight": (0, 1000),
    "reference.weight": (0, 1_000_000),
    "reference.azimuth": (-360, 360),
    "reference.elevation": (-90, 90),
    "reference.fov": (1, 120),
    "reference.alpha_weight": (0, 1000),
    "diffusion.weight": (0, 1000),
    "diffusion.guidance_scale": (0, 1000),
    "diffusion.t_max": (0, 1),
    "diffusion.t_min": (0, 1),
    "diffusion.t_until": (0.001, 1),
    "diffusion.rescale": (0, 1),
    "diffusion.perp_neg_strength": (0, 100),
    "diffusion.latents_until": (0, 1),
    "diffusion.refine_steps": (1, 1000),
    "diffusion.clip_gradient": (0, 1e9),
    "diffusion.clip_pixels": (0, 1e9),
    "diffusion.normalise_gradient": (0, 1e9),
    "optimization.steps": (1, 1_000_000),
    "optimization.views_per_step": (1, 256),
    "optimization.views_together": (1, 256),
    "optimization.resolution": (16, 1024),
    "optimization.elevation_min": (-90, 90),
    "optimization.elevation_max": (-90, 90),
    "optimization.radius_min": (0.1, 100),
    "optimization.radius_max": (0.1, 100),
    "optimization.fov_min": (1, 150),
    "optimization.fov_max": (1, 150),
    "appearance.lr_background": (0, 1),
    "appearance.studio": (0, 1000),
    "appearance.albedo": (0, 1000),
    "appearance.lambertian": (0, 1000),
    "appearance.textureless": (0, 1000),
    "appearance.normal": (0, 1000),
    "regularizers.opacity": (0, 10_000),
    "regularizers.opacity_target": (0, 1),
    "regularizers.sparsity": (0, 10_000),
    "regularizers.entropy": (0, 10_000),
    "regularizers.depth_smoothness": (0, 10_000),
    "regularizers.orientation": (0, 10_000),
    "regularizers.z_variance": (0, 10_000),
    "export.image_size": (16, 4096),
    "export.video_size": (16, 4096),
    "export.video_frames": (1, 10_000),
    "export.video_fps": (1, 240),
    "export.mesh_faces": (100, 10_000_000),
    "export.mesh_grid": (8, 512),
    "export.texture_size": (0, 8192),
    "checkpoints.seconds": (0, 1_000_000),
    "checkpoints.keep": (0, 1000),
}
"""Smallest and largest allowed value of every number, by dotted key."""

OPTIONAL_LIMITS: dict[str, tuple[float, float]] = {
    "code.weight_final": (0, 1000),
    "field_views.weight_final": (0, 1000),
    "clip.weight_final": (0, 1000),
    "encoder.weight_final": (0, 1000),
    "reference.weight_final": (0, 1_000_000),
    "diffusion.weight_final": (0, 1000),
    "diffusion.guidance_scale_final": (0, 1000),
    "diffusion.t_max_final": (0, 1),
    "diffusion.t_min_final": (0, 1),
}
"""The same of the numbers that may be null."""

RULES = ("sds", "sjc", "csd", "nfsd", "ism", "sdi", "reconstruction", "vsd")
"""The names of score-distillation rules, which this module may not import; a test compares them."""

DIFFUSION_RULES = (*RULES, "dds", "refine")
"""Those that renders take as well."""

BACKGROUNDS = ("dream_fields", "solid", "white")
"""What encoders see behind the renders."""

CHOICES: dict[str, tuple[str, ...]] = {
    "code.rule": RULES,
    "clip.background": BACKGROUNDS,
    "encoder.background": BACKGROUNDS,
    "diffusion.rule": DIFFUSION_RULES,
    "diffusion.schedule": ("uniform", "linear", "sqrt", "narrowing", "stepped", "dreamtime"),
    "diffusion.dtype": ("fp32", "fp16", "bf16"),
    "appearance.background": ("random", "solid", "learned", "dream_fields"),
    "prior.select": ("guide", "plausibility"),
    "start.kind": ("prior", "sphere", "box", "blob"),
    "splats.strategy": ("gradient", "mcmc"),
    "sdf.density": ("neus", "volsdf"),
    "sdf.encoding": ("hash", "triplane"),
    "nerf.encoding": ("hash", "frequency"),
    "dmtet.extractor": ("tetrahedra", "flexicubes"),
}
"""The values of every setting that names one of several ways, by dotted key."""

_ORDERED = (
    ("code.t_min", "code.t_max"),
    ("view_prior.t_min", "view_prior.t_max"),
    ("diffusion.t_min", "diffusion.t_max"),
    ("clip.crop_min", "clip.crop_max"),
    ("optimization.elevation_min", "optimization.elevation_max"),
    ("optimization.radius_min", "optimization.radius_max"),
    ("optimization.fov_min", "optimization.fov_max"),
    ("splats.count", "splats.max_count"),
    ("voxels.coarse_grid", "voxels.grid"),
    ("nerf.coarsest", "nerf.finest"),
    ("sdf.coarsest", "sdf.finest"),
)
"""Pairs of keys whose first value may not be the larger one."""


def validate(config: RunConfig) -> None:
    """Raises UsageError for the first value that is out of its range."""
    if config.recipe not in RECIPES:
        named = config.recipe[:80]
        near = difflib.get_close_matches(named.lower(), RECIPES, 1, 0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"There is no recipe named '{named}': 'gen3d recipes' lists them.{hint}")
    if config.representation not in REPRESENTATIONS:
        named = config.representation[:80]
        near = difflib.get_close_matches(named.lower(), REPRESENTATIONS, 1, 0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"There is no representation named '{named}': use one of {', '.join(REPRESENTATIONS)}.{hint}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", config.device):
        raise UsageError(f"The device is '{config.device[:80]}', but must be 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    if not config.out.strip() or not config.out.isprintable():
        raise UsageError("The output folder 'out' is empty or holds control characters: give a folder.")
    for key, (low, high) in (LIMITS | OPTIONAL_LIMITS).items():
        value = operator.attrgetter(key)(config)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise UsageError(f"'{key}' is {value:.10g}, but must lie between {low:,} and {high:,}.")
    for key, names in CHOICES.items():
        if (chosen := operator.attrgetter(key)(config)) not in names:
            raise UsageError(f"'{key}' is '{chosen[:80]}', but must be one of {', '.join(names)}.")
    if not all(0 <= value <= 1 for value in config.appearance.color):
        values = ", ".join(f"{value:g}" for value in config.appearance.color)
        raise UsageError(f"'appearance.color' is ({values}), but red, green and blue must lie between 0 and 1.")
    for small, large in _ORDERED:
        low, high = operator.attrgetter(small)(config), operator.attrgetter(large)(config)
        if low > high:
            raise UsageError(f"'{small}' is {low:g}, but may not be larger than '{large}', which is {high:g}.")
    _check_changes(config.optimization)
    _check_guidance(config)


def _check_changes(settings: OptimizationConfig) -> None:
    """What the settings of views and resolutions ask of each other."""
    changes = settings.changes
    if list(changes) != sorted(set(changes)) or not all(0 < change < 1 for change in changes):
        shown = ", ".join(f"{change:g}" for change in changes)
        raise UsageError(f"'optimization.changes' is ({shown}), but must ascend between 0 and 1.")
    for key, own in (("later_views", "views_per_step"), ("later_resolutions", "resolution")):
        later, (low, high) = getattr(settings, key), LIMITS[f"optimization.{own}"]
        if later and len(later) != len(changes):
            raise UsageError(
                f"'optimization.{key}' has {len(later)} values for {len(changes)} changes: give one for each of "
                "'optimization.changes'."
            )
        if not all(low <= value <= high for value in later):
            shown = ", ".join(map(str, later))
            raise UsageError(f"'optimization.{key}' is ({shown}), but each must lie between {low:,} and {high:,}.")
    for views in (settings.views_per_step, *settings.later_views):
        if views % settings.views_together:
            raise UsageError(
                f"A step has {views} views, which is no multiple of 'optimization.views_together', "
                f"{settings.views_together}."
            )


def _check_guidance(config: RunConfig) -> None:
    """What the settings of guidance ask of each other."""
    diffusion = config.diffusion
    low = diffusion.t_min if diffusion.t_min_final is None else diffusion.t_min_final
    high = diffusion.t_max if diffusion.t_max_final is None else diffusion.t_max_final
    if low > high:
        raise UsageError(
            f"'diffusion.t_min_final' is {low:g}, but may not be larger than 'diffusion.t_max_final', which is "
            f"{high:g}."
        )
    if (diffusion.weight or diffusion.weight_final) and diffusion.rule == "dds" and not diffusion.source.strip():
        raise UsageError(
            "The rule 'dds' edits a scene: say in 'diffusion.source' what the scene shows at the start, as in "
            "diffusion.source='a wooden chair'."
        )
    for key in ("perp_neg", "debias"):
        if getattr(diffusion, key) and not diffusion.view_prompts:
            raise UsageError(f"'diffusion.{key}' works on the texts of the views: set diffusion.view_prompts=true.")
