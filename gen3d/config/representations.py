"""Every representation by name. A new one is its file in `gen3d.representations`, its settings, and one line here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar, cast

from gen3d.config.section import Section
from gen3d.config.surfaces import DmtetConfig, MeshConfig, PointsConfig, PrimitivesConfig, SplatsConfig
from gen3d.config.volumes import NerfConfig, SdfConfig, TriplaneConfig, VoxelsConfig

Settings = TypeVar("Settings", bound=Section)


def representation(settings: type[Settings], target: str) -> Settings:
    """The field of a representation: its settings at their defaults. target: its class as "module:Class", which is
    imported only when it is built, by `Class.from_shape(shape, settings, generator)` (`gen3d.representations.table`).
    """
    return cast(Settings, dataclasses.field(default_factory=settings, metadata={"class": target}))


@dataclass
class RepresentationSections(Section):
    """The settings of every representation. A stage has one of them; the settings of the others are without effect.

    The name of a field is what `representation` may be, the section of its keys, and a heading of the documentation.
    """

    splats: SplatsConfig = representation(SplatsConfig, "gen3d.representations.adaptive:SplatScene")
    dmtet: DmtetConfig = representation(DmtetConfig, "gen3d.representations.dmtet:Dmtet")
    mesh: MeshConfig = representation(MeshConfig, "gen3d.representations.mesh:TexturedMesh")
    points: PointsConfig = representation(PointsConfig, "gen3d.representations.points:PointCloud")
    primitives: PrimitivesConfig = representation(PrimitivesConfig, "gen3d.representations.primitives:Primitives")
    voxels: VoxelsConfig = representation(VoxelsConfig, "gen3d.representations.voxels:Voxels")
    nerf: NerfConfig = representation(NerfConfig, "gen3d.representations.nerf:Nerf")
    triplane: TriplaneConfig = representation(TriplaneConfig, "gen3d.representations.triplane:Triplane")
    sdf: SdfConfig = representation(SdfConfig, "gen3d.representations.sdf:Sdf")


REPRESENTATIONS = {field.name: field.metadata["class"] for field in dataclasses.fields(RepresentationSections)}
"""Name -> "module:Class" of every representation, in the order of their lines."""
