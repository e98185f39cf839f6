"""The typed configuration of a run. Objects are built from these dataclasses in plain Python; nothing else is one.

Files are YAML mappings with the same names; `gen3d.config.load` reads and checks them. What each setting may be stands
in the annotation of its field (see `gen3d.config.section`), and what it means below it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated

from gen3d.config.diffusion import DiffusionConfig
from gen3d.config.export import CheckpointsConfig, ExportConfig
from gen3d.config.guidance import (
    ClipConfig,
    CodeGuidanceConfig,
    EncoderConfig,
    FieldGuidanceConfig,
    ReferenceConfig,
    ViewGuidanceConfig,
)
from gen3d.config.kernels import KernelsConfig
from gen3d.config.optimization import AppearanceConfig, OptimizationConfig, RegularizersConfig
from gen3d.config.representations import REPRESENTATIONS, RepresentationSections
from gen3d.config.section import Bounds, Choices, Section, Setting, sections_of, settings_of, shorten, suggest
from gen3d.config.shipped import recipe_labels
from gen3d.config.start import PriorConfig, StartConfig
from gen3d.config.surfaces import DmtetConfig, MeshConfig, PointsConfig, PrimitivesConfig, SplatsConfig
from gen3d.config.volumes import NerfConfig, SdfConfig, TriplaneConfig, VolumeConfig, VoxelsConfig
from gen3d.errors import UsageError

__all__ = [
    "REPRESENTATIONS",
    "AppearanceConfig",
    "CheckpointsConfig",
    "ClipConfig",
    "CodeGuidanceConfig",
    "DiffusionConfig",
    "DmtetConfig",
    "EncoderConfig",
    "ExportConfig",
    "FieldGuidanceConfig",
    "KernelsConfig",
    "MeshConfig",
    "NerfConfig",
    "OptimizationConfig",
    "PointsConfig",
    "PrimitivesConfig",
    "PriorConfig",
    "ReferenceConfig",
    "RegularizersConfig",
    "RunConfig",
    "SdfConfig",
    "SplatsConfig",
    "StartConfig",
    "TriplaneConfig",
    "ViewGuidanceConfig",
    "VolumeConfig",
    "VoxelsConfig",
    "all_sections",
    "all_settings",
]


@dataclass
class RunConfig(RepresentationSections):
    """Everything that decides the result of a run, or of one of its stages, the prompt and the seed included."""

    prompt: str = ""
    """What to make, in words, as in "a wooden chair"."""
    recipe: str = "mini"
    """Label of the recipe, which names the folder of its runs inside of `out`: that of one of the shipped
    configurations, which 'gen3d recipes' lists."""
    representation: Annotated[str, Choices(*REPRESENTATIONS)] = "splats"
    """What is optimised; the section of this name holds its settings."""
    seed: Annotated[int, Bounds(0, 2**63 - 1)] = 0
    """Seed of all random draws. The same seed and settings give the same result on the same machine."""
    device: str = "auto"
    """Where the scene is optimised: 'cpu', 'cuda' (a graphics card), 'cuda:N' (the card of this number), or 'auto' (a
    graphics card where one can be used)."""
    out: str = "outputs"
    """Folder that the folders of runs are made in."""
    candidates: Annotated[int, Bounds(1, 64)] = 1
    """Number of seeds, from `seed` on, that are tried in short drafts, of which the one that the packaged judge ranks
    first is finished. More of them take longer and match better."""
    then: str = ""
    """Name or file of the configuration of the next stage, which goes on from the scene that this one leaves; nothing
    after the last stage."""
    start: StartConfig = field(default_factory=StartConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
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
    kernels: KernelsConfig = field(default_factory=KernelsConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        labels = recipe_labels()
        if self.recipe not in labels:
            raise UsageError(
                f"There is no recipe named '{shorten(self.recipe)}': 'gen3d recipes' lists them."
                f"{suggest(self.recipe.lower(), labels)}"
            )
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise UsageError(f"The device is '{shorten(self.device)}', but must be 'auto', 'cpu', 'cuda' or 'cuda:N'.")
        if not self.out.strip() or not self.out.isprintable():
            raise UsageError("The output folder 'out' is empty or holds control characters: give a folder.")


def all_sections() -> Mapping[str, type[Section]]:
    """Every section by its key, in the order in which they are listed: those of the representations come last."""
    found = sections_of(RunConfig)
    return {name: found[name] for name in (*(name for name in found if name not in REPRESENTATIONS), *REPRESENTATIONS)}


@functools.cache
def all_settings() -> Mapping[str, Setting]:
    """Every setting by its dotted key, those at the top first."""
    found = {setting.key: setting for setting in settings_of(RunConfig).values()}
    for section in all_sections().values():
        found |= {setting.key: setting for setting in settings_of(section).values()}
    return MappingProxyType(found)
