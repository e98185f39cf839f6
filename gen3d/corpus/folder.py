"""Any folder of GLB, OBJ and PLY meshes as a source of the corpus, and the layouts of Objaverse, ShapeNet and Toys4k.

What an object is called comes from a table in the folder (`folder_captions`), else from its file's name, else from the
nearest folder whose name says something: Toys4k has "airplane/airplane_003/mesh.obj", ShapeNet "02691156/ID/models/
model_normalized.obj", where the number is that of a word sense of WordNet 3.0.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen3d.assets.colors import linear_to_srgb
from gen3d.assets.read import read_asset
from gen3d.assets.surface_mesh import SurfaceMesh, grouped
from gen3d.corpus.folder_captions import Told, told_by_file
from gen3d.corpus.meshes import LARGEST, Part
from gen3d.corpus.sources import CaptionParts, SourceJobs
from gen3d.errors import Gen3DError, UsageError
from gen3d.language.captions import clean_name, is_caption, is_evaluable
from gen3d.language.captions import nouns as nouns_of
from gen3d.language.front_door import read as read_prompt
from gen3d.language.things import head_of

SUFFIXES = (".glb", ".obj", ".ply")
"""What is read, the best first: of an object in several formats the first is taken."""

MAX_FILES = 1_000_000
MAX_TRIANGLES = 2_000_000
"""Triangles of an object; more are a scan or a scene, and take minutes each."""

MAX_SIBLINGS = 1000
_GLASS = 0.6
"""Opacity below which what blends is taken for glass."""

_SAYS_NOTHING = re.compile(
    r"(mesh|meshes|model|models|scene|object|untitled|textured|texture|base|normalized|raw|data|glbs?|objs?|plys?|files?|toys"
    r"|train|test|val|visual|collision|low|high|poly|assets?|shapenet|shapenetcore|objaverse|dataset|download|gltf|the|of|a|\W)+"
)
"""Names of files and folders that do not say what is in them."""

_SYNSETS = {
    "02691156": "airplane", "02747177": "trash can", "02773838": "bag", "02801938": "basket", "02808440": "bathtub",
    "02818832": "bed", "02828884": "bench", "02843684": "birdhouse", "02871439": "bookshelf", "02876657": "bottle",
    "02880940": "bowl", "02924116": "bus", "02933112": "cabinet", "02942699": "camera", "02946921": "tin can",
    "02954340": "cap", "02958343": "car", "02992529": "mobile phone", "03001627": "chair", "03046257": "clock",
    "03085013": "computer keyboard", "03207941": "dishwasher", "03211117": "display", "03261776": "headphones",
    "03325088": "faucet", "03337140": "filing cabinet", "03467517": "guitar", "03513137": "helmet", "03593526": "jar",
    "03624134": "knife", "03636649": "lamp", "03642806": "laptop", "03691459": "loudspeaker", "03710193": "mailbox",
    "03759954": "microphone", "03761084": "microwave", "03790512": "motorcycle", "03797390": "mug",
    "03928116": "piano", "03938244": "pillow", "03948459": "pistol", "03991062": "flowerpot", "04004475": "printer",
    "04074963": "remote control", "04090263": "rifle", "04099429": "rocket", "04225987": "skateboard",
    "04256520": "sofa", "04330267": "stove", "04379243": "table", "04401088": "telephone", "04460130": "tower",
    "04468005": "train", "04530566": "ship", "04554684": "washing machine",
}  # fmt: skip
"""The kinds of ShapeNetCore by the offset of their sense in WordNet 3.0."""


@dataclass(frozen=True)
class FolderJob:
    """A mesh file of a folder (an `ObjectJob`)."""

    file: Path
    place: str
    """The file's path below the folder, with slashes and without its suffix."""
    folder: str
    told: Told
    fingerprint: str
    backwards: bool = False
    """Whether the front is at -Z, as in ShapeNet."""

    @property
    def id(self) -> str:
        return f"{self.folder}/{self.place}"

    @property
    def name(self) -> str:
        return self.told.name or (self.told.captions[0] if self.told.captions else self.file.stem)

    @property
    def nouns(self) -> list[str]:
        named = nouns_of(self.told.name) if self.told.name else []
        return named or _nouns_in(self.told.captions)

    @property
    def category(self) -> str:
        return self.told.category

    @property
    def caption_parts(self) -> CaptionParts:
        return CaptionParts(exact=self.told.captions, tags=self.told.keywords)

    @property
    def source(self) -> str:
        return f"{self.folder}:{self.place}{self.file.suffix}"

    @property
    def license(self) -> str:
        return self.told.license

    @property
    def creator(self) -> str:
        return self.told.creator

    @property
    def evaluate(self) -> bool:
        return bool(self.told.name) and is_evaluable(self.told.name)

    def load(self) -> tuple[list[Part], list[str]]:
        mesh = read_asset(self.file)
        if not isinstance(mesh, SurfaceMesh):
            raise Gen3DError("It holds splats and no mesh.")
        if len(mesh.faces) > MAX_TRIANGLES:
            raise Gen3DError(f"It has {len(mesh.faces):,} triangles, and at most {MAX_TRIANGLES:,} are read.")
        if self.backwards:
            mesh = mesh.transformed(np.diag([-1.0, 1.0, -1.0, 1.0]))
        names = [material.name for material in mesh.materials if material.name]
        clear = any(one.alpha_mode == "BLEND" and one.base_color[3] < _GLASS for one in mesh.materials)
        return surface_parts(mesh), [*names, *(["glass"] if clear else [])]


@dataclass
class SurfacePart(Part):
    """The triangles `rows` [F] of a mesh, which has their colours."""

    mesh: SurfaceMesh | None = None
    rows: np.ndarray | None = None

    def sample_color(self, face: np.ndarray, bary: np.ndarray) -> np.ndarray:
        assert self.mesh is not None
        assert self.rows is not None
        rgba, glow = self.mesh.appearance(self.rows[face], bary)
        return linear_to_srgb((rgba[:, :3].astype(np.float64) + glow).clip(0, 1))


def surface_parts(mesh: SurfaceMesh) -> list[Part]:
    """A part for each material of a mesh; flat faces have their own normals. Raises Gen3DError for one too large."""
    if not (np.abs(mesh.vertices) < LARGEST).all():
        raise Gen3DError(f"It has vertices that are not finite, or farther away than {LARGEST:g}.")
    normals = mesh.smooth_normals()
    parts: list[Part] = []
    for index, rows in grouped(mesh.face_material):
        corners = mesh.faces[rows]
        used, faces = np.unique(corners, return_inverse=True)
        own = normals[used].astype(np.float64)
        faces = faces.reshape(-1, 3)
        vertices = mesh.vertices[used]
        if not np.isfinite(own).all():
            own = np.where(np.isfinite(own), own, _flat_normals(vertices, faces))
        color = linear_to_srgb(np.array(mesh.materials[index].base_color[:3], np.float64).clip(0, 1))
        name = mesh.materials[index].name
        parts.append(SurfacePart(vertices, faces, own, color, material=name, mesh=mesh, rows=rows))
    return parts


def recognises(source: str) -> bool:
    """Whether the path is a folder with a mesh file in it and no furniture library."""
    if not Path(source).is_dir():
        return False
    found = False
    for _, _, names in os.walk(source):
        if any(name.lower().endswith(".sh3f") for name in names):
            return False
        found = found or any(name.lower().endswith(SUFFIXES) for name in names)
    return found


def read(source: str, scratch: Path) -> SourceJobs:
    """The objects of a folder, in the order of their paths, and a sentence for each that nothing is said of.

    Raises UsageError for a folder with too many files or a table that cannot be read.
    """
    folder = Path(source).resolve()
    files = _mesh_files(folder)
    told = told_by_file(folder, list(files))
    found, unnamed = SourceJobs(), []
    for place, file in files.items():
        said = told.get(place, Told())
        synset = next((part for part in place.split("/")[:-1] if part in _SYNSETS), "")
        if not said.name and (name := _SYNSETS.get(synset) or _name_of(place)):
            said = said.named(name, keep=bool(said.captions))
        job = FolderJob(file, place, folder.name or "folder", said, _fingerprint(file), bool(synset))
        if job.nouns:
            found.jobs.append(job)
        else:
            unnamed.append(f"'{job.id}' was left out: nothing says what it is; give it a caption or a name.")
    found.failures += unnamed[:20]
    if len(unnamed) > 20:
        found.failures.append(
            f"{len(unnamed) - 20} more objects of '{source}' were left out: nothing says what they are."
        )
    return found


def _mesh_files(folder: Path) -> dict[str, Path]:
    """The mesh files below a folder by their place without a suffix, sorted; one for each place."""
    best: dict[str, Path] = {}
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix not in SUFFIXES or name.startswith("."):
                continue
            count += 1
            if count > MAX_FILES:
                raise UsageError(f"The folder '{folder}' has more than {MAX_FILES:,} models: give a folder within it.")
            file = Path(parent) / name
            place = file.relative_to(folder).with_suffix("").as_posix()
            other = best.get(place)
            if other is None or SUFFIXES.index(suffix) < SUFFIXES.index(other.suffix.lower()):
                best[place] = file
    return dict(sorted(best.items()))


def _name_of(place: str) -> str:
    """What the file, or the nearest folder whose name says something, is called; "" where none does."""
    for part in reversed(place.split("/")):
        words = re.sub(r"[_\-.\s]+", " ", re.sub(r"\d+", " ", part)).strip().lower()
        cleaned = clean_name(words)
        hashed = re.fullmatch(r"[0-9a-fA-F\-]{16,}", part)
        if cleaned and not hashed and not _SAYS_NOTHING.fullmatch(cleaned) and is_caption(cleaned):
            return cleaned
    return ""


def _nouns_in(captions: tuple[str, ...]) -> list[str]:
    """The first thing that a caption speaks of, its name before its head: "garden chair", "chair"."""
    for caption in captions:
        thing = read_prompt(caption).thing
        if thing is not None:
            return list(dict.fromkeys(noun for noun in (thing.name, head_of(thing.name)) if noun))
    return []


def _fingerprint(file: Path) -> str:
    """Changes with the sizes and times of the file and, where it may use them, of the files beside it."""
    stats = [file]
    if file.suffix.lower() != ".glb":
        with os.scandir(file.parent) as entries:
            beside = sorted(entry.name for entry in entries if not entry.name.lower().endswith(SUFFIXES))
        stats += [file.parent / name for name in beside[:MAX_SIBLINGS]]
    key = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in stats if one.is_file()]
    return hashlib.sha256(repr(key).encode("utf-8", "backslashreplace")).hexdigest()[:20]


def _flat_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """For each vertex the normal of a face that uses it, [V, 3]; without a direction where the face has none."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    result = np.zeros_like(vertices)
    for corner in range(3):
        result[faces[:, corner]] = normal
    return result
