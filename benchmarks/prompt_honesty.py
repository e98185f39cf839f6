"""Is what gen3d says it will draw what the shape prior draws? Twelve newcomers' prompts, and forty others.

    python benchmarks/prompt_honesty.py [--first N] [--count N] [--bare] [--near]

For each prompt: what `pipeline.prompting` says is drawn, and one sample of the packaged prior for it, picked by the
guide among 8 as a run picks it. The sample's field is drawn at the held-out poses and judged by the packaged evaluator,
which guides nothing: the rank of the said name among the names of all training objects (entries that the name covers
are left out, as in `evaluation.evaluate.distractors`), and the name that fits best. Beside them stands the training
object whose shape is nearest. --bare samples the prompt as it is written instead, and judges it by the name that the
prior's own features find nearest: what was said and drawn before.

A prompt of which nothing near is known is honest where that is said; it is not judged.

--near measures the last resort instead, names that are near by the text features: of the things of `stands_for.yaml`,
for how many a name is as near as each threshold, for how many of these it has the noun of a name that the table gives
them (or is called by it), and for how many of the things that nothing can stand for a name is as near.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.encoders.evaluator import Evaluator
from gen3d.evaluation.evaluate import distractors, held_out_cameras
from gen3d.evaluation.metrics import mean_feature
from gen3d.language.captions import with_article
from gen3d.language.lexicon import names_of
from gen3d.language.phrases import as_phrase, mentions
from gen3d.language.word_lists import package_yaml, phrases
from gen3d.pipeline.field_views import field_surface
from gen3d.pipeline.models import Models
from gen3d.pipeline.prompting import CANDIDATES, is_namesake, understand
from gen3d.pipeline.stages import best_sample
from gen3d.priors.concepts import Concepts
from gen3d.rendering.backgrounds import before_white

NEWCOMERS = (
    "a red chair, highly detailed, 8k, octane render, trending on artstation",
    "a DSLR photo of a hamburger",
    "a corgi",
    "a pineapple",
    "a castle",
    "Eiffel tower",
    "Stuhl",
    "椅子",
    "a café table",
    "a chair without armrests",
    "two red apples in a bowl",
    "a cozy little wooden cabin chair for reading long books on quiet evenings by the fire, soft light, warm colours",
)
OTHERS = (
    "a kitten", "a puppy", "a lion", "a pony", "a rooster", "a polar bear", "a knight", "a princess", "an astronaut",
    "a settee", "a rocking chair", "a throne", "a nightstand", "a lava lamp", "a candle", "a kettle", "a coffee mug",
    "a wine glass", "a frying pan", "an apple", "a sandwich", "a croissant", "a wedding cake", "an oak tree", "a rose",
    "a bouquet of roses", "a racing car", "a school bus", "a locomotive", "a fighter jet", "a canoe", "an iPhone",
    "a grandfather clock", "an acoustic guitar", "a tennis ball", "a cowboy hat", "a purple throne", "a blue kitten",
    "a red mailbox with a flag", "a giraffe",
)  # fmt: skip


def views(models: Models, text: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images of the picked sample for `text` on white [V, H, W, 3], and its code [1, K]."""
    code = best_sample(models, models.features(text), RunConfig(prompt=text), generator)
    rgb, alpha = field_surface(models.prior, code, 48).render(held_out_cameras(64))
    return before_white(rgb, alpha), code


def nearest_name(models: Models, prompt: str) -> str:
    """What `Concepts.check` calls nearest to a prompt with an unknown word, and the prompt itself otherwise."""
    unknown = models.prior.concepts.check(prompt, models.features(prompt))
    return unknown.nearest if unknown else prompt


@torch.no_grad()
def judge(evaluator: Evaluator, images: Tensor, name: str, gallery: list[str]) -> tuple[int, str]:
    """Rank of `name` among the names that are wrong for it, and the name of the gallery that fits best."""
    asset = mean_feature(evaluator.encode_images(images))
    others = distractors(as_phrase(name), gallery)
    cosines = evaluator.encode_texts([as_phrase(name), *map(as_phrase, others)]) @ asset
    all_names = evaluator.encode_texts([as_phrase(other) for other in gallery]) @ asset
    return int((cosines >= cosines[0]).sum()), gallery[int(all_names.argmax())]


def near(models: Models) -> None:
    """Prints what each threshold of nearness would take for what was asked."""
    concepts, table = models.prior.concepts, package_yaml("stands_for.yaml")
    wanted: dict[str, set[str]] = {}
    for name, text in table["names"].items():
        for thing in phrases(text):
            wanted.setdefault(thing, set()).update(names_of(name))
    hopeless = phrases(table["nothing"])
    found = {thing: _nearest(thing, concepts, models) for thing in [*wanted, *hopeless]}
    print("| threshold | has a near name | of its noun | nothing near, wrongly |\n|---|---|---|---|")
    for threshold in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75):
        taken = [thing for thing in wanted if found[thing][1] >= threshold]
        right = sum(
            any(found[thing][0].split()[-1] == name.split()[-1] for name in wanted[thing])
            or bool(names_of(found[thing][0]) & wanted[thing])
            for thing in taken
        )
        wrong = sum(found[thing][1] >= threshold for thing in hopeless) / len(hopeless)
        print(f"| {threshold} | {len(taken) / len(wanted):.0%} | {right / max(1, len(taken)):.0%} | {wrong:.0%} |")


def _nearest(thing: str, concepts: Concepts, models: Models) -> tuple[str, float]:
    """The nearest name that is no mere namesake, and its cosine."""
    half = concepts.features.shape[1] // 2
    similarity = concepts.features[:, :half].float() @ models.prior.text.encode([with_article(thing)])[0, :half]
    best = similarity.topk(CANDIDATES)
    named = ((concepts.names[index], value) for value, index in zip(*map(Tensor.tolist, best), strict=True))
    return next(((name, value) for name, value in named if not is_namesake(thing, name)), ("", -1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=len(NEWCOMERS) + len(OTHERS))
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--near", action="store_true")
    args = parser.parse_args()
    models, evaluator = Models(), Evaluator.load()
    if args.near:
        near(models)
        return
    prompts = [*NEWCOMERS, *OTHERS][args.first :][: args.count]
    print("| prompt | said | rank | judged | nearest object | s |\n|---|---|---|---|---|---|")
    ranks, agree, told, silent = [], 0, 0, 0
    for prompt in prompts:
        began = time.perf_counter()
        understood = understand(prompt, models.prior.concepts, models.prior.text.encode)
        text = prompt if args.bare else understood.prompt_to_draw
        said = nearest_name(models, prompt) if args.bare else understood.name
        images, code = views(models, text, torch.Generator().manual_seed(0))
        nearest, _ = models.prior.nearest_training_object(code)
        if not said:
            told += 1
            print(
                f"| {prompt[:50]} | nothing near | - | - | {nearest} | {time.perf_counter() - began:.1f} |", flush=True
            )
            continue
        silent += not args.bare and not understood.remarks and understood.prompt_to_draw != prompt
        rank, best = judge(evaluator, images, said, models.gallery)
        ranks.append(rank)
        agree += any(mentions(own, said) or mentions(said, own) for own in names_of(nearest))
        row = f"| {prompt[:50]} | {text if not args.bare else said} | {rank} | {best} | {nearest} |"
        print(f"{row} {time.perf_counter() - began:.1f} |", flush=True)
    if ranks:
        first, fifth = (sum(rank <= k for rank in ranks) for k in (1, 5))
        print(
            f"\nOf {len(ranks)} named things the judge ranks {first} first and {fifth} among five; the nearest "
            f"training object is one in {agree}. Nothing near was said of {told}. Changed without a word: {silent}."
        )


if __name__ == "__main__":
    main()
