"""Scenes of coloured primitives as a source of the corpus: "primitives", or "primitives:N" for N of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen3d.corpus import primitives
from gen3d.corpus.meshes import Part
from gen3d.corpus.sources import CaptionParts, SourceJobs, counted, is_counted

WORD = "primitives"
DEFAULT_COUNT = 120


@dataclass(frozen=True)
class PrimitiveJob:
    """A generated scene (an `ObjectJob`)."""

    scene: primitives.PrimitiveScene
    category: str = WORD
    source: str = WORD
    license: str = "CC0 1.0"
    creator: str = "gen3d"
    evaluate: bool = False

    @property
    def id(self) -> str:
        return f"{WORD}/{self.scene.caption}"

    @property
    def fingerprint(self) -> str:
        return repr(self.scene.colors)

    @property
    def name(self) -> str:
        return self.scene.caption

    @property
    def nouns(self) -> list[str]:
        return [self.scene.caption]

    @property
    def caption_parts(self) -> CaptionParts:
        return CaptionParts(exact=(self.scene.caption, *self.scene.paraphrases), templated=False)

    def load(self) -> tuple[list[Part], list[str]]:
        parts = []
        for mesh, color in zip(self.scene.meshes, self.scene.colors, strict=True):
            mesh.unmerge_vertices()  # flat shading: every face keeps its own normals
            parts.append(
                Part(
                    vertices=np.asarray(mesh.vertices, np.float64),
                    faces=np.asarray(mesh.faces, np.int64),
                    normals=np.asarray(mesh.vertex_normals, np.float64),
                    color=np.asarray(color, np.float64),
                )
            )
        return parts, []


def recognises(source: str) -> bool:
    """Whether the word is "primitives" or "primitives:N"."""
    return is_counted(source, WORD)


def read(source: str, scratch: Path) -> SourceJobs:
    """The scenes, the same for the same number. Raises UsageError for a number that is none or too large."""
    scenes = primitives.build(counted(source, WORD) or DEFAULT_COUNT, seed=0)
    return SourceJobs([PrimitiveJob(scene) for scene in scenes])
