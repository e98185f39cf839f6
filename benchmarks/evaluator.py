"""The judge's ceiling: R-Precision of *true* renders of the corpus objects that the prompts mean.

    python benchmarks/evaluator.py --corpus corpus [--prompts prompts/evaluation60.txt] [--decoded]

No generator can be told to be better than the objects themselves, so this is what `text_match.py` can reach at most.
The objects are training objects: the names are those that the shape prior knows. --decoded scores what the shape
prior's decoder makes of the objects' own codes instead, which is as well as its samples can do.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from torch import Tensor

from gen3d.corpus.store import Corpus
from gen3d.encoders.evaluator import Evaluator, load_gallery
from gen3d.evaluation.evaluate import held_out_cameras, score_renders
from gen3d.language.prompts import load_prompt_list
from gen3d.pipeline.field_views import field_surface
from gen3d.priors.shape_prior import ShapePrior
from gen3d.rendering.backgrounds import before_white
from gen3d.training.view_data import premultiplied

DECODED_GRID = 80


def object_named(corpus: Corpus, noun: str) -> int | None:
    """The first training object whose main name is `noun`, else the first that is called so at all."""
    rows = [int(i) for i in corpus.training_indices()]
    for names in (slice(0, 1), slice(None)):
        for row in rows:
            if noun in corpus.records[row].nouns[names]:
                return row
    return None


def true(corpus: Corpus, row: int) -> Tensor:
    """The corpus views of an object on white, [V, 64, 64, 3]."""
    views = premultiplied(corpus.array("views")[row])
    return before_white(views[..., :3], views[..., 3:])


def decoded(prior: ShapePrior, index: int) -> Tensor:
    """Views of the decoded code of a training object on white, from the poses that assets are judged at."""
    surface = field_surface(prior, prior.training.codes[index : index + 1], DECODED_GRID)
    rgb, alpha = surface.render(held_out_cameras())
    return before_white(rgb, alpha)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, default=Path("prompts/evaluation60.txt"))
    parser.add_argument("--decoded", action="store_true", help="score the decoded codes of the objects")
    parser.add_argument("--weights", type=Path, help="folder of another evaluator than the packaged one")
    args = parser.parse_args()
    corpus, evaluator, gallery = Corpus(args.corpus), Evaluator.load(args.weights), load_gallery()
    prior = ShapePrior.load() if args.decoded else None
    place = {int(row): index for index, row in enumerate(corpus.training_indices())}
    ranks = []
    for prompt in load_prompt_list(args.prompts):
        row = object_named(corpus, re.sub(r"^(an?|the) ", "", prompt))
        if row is None:
            print(f"{prompt}: no training object is called so")
            continue
        scores = score_renders(evaluator, decoded(prior, place[row]) if prior else true(corpus, row), prompt, gallery)
        ranks.append(scores["rank"])
        if ranks[-1] > 1:
            print(f"{prompt}: rank {ranks[-1]}, closer: {scores['best_match']}")
    top1, top5 = (sum(rank <= limit for rank in ranks) / len(ranks) for limit in (1, 5))
    print(f"{len(ranks)} objects: R-Precision top-1 {top1:.0%}, top-5 {top5:.0%}")


if __name__ == "__main__":
    main()
