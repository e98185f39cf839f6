"""How fast `gen3d search` answers, and how fast it indexes.

    python benchmarks/search.py [--count 10000] [--assets FOLDER]

The first part writes an index of COUNT random embeddings for as many small files, and asks it: each answer lists the
folder, compares sizes and dates with the catalogue, and reads all embeddings, as a question of the command line does
once Python and the encoder are loaded. Recall is against a sort of all float64 scores. With --assets the assets in a
folder are really indexed, in a new index, one process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch.nn import functional as F

from gen3d.encoders.aligned import load_encoder
from gen3d.retrieval.index import Index
from gen3d.retrieval.search import embed_query

QUESTIONS = 20
NEAREST = 10
PART = 512


def measure_questions(count: int) -> None:
    encoder = load_encoder()
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        for number in range(count):
            path = where / f"{number // 1000:03}" / f"{number:06}.ply"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(number.to_bytes(8, "little") * 64)
        began = time.perf_counter()
        index = Index(where, encoder)
        print(f"{count:,} files of half a kilobyte: first listing, which reads them all, {_since(began):.2f} s")
        rows = F.normalize(torch.randn(count, encoder.dimension, generator=torch.Generator().manual_seed(0)), dim=-1)
        for start in range(0, count, PART):
            index.store.add([item.key for item in index.items[start : start + PART]], rows[start : start + PART])
        seconds, busy, recalls = [], [], []
        for number in range(QUESTIONS):
            text = f"a chair number {number}"
            began, worked = time.perf_counter(), time.process_time()
            feature, _ = embed_query(text, encoder)
            index = Index(where, encoder)
            assert not index.missing()
            found = index.nearest(feature, NEAREST)
            seconds.append(_since(began))
            busy.append(time.process_time() - worked)
            exact = np.argsort(-(rows.double().numpy() @ feature.double().numpy()))[:NEAREST]
            recalls.append(len({near.item.name for near in found} & {index.items[i].name for i in exact}) / NEAREST)
        size = sum(path.stat().st_size for path in index.store.folder.iterdir())
        print(
            f"{QUESTIONS} questions: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s, "
            f"of which the processor worked {statistics.median(busy):.3f} s; "
            f"recall@{NEAREST} of the exact order {statistics.mean(recalls):.3f}; {size / 1e6:.1f} MB of embeddings"
        )


def measure_indexing(folder: Path) -> None:
    encoder = load_encoder()
    with tempfile.TemporaryDirectory() as scratch:
        index = Index(folder, encoder, Path(scratch))
        began = time.perf_counter()
        left_out = index.update()
        done, seconds = len(index.items) - len(left_out), _since(began)
        print(
            f"{done} assets indexed in {seconds:.1f} s, {seconds / max(done, 1):.3f} s each: 10,000 would take "
            f"{10_000 * seconds / max(done, 1) / 60:.0f} min; {len(left_out)} left out"
        )


def _since(began: float) -> float:
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--assets", type=Path, metavar="FOLDER", help="index the assets of a folder, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    measure_questions(args.count)
    if args.assets:
        measure_indexing(args.assets)


if __name__ == "__main__":
    main()
