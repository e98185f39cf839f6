"""Run folders: one new folder for every run, whose files are written whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.files import json_text, remove_left_over, replacing, slugify, user_path
from gen3d.runtime.strict_json import parse_json

MIN_FREE_BYTES = 50_000_000
"""Free disk space below which a run is not started; a default run writes about a tenth of it."""

MANIFEST = ("config.yaml", "command.txt", "versions.json")

_LEFT_OVER = re.compile(r"\.(partial|\d+)-.+")  # what this and earlier versions write first
_SWEPT = 100  # the newest run folders, in which a new run looks for what killed ones left

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A folder `<out>/<recipe>/<slug>@<time>[-n]` that belongs to one run."""

    folder: Path
    made: tuple[Path, ...] = ()
    """Folders that `create` made, outermost first: what `discard` may take away again."""

    @classmethod
    def create(cls, out: str | Path, recipe: str, prompt: str) -> RunFolder:
        """A new, writable folder; an existing one is never reused. What killed runs on this machine left half-written
        in folders beside it goes away.

        Raises Gen3DError where the folder cannot be made or written, or the disk has too little space; folders that
        were made on the way are removed again.
        """
        parent = user_path(out) / slugify(recipe)
        made: list[Path] = []
        try:
            _check_space(parent)
            _make_folders(parent, made)
            folder = _make_unique(parent, f"{slugify(prompt)}@{time.strftime('%Y%m%d-%H%M%S')}")
            made.append(folder)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"\0" * 4096)
                probe.flush()
        except (OSError, ValueError) as error:
            _remove_empty(made)
            raise folder_error(parent, error) from None
        except Gen3DError:
            _remove_empty(made)
            raise
        _sweep(parent)
        return cls(folder, tuple(made))

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The folder of an earlier run, in which it is to go on; what a killed process left half-written is removed.

        Raises UsageError for a path that is no run folder.
        """
        folder = user_path(path)
        if not (folder / MANIFEST[0]).is_file():
            raise UsageError(f"{folder} is no run folder, as it holds no {MANIFEST[0]}: runs lie below --out.")
        for left in folder.glob("**/.*"):
            if left.is_file() and _LEFT_OVER.fullmatch(left.name):
                left.unlink(missing_ok=True)
        return cls(folder)

    @property
    def is_finished(self) -> bool:
        """Whether the run made all its steps and wrote all its files; the last of them says so."""
        try:
            metrics = parse_json((self.folder / "metrics.json").read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(metrics, dict) and metrics.get("finished") is True

    def path(self, name: str) -> Path:
        """The path of a file of the run, such as `renders/000.png`; folders on the way are made.

        Raises ValueError for a name that leaves the folder, Gen3DError where a folder cannot be made.
        """
        relative = Path(name)
        if not name or relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"'{name}' is not the name of a file inside a run folder.")
        path = self.folder / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise folder_error(self.folder, error) from None
        return path

    @contextlib.contextmanager
    def kept_if_useful(self) -> Iterator[RunFolder]:
        """Wraps the work of the run: if that fails before it wrote anything, its folder goes away again."""
        try:
            yield self
        except BaseException:
            if all(path.name in MANIFEST for path in self.folder.glob("**/*")):
                self.discard()
            raise

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path with the suffix of `name`, renamed to `name` on success and removed on failure.

        Raises Gen3DError where the file cannot be written.
        """
        target = self.path(name)
        try:
            with replacing(target) as temporary:
                yield temporary
        except OSError as error:
            raise folder_error(self.folder, error) from None

    def write_bytes(self, name: str, data: bytes) -> Path:
        with self.writing(name) as temporary:
            temporary.write_bytes(data)
        return self.folder / name

    def write_text(self, name: str, text: str) -> Path:
        # Paths of the command line may hold bytes that are not UTF-8: they are written as they came.
        return self.write_bytes(name, text.encode("utf-8", "surrogateescape"))

    def write_json(self, name: str, data: Any) -> Path:
        return self.write_text(name, json_text(data, indent=2) + "\n")

    def write_manifest(self, config: str, command: str, versions: Mapping[str, str], seed: int) -> None:
        """What it takes to repeat the run: `config.yaml` with the text `config`, `command.txt` and `versions.json`.

        A folder that cannot even hold these is removed.
        """
        try:
            config_name, command_name, versions_name = MANIFEST
            self.write_text(config_name, config)
            self.write_text(command_name, command + "\n")
            self.write_json(versions_name, {"seed": seed, "versions": dict(versions)})
        except Gen3DError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the run's folder with all it holds, and the folders above that were made for it if they are empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _remove_empty(self.made)


def folder_error(folder: Path, error: OSError | ValueError) -> Gen3DError:
    """The sentence for a folder that cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return Gen3DError(
        f"The folder {folder} cannot be written ({reason}): check its permissions and free space, "
        "or choose another folder with --out."
    )


def existing_ancestor(path: Path) -> Path:
    """The nearest folder on the way to `path` that exists already."""
    path = path.absolute()
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path(path.anchor))


def _check_space(folder: Path) -> None:
    ancestor = existing_ancestor(folder)
    if not ancestor.is_dir():
        raise Gen3DError(f"The folder {folder} cannot be made, because {ancestor} is a file: choose another --out.")
    free = shutil.disk_usage(ancestor).free
    if free < MIN_FREE_BYTES:
        raise Gen3DError(
            f"Only {free / 1e6:.1f} MB are free for the folder {folder}, but a run needs "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB: free some space or choose another folder with --out."
        )


def _make_folders(folder: Path, made: list[Path]) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        try:
            path.mkdir()
        except FileExistsError:
            if not path.is_dir():
                raise
        else:
            made.append(path)


def _make_unique(parent: Path, name: str) -> Path:
    # mkdir is the test and the claim in one, so two runs of the same second cannot share a folder.
    for number in range(1, 10_000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise Gen3DError(f"There are too many folders named {name} in {parent}: remove some or choose another --out.")


def _sweep(parent: Path) -> None:
    """Removes what killed processes left half-written in the newest run folders of `parent`."""
    try:
        for folder in sorted(_folders_in(parent), key=os.path.getmtime, reverse=True)[:_SWEPT]:
            for place in (folder, *_folders_in(folder)):
                remove_left_over(place)
    except OSError:
        logger.debug("could not look for left-over files in %s", parent)


def _folders_in(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]


def _remove_empty(made: Sequence[Path]) -> None:
    for path in reversed(made):
        try:
            path.rmdir()
        except OSError:
            logger.debug("kept the folder %s", path)
