"""Run folders at any place that fsspec knows: a folder, `s3://`, `gs://`, `memory://` and others."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen3d.batch.owner import Owner
from gen3d.errors import Gen3DError, UsageError

if TYPE_CHECKING:
    from gen3d.pipeline.events import Event

CHECKPOINTS = "checkpoints"
LAST = "metrics.json"
"""The file that says of a run that it is finished, and is written after all others."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Extras of gen3d that bring what fsspec needs, by the scheme of an address."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SCRATCH = "gen3d-scratch-"


def is_remote(out: str | Path) -> bool:
    """Whether an output folder is an address such as `s3://bucket/runs`, and no path of this machine."""
    return _SCHEME.match(str(out)) is not None


class Results:
    """The place of the run folders of a batch."""

    def __init__(self, place: str) -> None:
        """place: a folder or an address. Raises UsageError for a scheme that fsspec does not know or lacks a package
        for, Gen3DError where the place cannot be reached.
        """
        import fsspec

        self.place = place
        scheme = match[1].lower() if (match := _SCHEME.match(place)) else ""
        try:
            self._system, self._root = fsspec.url_to_fs(place if scheme else os.path.abspath(place))
        except ImportError:
            extra = f" pip install 'gen3d[{EXTRAS[scheme]}]' brings it." if scheme in EXTRAS else ""
            raise UsageError(f"The output folder {place} needs a package that is not installed.{extra}") from None
        except ValueError as error:
            raise UsageError(f"The output folder {place} is of no kind that fsspec knows ({error}).") from None
        except Exception as error:
            raise self._failure("reached", error) from None
        self._is_local = "file" in _protocols(self._system)

    def address(self, name: str) -> str:
        """The full address of a file or folder in the place."""
        return f"{self.place.rstrip('/')}/{name}"

    def check(self) -> None:
        """Writes a file and removes it. Raises Gen3DError where that is refused: before the first job, not after."""
        path = self._path(f".gen3d-{os.getpid()}")
        try:
            self._system.makedirs(self._root, exist_ok=True)
            self._system.pipe_file(path, b"gen3d")
            self._system.rm_file(path)
        except Exception as error:
            raise self._failure("written", error) from None

    def fetch(self, name: str, folder: Path) -> None:
        """Copies what there is of a run to an empty folder; nothing where there is none."""
        root = self._path(name)
        try:
            found = self._found(root)
            for path in found:
                relative = Path(path[len(root) :].lstrip("/"))
                if ".." in relative.parts or relative.name.startswith("."):
                    continue
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                self._system.get_file(path, str(folder / relative))
        except Exception as error:
            raise self._failure("read", error) from None

    def fetch_file(self, name: str, target: Path) -> bool:
        """Copies one file; False where there is none."""
        try:
            self._system.get_file(self._path(name), str(target))
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._failure("read", error) from None
        return True

    def store(self, name: str, source: Path) -> None:
        """Copies a file there, where it appears whole or not at all."""
        path = self._path(name)
        try:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._is_local:
                partial = f"{path.rpartition('/')[0]}/.{os.getpid()}-{source.name}"
                self._system.put_file(str(source), partial)
                os.replace(partial, path)
            else:
                self._system.put_file(str(source), path)
        except Exception as error:
            raise self._failure("written", error) from None

    def remove(self, name: str) -> None:
        """Removes a file; nothing where there is none."""
        try:
            self._system.rm_file(self._path(name))
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failure("written", error) from None

    def names(self, name: str) -> list[str]:
        """The files in a folder and below, relative to it."""
        root = self._path(name)
        try:
            return [path[len(root) :].lstrip("/") for path in self._found(root)]
        except Exception as error:
            raise self._failure("read", error) from None

    def _found(self, root: str) -> list[str]:
        self._system.invalidate_cache()  # other processes write there, too
        try:
            return sorted(self._system.find(root))
        except FileNotFoundError:
            return []

    def _path(self, name: str) -> str:
        return f"{str(self._root).rstrip('/')}/{name}"

    def _failure(self, done: str, error: Exception) -> Gen3DError:
        reason = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
        return Gen3DError(
            f"The output folder {self.place} cannot be {done} ({reason:.300}): check the address, the credentials and "
            "the space that is free."
        )


class Mirror:
    """Keeps a run's copy at a place up to date while the run works in a folder of this machine."""

    def __init__(self, results: Results, name: str, folder: Path) -> None:
        self.results, self.name, self.folder = results, name, folder
        self._kept: list[str] = [part for part in results.names(name) if part.startswith(f"{CHECKPOINTS}/")]

    def __call__(self, event: Event) -> None:
        """Listens to the run, and copies every new checkpoint."""
        self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Copies the newest checkpoint if it is new, and then removes older ones."""
        newest = max(self.folder.glob(f"{CHECKPOINTS}/*.safetensors"), default=None)
        name = f"{CHECKPOINTS}/{newest.name}" if newest is not None else ""
        if newest is None or name in self._kept:
            return
        self.results.store(f"{self.name}/{name}", newest)
        self._remove(self._kept)
        self._kept = [name]

    def save_all(self, finished: bool) -> None:
        """Copies all files of a run that has ended; what says that it is finished comes last but for what it needs no
        more.
        """
        self.save_checkpoint()
        files = [path for path in sorted(self.folder.glob("**/*")) if path.is_file()]
        for path in sorted(files, key=lambda path: path.name == LAST):
            relative = path.relative_to(self.folder)
            if relative.parts[0] != CHECKPOINTS and not relative.name.startswith("."):
                self.results.store(f"{self.name}/{relative.as_posix()}", path)
        if finished:
            self._remove(self._kept)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self.results.remove(f"{self.name}/{name}")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process, which goes away; so do those of processes of this machine that have died."""
    owner = Owner.current()
    host = f"{hash_of(owner.host)}"
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{_SCRATCH}{host}-*"):
        parts = left.name.removeprefix(_SCRATCH).split("-")
        if len(parts) == 4 and parts[1].isdecimal() and Owner(owner.host, int(parts[1]), parts[2]).is_dead(owner.host):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{host}-{owner.pid}-{owner.started}-"))
    try:
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)


def hash_of(text: str) -> str:
    """A short name for a text, in letters and digits."""
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _protocols(system: Any) -> tuple[str, ...]:
    protocol = system.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
