"""The range of every number of a configuration, and the rules between them."""

from __future__ import annotations

import difflib
import math
import operator
import re

from gen3d.config import RunConfig
from gen3d.errors import UsageError

RECIPES = ("mini",)
"""The recipes that `gen3d.generate` knows."""

REPRESENTATIONS = ("splats",)
"""The names in `gen3d.representations.table`, which this module may not import; a test compares them."""

LIMITS: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "prior.guidance_scale": (0, 100),
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
    "code.weight": (0, 1000),
    "code.guidance_scale": (0, 1000),
    "code.t_max": (0, 1),
    "code.t_min": (0, 1),
    "code.draws": (1, 256),
    "field_views.weight": (0, 1000),
    "field_views.grid": (16, 256),
    "field_views.refresh_every": (1, 1_000_000),
    "field_views.views": (1, 1000),
    "optimization.steps": (1, 1_000_000),
    "optimization.views_per_step": (1, 256),
    "optimization.resolution": (16, 1024),
    "optimization.elevation_min": (-90, 90),
    "optimization.elevation_max": (-90, 90),
    "export.image_size": (16, 4096),
    "export.video_size": (16, 4096),
    "export.video_frames": (1, 10_000),
    "export.video_fps": (1, 240),
    "export.mesh_faces": (100, 10_000_000),
    "export.mesh_grid": (8, 512),
}
"""Smallest and largest allowed value of every number, by dotted key."""

_ORDERED = (
    ("code.t_min", "code.t_max"),
    ("optimization.elevation_min", "optimization.elevation_max"),
    ("splats.count", "splats.max_count"),
)
"""Pairs of keys whose first value may not be the larger one."""


def validate(config: RunConfig) -> None:
    """Raises UsageError for the first value that is out of its range."""
    if config.recipe not in RECIPES:
        known = " or ".join(f"'{name}'" for name in RECIPES)
        raise UsageError(f"There is no recipe named '{config.recipe[:80]}'. Did you mean {known}?")
    if config.representation not in REPRESENTATIONS:
        named = config.representation[:80]
        near = difflib.get_close_matches(named.lower(), REPRESENTATIONS, 1, 0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"There is no representation named '{named}': use one of {', '.join(REPRESENTATIONS)}.{hint}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", config.device):
        raise UsageError(f"The device is '{config.device[:80]}', but must be 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    if not config.out.strip() or not config.out.isprintable():
        raise UsageError("The output folder 'out' is empty or holds control characters: give a folder.")
    for key, (low, high) in LIMITS.items():
        value = operator.attrgetter(key)(config)
        if not math.isfinite(value) or not low <= value <= high:
            raise UsageError(f"'{key}' is {value:.10g}, but must lie between {low:,} and {high:,}.")
    for small, large in _ORDERED:
        low, high = operator.attrgetter(small)(config), operator.attrgetter(large)(config)
        if low > high:
            raise UsageError(f"'{small}' is {low:g}, but may not be larger than '{large}', which is {high:g}.")
