"""`gen3d corpus build`: the objects of all sources become a normalised, captioned, multi-view corpus.

Every object is first written to a shard of its own, so an interrupted build goes on where it stopped; the shards are
then merged into the arrays that `gen3d.corpus.store` describes, and `gen3d.corpus.describe` tags and captions them.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from gen3d.corpus.describe import bare_record, describe_corpus
from gen3d.corpus.fields import TRUNCATION, object_field
from gen3d.corpus.meshes import normalize
from gen3d.corpus.render import render_object, view_angles
from gen3d.corpus.sources import ObjectJob, read_sources
from gen3d.corpus.split import is_held_out
from gen3d.corpus.store import ObjectRecord, write_records
from gen3d.errors import Gen3DError
from gen3d.language import captions
from gen3d.runtime.files import replacing

log = logging.getLogger(__name__)

VIEWS = 24
VIEW_SIZE = 64
UNPACKED = ".unpacked-"
"""How the folder begins in which what is taken out of packages lies during a build."""

CORPUS_ARRAYS = (
    "surface", "surface_rgb", "surface_part", "volume", "volume_rgb", "volume_part", "grid", "views", "cameras"
)  # fmt: skip
SHARD_ARRAYS = (*CORPUS_ARRAYS, "area", "materials")


def build_corpus(
    sources: Sequence[str | Path],
    folder: Path,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[str]]:
    """Builds the corpus of all `sources` (see `gen3d.corpus.sources`) in `folder`.

    Objects that an earlier build has made are taken from its shards,
    unless they have changed since. Returns the number of objects and a sentence for each left out. Raises Gen3DError
    where there is nothing to build from, OSError where `folder` cannot be written.
    """
    shards = folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    for left in (*folder.glob(f"{UNPACKED}*"), *shards.glob(".*.npz")):  # of a build that was killed
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNPACKED) as scratch:
        found = read_sources(sources, Path(scratch))
        jobs, failures = found.jobs, found.failures
        failures += _write_shards(jobs, shards, workers, progress)
    records, paths = [], []
    for job in jobs:
        path = _shard_path(shards, job)
        if path.is_file():
            records.append(_record(job, path))
            paths.append(path)
    if not records:
        names = " or ".join(f"'{source}'" for source in sources)
        raise Gen3DError(f"Not one object of {names} could be read: {failures[0] if failures else 'it is empty'}")
    _merge(paths, folder)
    write_records(folder, records)
    describe_corpus(folder)
    return len(records), failures


def _shard_path(shards: Path, job: ObjectJob) -> Path:
    """Where the object's shard is: another file for an object of the same name that is not the same."""
    key = repr((job.id, job.fingerprint, VIEWS, VIEW_SIZE)).encode("utf-8", "backslashreplace")
    return shards / f"{hashlib.sha256(key).hexdigest()[:20]}.npz"


def _is_whole(path: Path) -> bool:
    """Whether a shard is there with all that belongs to it, undamaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist()) == {f"{name}.npy" for name in SHARD_ARRAYS} and archive.testzip() is None
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def _write_shards(jobs: list[ObjectJob], shards: Path, workers: int, progress: Callable[[int, int], None]) -> list[str]:
    missing = []
    for job in jobs:
        if not _is_whole(path := _shard_path(shards, job)):
            path.unlink(missing_ok=True)
            missing.append(job)
    done, failures = len(jobs) - len(missing), []
    with ExitStack() as stack:
        results: Iterable[str | None] = (_write_shard(job, shards) for job in missing)
        if workers > 1:
            # Not forked: OpenMP's threads do not survive a fork.
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
            results = stack.enter_context(pool).map(_write_shard, missing, [shards] * len(missing), chunksize=4)
        try:
            for failure in results:
                done += 1
                if failure:
                    failures.append(failure)
                progress(done, len(jobs))
        except BrokenProcessPool:
            raise Gen3DError(
                f"A process of the build was killed after {done} of {len(jobs)} objects, most likely for lack of "
                "memory: run the same command with --workers 1, which goes on from there."
            ) from None
    return failures


def _write_shard(job: ObjectJob, shards: Path) -> str | None:
    """Samples and renders one object; returns a sentence that names it when it has to be left out."""
    seed = int.from_bytes(hashlib.sha256(job.id.encode("utf-8", "backslashreplace")).digest()[:8], "little")
    rng = np.random.default_rng(seed)
    try:
        arrays = _sampled(job, rng)
    except Gen3DError as error:
        return f"'{job.id}' was left out: {error}"
    except Exception as error:  # whatever one object runs into, the others are worth having
        log.debug("%r was left out", job.id, exc_info=True)
        return f"'{job.id}' was left out: {type(error).__name__}: {error}."
    with replacing(_shard_path(shards, job)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    return None


def _sampled(job: ObjectJob, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays of an object's shard. Raises Gen3DError for an object that has no surface."""
    parts, materials = job.load()
    normalize(parts)
    field = object_field(parts, rng)
    angles = view_angles(VIEWS, rng)
    return {
        "surface": field.surface.astype(np.float16),
        "surface_rgb": field.surface_rgb,
        "surface_part": field.surface_part,
        "area": np.array(field.area, np.float32),
        "volume": np.concatenate([field.volume, field.sdf[:, None]], 1).astype(np.float16),
        "volume_rgb": field.volume_rgb,
        "volume_part": field.volume_part,
        "grid": (field.grid * (127 / TRUNCATION)).round().astype(np.int8),
        "views": render_object(parts, angles, VIEW_SIZE),
        "cameras": angles,
        "materials": np.array(materials, dtype=np.str_),
    }


def _record(job: ObjectJob, shard: Path) -> ObjectRecord:
    with np.load(shard, allow_pickle=False) as data:
        return bare_record(
            job,
            held_out=is_held_out(job.id),
            area=float(data["area"]),
            colors=captions.dominant_colors(data["surface_rgb"] / 255.0),
            material_names=[str(name) for name in data["materials"]],
        )


def _merge(shards: list[Path], folder: Path) -> None:
    arrays: dict[str, np.memmap] = {}
    for index, path in enumerate(shards):
        with np.load(path, allow_pickle=False) as data:
            for name in CORPUS_ARRAYS:
                value = data[name]
                if name not in arrays:
                    arrays[name] = np.lib.format.open_memmap(
                        folder / f"{name}.npy.tmp", "w+", value.dtype, (len(shards), *value.shape)
                    )
                arrays[name][index] = value
    for name, array in arrays.items():
        array.flush()
        os.replace(folder / f"{name}.npy.tmp", folder / f"{name}.npy")
