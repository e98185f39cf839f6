"""0 A.D.'s art as a source of the corpus: Debian's 0ad-data package, its public.zip, or the unpacked folder.

A unit template (XML, with what its parents say) gives names and an actor; the actor gives meshes, textures and props.
The art is under CC-BY-SA 3.0, which whatever is trained on it has to say.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gen3d.corpus.deb import package_name, unpack_libraries
from gen3d.corpus.meshes import Part
from gen3d.corpus.sources import CaptionParts, SourceJobs
from gen3d.corpus.zeroad_actors import actor_parts
from gen3d.corpus.zeroad_files import GameFiles, open_files
from gen3d.corpus.zeroad_names import Naming, naming
from gen3d.errors import Gen3DError, UsageError

TEMPLATES = "simulation/templates/"
PACKAGE = "0ad-data"
ARCHIVE = "public.zip"
MAX_PARENTS = 16

_FIELDS = {"generic": "Identity/GenericName", "specific": "Identity/SpecificName", "actor": "VisualActor/Actor"}


@dataclass(frozen=True)
class GameJob:
    """An object of 0 A.D. (an `ObjectJob`)."""

    files: Path
    template: str
    name: str
    naming: Naming
    actor: str
    fingerprint: str
    license: str = "CC-BY-SA 3.0"
    creator: str = "Wildfire Games"
    evaluate: bool = True

    @property
    def id(self) -> str:
        return f"0ad/{self.template}"

    @property
    def nouns(self) -> list[str]:
        return list(self.naming.nouns)

    @property
    def category(self) -> str:
        return self.naming.kind

    @property
    def caption_parts(self) -> CaptionParts:
        return CaptionParts()

    @property
    def source(self) -> str:
        return f"{PACKAGE}:art/actors/{self.actor}"

    def load(self) -> tuple[list[Part], list[str]]:
        # Names of textures are names of people and places, which say nothing of what a thing is made of.
        return actor_parts(open_files(self.files), self.actor, self.id), []


def recognises(source: str) -> bool:
    """Whether the path is the package, its archive or a folder with that archive or what is in it."""
    path = Path(source)
    if path.is_dir():
        return _folder_root(path) is not None
    if path.suffix.lower() == ".deb" and path.is_file():
        return package_name(path) == PACKAGE
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False
    return any(name.startswith(TEMPLATES) for name in names) and any(name.startswith("art/actors/") for name in names)


def read(source: str, scratch: Path) -> SourceJobs:
    """The single objects of the game, one for each actor, and a sentence for each template that cannot be read.

    Raises UsageError for a package without the archive, or where no template is left.
    """
    path = Path(source)
    if path.is_dir():
        path = _folder_root(path) or path
    elif path.suffix.lower() == ".deb":
        archives = unpack_libraries(path, scratch, f"mods/public/{ARCHIVE}")
        if not archives:
            raise UsageError(f"The package '{path}' has no {ARCHIVE}; give that file itself.")
        path = archives[0]
    files = open_files(path)
    found, seen = SourceJobs(), set()
    templates = _Templates(files)
    for name in sorted(files.names):
        if not (name.startswith(TEMPLATES) and name.endswith(".xml")):
            continue
        template = name[len(TEMPLATES) : -len(".xml")]
        if template.split("/")[0] not in ("gaia", "structures", "units"):
            continue
        try:
            fields = templates.fields(template)
        except Gen3DError as error:
            found.failures.append(f"A template of '{source}' was left out: {error}")
            continue
        actor = fields.get("actor", "")
        names = naming(template, fields.get("generic", ""), fields.get("specific", ""), actor)
        if not actor or actor in seen or names is None or f"art/actors/{actor}" not in files.names:
            continue
        seen.add(actor)
        key = repr((fields, names, files.fingerprint(name), files.fingerprint(f"art/actors/{actor}")))
        digest = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
        title = fields.get("specific") or fields.get("generic") or template
        found.jobs.append(GameJob(path, template, title, names, actor, digest))
    if not found.jobs:
        raise UsageError(f"'{source}' holds no object of 0 A.D. that is read: no template below {TEMPLATES} is left.")
    return found


class _Templates:
    """The templates of the game, with what they inherit."""

    def __init__(self, files: GameFiles) -> None:
        self._files = files
        self._known: dict[str, dict[str, str]] = {}

    def fields(self, template: str, depth: int = 0) -> dict[str, str]:
        """What a template and its parents say; the later of several parents ("a|b") overrides the earlier."""
        if template in self._known:
            return self._known[template]
        if depth > MAX_PARENTS:
            raise Gen3DError(f"The template '{template}' has more than {MAX_PARENTS} ancestors, or is its own.")
        root = self._files.xml(f"{TEMPLATES}{template}.xml")
        fields: dict[str, str] = {}
        for parent in reversed([name for name in (root.get("parent") or "").split("|") if name]):
            fields.update(self._parent(parent, depth))
        for field, path in _FIELDS.items():
            if text := (root.findtext(path) or "").strip():
                fields[field] = text
        self._known[template] = fields
        return fields

    def _parent(self, parent: str, depth: int) -> dict[str, str]:
        # Filters such as "mixins/..." may be missing; the template itself then says what it says.
        if f"{TEMPLATES}{parent}.xml" not in self._files.names:
            return {}
        return self.fields(parent, depth + 1)


def _folder_root(folder: Path) -> Path | None:
    """The archive in a folder, or the folder itself where the game's files lie in it."""
    if (folder / ARCHIVE).is_file() and recognises(str(folder / ARCHIVE)):
        return folder / ARCHIVE
    return folder if (folder / TEMPLATES).is_dir() and (folder / "art/actors").is_dir() else None
