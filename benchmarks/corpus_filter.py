"""How well the filter of the corpus finds planted faults: wrong captions and junk objects.

    python benchmarks/corpus_filter.py SOURCE... [--count 240] [--kinds 12]

A tenth of the objects is given the name of an object of another kind, and a tenth is replaced by junk (its triangles
scattered). Features are those of the packaged judge and guide. The threshold is chosen on the objects of even index,
precision and recall are measured on those of odd index.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from gen3d.corpus.meshes import Part, normalize
from gen3d.corpus.quality import caption_scores
from gen3d.corpus.render import render_object
from gen3d.corpus.sources import ObjectJob, read_sources
from gen3d.encoders.evaluator import Evaluator
from gen3d.errors import Gen3DError
from gen3d.language.captions import with_article
from gen3d.runtime.paths import packaged_weights

ANGLES = np.array([[azimuth, 15] for azimuth in range(20, 380, 90)], np.float32)
SHARE = 0.1


def views_of(parts: list[Part]) -> torch.Tensor:
    """Views on white, [V, 64, 64, 3]."""
    normalize(parts)
    rgba = torch.from_numpy(render_object(parts, ANGLES, 64, supersample=2)).float() / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def scattered(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """The same triangles, each turned and moved anywhere: it has the colours of the object, and no shape."""
    junk = []
    for part in parts:
        corners = part.vertices[part.faces]
        size = float(np.ptp(part.vertices, axis=0).max()) or 1.0
        turns = np.linalg.qr(rng.normal(size=(len(corners), 3, 3)))[0]
        centre = corners.mean(1, keepdims=True)
        moved = (corners - centre) @ turns + rng.uniform(-0.5, 0.5, (len(corners), 1, 3)) * size
        faces = np.arange(3 * len(corners)).reshape(-1, 3)
        normals = np.repeat(turns[:, 2], 3, axis=0)
        uv = part.uv[part.faces].reshape(-1, 2) if part.uv is not None else None
        junk.append(Part(moved.reshape(-1, 3), faces, normals, part.color, uv, part.texture))
    return junk


def report(name: str, scores: np.ndarray, planted: np.ndarray) -> None:
    """scores: low for what is suspected."""
    tuned, measured = np.arange(len(scores)) % 2 == 0, np.arange(len(scores)) % 2 == 1
    best = max(np.unique(scores[tuned]), key=lambda limit: f1(scores[tuned] <= limit, planted[tuned]))
    found = scores[measured] <= best
    hits = float((found & planted[measured]).sum())
    precision, recall = hits / max(found.sum(), 1), hits / max(planted[measured].sum(), 1)
    print(f"{name}: precision {precision:.2f}, recall {recall:.2f} ({int(planted[measured].sum())} planted)")


def f1(found: np.ndarray, planted: np.ndarray) -> float:
    return 2 * float((found & planted).sum()) / max(float(found.sum() + planted.sum()), 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--kinds", type=int, default=0, help="only objects of so many names, the most frequent")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        jobs = [job for job in read_sources(args.sources, Path(scratch)).jobs if job.nouns and job.evaluate]
        if args.kinds:
            frequent = Counter(job.nouns[0] for job in jobs).most_common(args.kinds)
            jobs = [job for job in jobs if job.nouns[0] in dict(frequent)]
        jobs = random.Random(0).sample(jobs, min(args.count, len(jobs)))
        planted = rng.permutation(np.arange(len(jobs)) % round(1 / SHARE))
        junk, kept, views = planted == 0, [], []
        for index, job in enumerate(jobs):
            try:
                parts, _ = job.load()
                views.append(views_of(scattered(parts, rng) if junk[index] else parts))
                kept.append(index)
            except Gen3DError as error:
                print(f"'{job.id}' was left out: {error}")
    jobs, junk, wrong = [jobs[i] for i in kept], junk[kept], planted[kept] == 1
    labels, nouns = planted_labels(jobs, wrong, rng)
    images, fits, shares = [], [], []
    for folder in (packaged_weights(), packaged_weights() / "guide"):
        encoder = Evaluator.load(folder)
        with torch.no_grad():
            found = (
                encoder.encode_images(torch.stack(views).flatten(0, 1)).unflatten(0, (len(jobs), -1)).mean(1).numpy()
            )
            texts = encoder.encode_texts([with_article(noun) for noun in nouns]).numpy()
        images.append(found)
        shares.append(texts)
        match = found @ texts.T
        fits.append((match <= match[np.arange(len(match)), labels][:, None]).mean(1))
    both = np.concatenate(shares, 1) / np.sqrt(2)
    learned = caption_scores(np.concatenate(images, 1), both, labels)
    print(f"{len(jobs)} objects of {len(nouns)} names")
    report("wrong captions, by the encoders alone", np.mean(fits, 0)[~junk], wrong[~junk])
    report("wrong captions, by the linear map", learned[~junk], wrong[~junk])
    report("wrong captions, by both", (np.mean(fits, 0) + learned)[~junk], wrong[~junk])
    # The most general noun is left out: that a chair and a table are both furniture vouches for neither.
    special = {job.nouns[0]: set(job.nouns[:-1] or job.nouns) for job in jobs}
    own = [special[nouns[label]] for label in labels]
    votes = agreement(np.concatenate(images, 1)[~junk], [own[index] for index in np.flatnonzero(~junk)])
    report("wrong captions, by the names of neighbours", votes, wrong[~junk])
    report("wrong captions, by neighbours and both", votes + (np.mean(fits, 0) + learned)[~junk], wrong[~junk])
    # Junk is far from every object: the cosine of its nearest neighbours tells.
    unit = np.concatenate(images, 1)
    unit = unit - unit.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    report("junk, by nearest neighbours", -neighbours_share(unit, both[labels]), junk)


def agreement(images: np.ndarray, called: list[set[str]], count: int = 8) -> np.ndarray:
    """Share of an object's nearest neighbours, weighted by how near they are, that share a name with it, [N]."""
    unit = images - images.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    nearest = np.argsort(-cosine, 1)[:, :count]
    scores = np.zeros(len(images))
    for index, row in enumerate(nearest):
        weights = np.exp(8 * cosine[index, row])
        shared = np.array([bool(called[index] & called[other]) for other in row])
        scores[index] = float((weights * shared).sum() / weights.sum())
    return scores


def neighbours_share(unit: np.ndarray, names: np.ndarray, count: int = 5) -> np.ndarray:
    """How different the names of an object's nearest neighbours are from its own, [N]."""
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    nearest = np.argsort(-cosine, 1)[:, :count]
    return 1 - np.einsum("nd,nkd->nk", names, names[nearest]).mean(1)


def planted_labels(jobs: list[ObjectJob], wrong: np.ndarray, rng: np.random.Generator) -> tuple[list[int], list[str]]:
    """Each object's name as an index into all names; the wrong ones are drawn from objects that share no noun."""
    nouns = sorted({job.nouns[0] for job in jobs})
    labels = []
    for job, is_wrong in zip(jobs, wrong, strict=True):
        others = [other.nouns[0] for other in jobs if not set(other.nouns) & set(job.nouns)]
        labels.append(nouns.index(str(rng.choice(others)) if is_wrong and others else job.nouns[0]))
    return labels, nouns


if __name__ == "__main__":
    main()
