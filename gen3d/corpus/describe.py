"""What is said of a corpus' objects once their arrays are there: tags, near-duplicates and captions.

`gen3d corpus build` ends with it, and `gen3d corpus caption` does it again for a corpus that is built: words are mended
more often than shapes, and making the arrays takes hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from gen3d.corpus.attribution import write_attribution
from gen3d.corpus.captions import caption_records
from gen3d.corpus.quality import TAGS, descriptor, name_tags, near_duplicates, quality_tags
from gen3d.corpus.sources import ObjectJob, read_sources
from gen3d.corpus.store import Corpus, ObjectRecord, write_records
from gen3d.language.materials import material_words

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Description:
    """What was written: objects, those that train, different captions, objects by tag, near-duplicates, and a sentence
    for each source or object that could not be taken into account.
    """

    objects: int
    training: int
    captions: int
    tagged: dict[str, int]
    duplicates: int
    failures: list[str] = field(default_factory=list)


def describe_corpus(
    folder: Path, sources: Sequence[str | Path] = (), *, progress: Progress = lambda done, total: None
) -> Description:
    """Makes the tags and captions of a built corpus again, and writes its records and ATTRIBUTION.md.

    sources: where given, what they say of the objects now is taken (names, nouns, captions, licences); without them it
    is what the records hold. Objects that are no longer in the sources stay as they are. Raises UsageError for a folder
    without a corpus or with arrays missing, and for sources that are none.
    """
    corpus = Corpus(folder)
    failures: list[str] = []
    if sources:
        with TemporaryDirectory() as scratch:
            found = read_sources(sources, Path(scratch))
            jobs = {job.id: job for job in found.jobs}
            failures += found.failures
            for record in corpus.records:
                if record.id in jobs:
                    _take_over(record, jobs.pop(record.id))
        if jobs:
            failures.append(f"The corpus lacks objects of the sources ({len(jobs)}): 'gen3d corpus build' adds them.")
    return _described(corpus, failures, progress)


def _take_over(record: ObjectRecord, job: ObjectJob) -> None:
    parts = job.caption_parts
    record.name, record.nouns, record.kinds, record.category = job.name, list(job.nouns), [], job.category
    record.said, record.keywords, record.templated = list(parts.exact), parts.tags, parts.templated
    record.source, record.license, record.creator = job.source, job.license, job.creator
    record.evaluate = job.evaluate


def _described(corpus: Corpus, failures: list[str], progress: Progress) -> Description:
    records = corpus.records
    surface, surface_rgb = corpus.array("surface"), corpus.array("surface_rgb")
    grid, views = corpus.array("grid"), corpus.array("views")
    extents = np.empty((len(records), 3), np.float32)
    descriptors = []
    for index, record in enumerate(records):
        points = np.asarray(surface[index], np.float32)
        extents[index] = np.ptp(points, axis=0)
        seen = quality_tags(grid[index], views[index], surface_rgb[index], points)
        descriptors.append(descriptor(grid[index], views[index]))
        own = [noun for noun in record.nouns if noun not in record.kinds]
        found = {*seen, *name_tags(own, record.materials)}
        record.tags = [tag for tag in TAGS if tag in found]
        progress(index + 1, len(records))
    mark_duplicates(records, np.stack(descriptors))
    caption_records(records, extents)
    write_records(corpus.folder, records)
    write_attribution(corpus.folder / "ATTRIBUTION.md", records)
    return Description(
        objects=len(records),
        training=len(corpus.training_indices()),
        captions=len({caption for record in records for caption in record.captions}),
        tagged={tag: sum(tag in record.tags for record in records) for tag in TAGS},
        duplicates=sum(bool(record.duplicate_of) for record in records),
        failures=failures,
    )


def mark_duplicates(records: Sequence[ObjectRecord], descriptors: np.ndarray) -> None:
    """Says of each object that looks nearly like an earlier one, and is the same thing by name, which that is.

    descriptors: [N, D], see `quality.descriptor`. Objects whose first nouns end in other words are other things: two
    boxes may be a fridge and a wardrobe. A Greek and a Roman house that look the same are one house of two names.
    """
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        record.duplicate_of = ""
        own = record.nouns[0].split() if record.nouns else [""]
        groups.setdefault(own[-1] if record.category != "primitives" else record.id, []).append(index)
    for rows in groups.values():
        for first, later in near_duplicates(descriptors[rows]):
            records[rows[later]].duplicate_of = records[rows[first]].id


def bare_record(job: ObjectJob, *, held_out: bool, area: float, colors: Sequence[tuple[str, float]],
                material_names: Sequence[str]) -> ObjectRecord:  # fmt: skip
    """The record of an object before its tags and captions are made.

    area: of its surface. colors: (word, share) as from `colors.dominant_colors`. material_names: as its author wrote.
    """
    record = ObjectRecord(
        id=job.id, name=job.name, nouns=[], category=job.category, captions=[], source=job.source, license=job.license,
        creator=job.creator, held_out=held_out, evaluate=job.evaluate, area=area, colors=list(colors),
        materials=material_words(material_names, []),
    )  # fmt: skip
    _take_over(record, job)
    return record
