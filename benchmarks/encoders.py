"""Every aligned encoder with the same budget on the same corpus, measured on the same held-out shapes.

    python benchmarks/encoders.py --corpus corpus --minutes 12 --seeds 3 [--other CORPUS] [--ablations] [--out FOLDER]

A CLIP with a vision transformer is trained first; view averaging uses it as it is, and the others are aligned with it.
All get --minutes (or --steps, to try it). Trainings that are interrupted go on where they stopped, and those that are
done are not repeated. It writes results.json and tables.md, and prints the tables for docs/encoders.md: text -> shape
retrieval of all sources and of chairs and tables, a curve over the number of views, and zero-shot names of the held-out
objects, of those whose noun no training object has, and of --other, a corpus by other authors. In brackets: 95 %
bootstrap intervals over shapes. --ablations trains systems without one of their parts at a time, one seed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from gen3d.corpus.store import Corpus
from gen3d.encoders.aligned import load_encoder
from gen3d.encoders.clip_mini import WEIGHTS_NAME
from gen3d.encoders.trained import ENCODER_NAME
from gen3d.training.checkpoint import Budget
from gen3d.training.encoder_report import Interval, bootstrap, held_out_rows, retrieval, shape_features, zero_shot
from gen3d.training.systems.base import Options
from gen3d.training.train_encoder import train_encoder

SYSTEMS = {
    "text2shape": "Text2Shape",
    "openshape": "OpenShape",
    "clip": "CLIP, views averaged",
    "duoduo": "DuoduoCLIP",
    "align": "gen3d-align",
}
FRAMES = (1, 2, 4, 6, 8, 12)
FURNITURE = ("chair", "table")


@dataclass(frozen=True)
class Ablation:
    """gen3d-align, or OpenShape, with something left out."""

    name: str
    kind: str
    change: dict[str, Any]
    data: dict[str, bool]


ABLATIONS = (
    Ablation("align, no image loss", "align", {"image_loss": False}, {}),
    Ablation("align, no text loss", "align", {"text_loss": False}, {}),
    Ablation("align, one positive", "align", {"each": 1}, {}),
    Ablation("align, no filter", "align", {}, {"filtered": False}),
    Ablation("align, no enrichment", "align", {}, {"enriched": False}),
    Ablation("openshape, no hard mining", "openshape", {"hard": False}, {}),
    Ablation("openshape, no image loss", "openshape", {"image_loss": False}, {}),
    Ablation("openshape, no text loss", "openshape", {"text_loss": False}, {}),
)


class Comparison:
    """The trainings and measurements of one run of this benchmark."""

    def __init__(self, corpus: Corpus, other: Corpus | None, out: Path, budget: Budget, options: Options) -> None:
        self.corpus, self.other, self.out, self.budget, self.options = corpus, other, out, budget, options

    def trained(self, kind: str, seed: int, name: str = "", change: dict[str, Any] | None = None, **data: bool) -> Path:
        """The folder of a trained encoder."""
        folder = self.out / f"seed{seed}" / (name or kind).replace(", ", "-").replace(" ", "-")
        if not (folder / (WEIGHTS_NAME if kind == "clip" else ENCODER_NAME)).is_file():
            clip = None if kind in ("clip", "text2shape") else self.trained("clip", seed)
            print(f"training {name or kind}, seed {seed}", flush=True)
            options = replace(self.options, **(change or {}))
            train_encoder(
                kind, self.corpus, folder / "state", folder, self.budget, clip=clip, seed=seed, options=options,
                device="cpu", **data,
            )  # fmt: skip
        return folder

    def measured(self, folder: Path) -> dict[str, Any]:
        """The scores of an encoder, each value a tensor of single results and the groups that they are resampled by."""
        path = folder / "scores.json"
        if path.is_file():
            return json.loads(path.read_text())
        encoder, found = load_encoder(folder), dict[str, Any]()
        for part, nouns in (("all", ()), ("chairs and tables", FURNITURE)):
            rows = held_out_rows(self.corpus, nouns)
            if len(rows) < 2:
                continue
            records = [self.corpus.records[row] for row in rows]
            result = retrieval(encoder, records, shape_features(encoder, self.corpus, rows))
            for name in ("rr1", "rr5", "ndcg5"):
                found[f"{part} {name}"] = [getattr(result, name).tolist(), result.owner.tolist()]
        if encoder.reads == "views":
            rows = held_out_rows(self.corpus)
            records = [self.corpus.records[row] for row in rows]
            for count in FRAMES:
                if count <= self.corpus.array("views").shape[1]:
                    result = retrieval(encoder, records, shape_features(encoder, self.corpus, rows, count))
                    found[f"frames {count}"] = [result.rr1.tolist(), result.owner.tolist()]
        self._zero_shot(encoder, "held out", self.corpus, held_out_rows(self.corpus), found)
        seen = {self.corpus.records[int(row)].nouns[0] for row in self.corpus.training_indices()}
        unseen = [row for row in held_out_rows(self.corpus) if self.corpus.records[row].nouns[0] not in seen]
        self._zero_shot(encoder, "held-out nouns", self.corpus, unseen, found)
        if self.other is not None:
            rows = [row for row, record in enumerate(self.other.records) if record.nouns]
            self._zero_shot(encoder, "other authors", self.other, rows, found)
        path.write_text(json.dumps(found))
        return found

    def _zero_shot(self, encoder: Any, name: str, corpus: Corpus, rows: Sequence[int], found: dict[str, Any]) -> None:
        if len(rows) > 1:
            scores = zero_shot(encoder, [corpus.records[row] for row in rows], shape_features(encoder, corpus, rows))
            for k, values in scores.items():
                found[f"zero-shot {name} top-{k}"] = [values.tolist(), list(range(len(rows)))]


def pooled(runs: Sequence[dict[str, Any]], name: str) -> Interval | None:
    """The mean over seeds of a score, with an interval over shapes; None where it was not measured."""
    if any(name not in run for run in runs):
        return None
    values = torch.tensor([run[name][0] for run in runs]).mean(0)
    return bootstrap(values, torch.tensor(runs[0][name][1]))


def table(title: str, rows: dict[str, Sequence[dict[str, Any]]], columns: dict[str, str]) -> str:
    """Scores in % as Markdown."""
    lines = [f"**{title}**", "", f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, runs in rows.items():
        cells = [pooled(runs, key) for key in columns.values()]
        if any(cell is not None for cell in cells):
            lines.append(f"| {name} | {' | '.join('-' if cell is None else str(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def tables(scores: dict[str, Sequence[dict[str, Any]]]) -> str:
    parts = [
        table(
            f"Text → shape, {part}: RR@1, RR@5, NDCG@5 in %",
            scores,
            {"RR@1": f"{part} rr1", "RR@5": f"{part} rr5", "NDCG@5": f"{part} ndcg5"},
        )
        for part in ("all", "chairs and tables")
    ]
    parts.append(table("RR@1 in % by number of views", scores, {str(count): f"frames {count}" for count in FRAMES}))
    for name in ("held out", "held-out nouns", "other authors"):
        columns = {f"top-{k}": f"zero-shot {name} top-{k}" for k in (1, 3, 5)}
        parts.append(table(f"Zero-shot names, {name}, in %", scores, columns))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--other", type=Path, help="a corpus by other authors, kept from training")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--steps", type=int, help="steps instead of minutes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("outputs/encoders"))
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    corpus, other = Corpus(args.corpus), Corpus(args.other) if args.other else None
    budget, options = Budget(args.minutes, args.steps), Options(batch=args.batch_size)
    comparison = Comparison(corpus, other, args.out, budget, options)
    scores: dict[str, Sequence[dict[str, Any]]] = {
        SYSTEMS[kind]: [comparison.measured(comparison.trained(kind, seed)) for seed in range(args.seeds)]
        for kind in args.systems
    }
    if args.ablations:
        for one in ABLATIONS:
            folder = comparison.trained(one.kind, 0, one.name, one.change, **one.data)
            scores[one.name] = [comparison.measured(folder)]
    text = f"{len(held_out_rows(corpus))} held-out shapes, {args.seeds} seeds\n\n{tables(scores)}"
    (args.out / "tables.md").write_text(text, "utf-8")
    (args.out / "results.json").write_text(json.dumps(scores))
    print(text)


if __name__ == "__main__":
    main()
