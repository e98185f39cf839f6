"""Scoring generated assets: R-Precision, CLIP score, Janus score and colour binding of renders from held-out poses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gen3d.config.load import MAX_CONFIG_BYTES, parse_stages
from gen3d.config.schema import RunConfig
from gen3d.encoders.evaluator import Evaluator
from gen3d.errors import Gen3DError
from gen3d.evaluation.attributes import attribute_match, dominant_color_of_render, wanted_color
from gen3d.evaluation.metrics import clip_score, janus_score, mean_feature, target_ranks
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.language.front_door import quoted, shortened
from gen3d.language.lexicon import names_of, without_colors
from gen3d.language.phrases import VIEW_TEMPLATE, as_phrase, mentions
from gen3d.rendering.backgrounds import before_white
from gen3d.representations.splats import GaussianSplats
from gen3d.runtime.files import read_user_text
from gen3d.runtime.progress import Reporter

VIEWS = 8
AZIMUTH_OFFSET = 22.5
ELEVATION = 25.0
RENDER_SIZE = 128
"""Pixels a side of the renders: twice the in-house evaluator's input, whose resize then anti-aliases the splats."""

SURE = 0.75
"""Probability from which the evaluator tells a prompt from a near miss; even odds would be 0.5."""

RenderFolder = Callable[[Path, Cameras], tuple[Tensor, Tensor]]

MeasureMore = Callable[[Path, str, Tensor], dict[str, Any]]
"""From a run folder, the text it is judged by and its renders on white to further scores of the run."""


def held_out_azimuths() -> Tensor:
    """Azimuths [VIEWS] in degrees between the canonical corpus views, at an elevation that is none of theirs."""
    return AZIMUTH_OFFSET + torch.arange(VIEWS) * (360.0 / VIEWS)


def held_out_cameras(size: int = RENDER_SIZE) -> Cameras:
    return orbit(held_out_azimuths(), ELEVATION, size)


@torch.no_grad()
def render_run(folder: Path, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Images [B, H, W, 3] on white in 0..1 and alpha [B, H, W, 1] of the splats of a run folder.

    Raises Gen3DError where `splats.ply` is missing or damaged.
    """
    # Readers take a second to import, and a run asks this module before its first step.
    from gen3d.assets.density import narrowed
    from gen3d.assets.read import read_splats

    cloud = narrowed(read_splats(folder / "splats.ply"))
    splats = GaussianSplats(
        cloud.means, cloud.log_scales, cloud.quats, cloud.opacity_logits, cloud.sh_dc[:, None], cloud.sh_rest
    )
    render = splats.render(cameras)
    return before_white(render.rgb, render.alpha), render.alpha


def distractors(prompt: str, gallery: Iterable[str]) -> list[str]:
    """The gallery entries that are wrong for `prompt`, without repetitions.

    Left out are entries that the prompt mentions ("chair" for "a red chair"), more special ones ("office chair",
    "armchair": the asset may be one) and more general ones, as far as the lexicon knows them.
    """
    gallery = list(dict.fromkeys(gallery))
    own = {name for name in gallery if mentions(prompt, name)}
    general = own.union(*(names_of(name) for name in own))
    # What the prompt is about may be no entry itself: a "city bus" is a more special "bus" all the same.
    subject = {without_colors(re.sub(r"^(an?|the) ", "", prompt.strip().lower()))} if not own else set()

    def fits(name: str) -> bool:
        # Entries that name colours are told apart by them, so there the subject alone does not fit.
        subjects = own if without_colors(name) != name else own | subject
        special = subjects.intersection(names_of(name)) or any(name.endswith(f" {noun}") for noun in subjects)
        return name in general or bool(special)

    return [name for name in gallery if not fits(name) and name.lower() != prompt.lower()]


def score_renders(
    evaluator: Evaluator,
    renders: Tensor,
    prompt: str,
    gallery: Sequence[str],
    azimuths: Tensor | None = None,
    alphas: Tensor | None = None,
    near_misses: Sequence[str] = (),
    undone: Sequence[str] = (),
) -> dict[str, Any]:
    """How well renders of one asset match its prompt, as JSON values.

    renders: [V, H, W, 3] on white in 0..1. gallery: texts or nouns to tell the prompt from (see `distractors`).
    azimuths: [V] degrees; with them the Janus score is measured. alphas: [V, H, W, 1]; with them the colour is, where
    the prompt names one. near_misses: texts that differ from the prompt in what is easily missed (see
    `language.front_door.Reading.near_misses`). undone: parts of the prompt that are known not to have been drawn.

    Returns evaluator, prompt, clip_score (mean cosine), rank (of the prompt among `gallery_size` texts, 1 is best),
    top1, top5, best_match (the closest wrong text), probability (softmax over the gallery), and janus, color,
    near_misses (see `weigh_near_misses`), undone where measured or given.
    """
    others = distractors(prompt, gallery)
    texts = evaluator.encode_texts([prompt, *(as_phrase(name) for name in others)])
    views = evaluator.encode_images(renders)
    asset = mean_feature(views)
    rank = int(target_ranks(views[None], texts, torch.tensor([0]))[0])
    cosines = texts @ asset
    scores: dict[str, Any] = {
        "evaluator": evaluator.name,
        "prompt": prompt,
        "clip_score": round(float(clip_score(views[None], texts[:1])[0]), 4),
        "rank": rank,
        "gallery_size": len(texts),
        "top1": rank == 1,
        "top5": rank <= 5,
        "best_match": others[int(cosines[1:].argmax())] if others else None,
        "probability": round(float((evaluator.logit_scale * cosines).softmax(0)[0]), 4),
    }
    if azimuths is not None:
        sides = evaluator.encode_texts([VIEW_TEMPLATE.format(prompt, side) for side in ("front", "back")])
        scores["janus"] = round(janus_score(views, azimuths, sides[0], sides[1], evaluator.logit_scale), 4)
    color = wanted_color(prompt)
    if alphas is not None and color is not None:
        found = dominant_color_of_render(renders, alphas)
        scores["color"] = {"wanted": color, "found": found, "match": attribute_match(renders, alphas, color)}
    if near_misses:
        scores["near_misses"] = weigh_near_misses(evaluator, asset, prompt, near_misses)
    if undone:
        scores["undone"] = list(undone)
    return scores


def weigh_near_misses(
    evaluator: Evaluator, asset: Tensor, prompt: str, near_misses: Sequence[str]
) -> list[dict[str, Any]]:
    """How sure the evaluator is of the prompt rather than of each near miss, the least sure first, as JSON values.

    asset: unit feature [D] of the renders (`metrics.mean_feature`). A rank among a gallery of other things says nothing
    of a count, a denial or a relation: "a chair with armrests" is not in the gallery, and fits as well.

    Returns for each text clip_score, probability (of the prompt, between the two) and told_apart, which is whether it
    is at least `SURE`.
    """
    texts = list(dict.fromkeys(text for text in near_misses if text != prompt))
    if not texts:
        return []
    cosines = evaluator.encode_texts([prompt, *texts]) @ asset
    sure = torch.sigmoid(evaluator.logit_scale * (cosines[0] - cosines[1:]))
    rows = [
        {
            "text": text,
            "clip_score": round(float(cosine), 4),
            "probability": round(float(probability), 4),
            "told_apart": bool(probability >= SURE),
        }
        for text, cosine, probability in zip(texts, cosines[1:], sure, strict=True)
    ]
    return sorted(rows, key=lambda row: row["probability"])


def describe_match(scores: dict[str, Any]) -> str:
    """One or two sentences on how well a result matches its prompt, the whole of it: what is known not to have been
    drawn is named, and so is a near miss that fits as well.
    """
    place = (
        "the best match" if scores["rank"] == 1 else f"match {scores['rank']} (closer: '{scores['best_match']}')"
    ) + f" of {scores['gallery_size']} descriptions"
    color = scores.get("color")
    seen = f", colour {color['found']} for {color['wanted']}" if color and not color["match"] else ""
    line = f"The prompt is {place} by {scores['evaluator']}, cosine {scores['clip_score']:.2f}{seen}."
    found = doubts(scores)
    return f"{line} But {', and '.join(found)}: this does not show that the prompt was met." if found else line


class Reading(Protocol):
    """How a prompt is understood (see `pipeline.prompting.Understood`)."""

    @property
    def judged(self) -> str:
        """The whole prompt without words of style."""

    @property
    def near_misses(self) -> list[str]:
        """Texts that the result must fit less well."""

    @property
    def undone(self) -> list[str]:
        """Parts of the prompt that are not drawn."""


Understand = Callable[[list[RunConfig]], Reading | None]
"""How the prompt of a run of these stages is understood; None where it is taken as it is written."""


def read_stages(folder: Path) -> list[RunConfig]:
    """The stages of a run folder. Raises a Gen3DError where `config.yaml` is missing, damaged or has no prompt."""
    path = folder / "config.yaml"
    stages = parse_stages(read_user_text(path, MAX_CONFIG_BYTES, "configuration"), str(path))
    if not stages[0].prompt:
        raise Gen3DError(f"The configuration {path} names no prompt: name a folder that 'gen3d' generated.")
    return stages


def read_prompt(folder: Path) -> str:
    """The prompt of a run folder. Raises as `read_stages`."""
    return read_stages(folder)[0].prompt


def evaluate_runs(
    evaluator: Evaluator,
    folders: Sequence[Path],
    gallery: Sequence[str],
    reporter: Reporter,
    prompt_set: Sequence[str] = (),
    render: RenderFolder = render_run,
    understand: Understand = lambda stages: None,
    measure: MeasureMore = lambda folder, prompt, images: {},
    lost: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    """The report on run folders, as JSON values: `runs`, `failed`, `missing` and a `summary`.

    prompt_set: the prompts that should have been made. Those without a run, and runs without a readable asset, count as
    misses in R-Precision (as T3Bench counts missing meshes): failing must not pay. The other figures are means of what
    there is. understand: with it a run is judged as `generate` judges it, by the whole prompt and its near misses.
    measure: adds scores to a run. lost: jobs of a batch that left no run, each with `run` and `reason`, which are
    misses, too.
    """
    cameras, azimuths = held_out_cameras(), held_out_azimuths()
    runs: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    seen: set[str] = set()
    for number, folder in enumerate(folders, start=1):
        try:
            stages = read_stages(folder)
            prompt = stages[0].prompt
            seen.add(prompt)
            images, alphas = render(folder, cameras)
        except Gen3DError as error:
            reporter.warn(str(error))
            failed.append({"run": str(folder), "reason": str(error)})
            continue
        reading = understand(stages)
        judged, more = prompt, dict[str, Any]()
        if reading is not None:
            judged, more = reading.judged, {"near_misses": reading.near_misses, "undone": reading.undone}
        others = [text for text in gallery if text != prompt]  # the prompt as it is written is no other text
        scores = score_renders(evaluator, images, judged, others, azimuths, alphas, **more)
        seed = stages[0].seed
        runs.append({"run": str(folder), "seed": seed, **scores, **measure(folder, judged, images)})
        reporter.step(number, len(folders), {"cosine": runs[-1]["clip_score"], "rank": runs[-1]["rank"]})
    failed += lost
    missing = [prompt for prompt in dict.fromkeys(prompt_set) if prompt not in seen]
    report = {"evaluator": evaluator.name, "runs": runs, "failed": failed, "missing": missing}
    return {**report, "summary": _summary(runs, len(failed) + len(missing))}


def doubts(scores: Mapping[str, Any]) -> list[str]:
    """Why a good rank does not show that a prompt was met: parts that were not drawn, near misses that fit."""
    found = []
    if undone := scores.get("undone"):
        found.append(f"not all of it was drawn ({quoted(undone)})")
    if misses := [row["text"] for row in scores.get("near_misses", ()) if not row["told_apart"]]:
        found.append(f"'{shortened(misses[0])}' fits as well")
    return found


def _summary(runs: Sequence[dict[str, Any]], misses: int) -> dict[str, Any]:
    count = len(runs) + misses
    colored = [run["color"]["match"] for run in runs if "color" in run]
    summary: dict[str, Any] = {
        "assets": count,
        "misses": misses,
        "r_precision_top1": _mean([run["top1"] for run in runs], count),
        "r_precision_top5": _mean([run["top5"] for run in runs], count),
        "met": _mean([run["top1"] and not doubts(run) for run in runs], count),
        "clip_score": _mean([run["clip_score"] for run in runs], len(runs)),
        "janus": _mean([run["janus"] for run in runs], len(runs)),
    }
    return summary | ({"color_match": _mean(colored, len(colored))} if colored else {})


def _mean(values: Sequence[float], count: int) -> float | None:
    return round(sum(values) / count, 4) if count else None


def table(report: dict[str, Any]) -> str:
    """The report as plain text, one line a run and one for the whole."""
    lines = [f"{'prompt':<44} {'cosine':>7} {'rank':>5} {'janus':>6}  {'colour':<16} closest other"]
    for run in report["runs"]:
        color = run.get("color")
        seen = f"{color['found']}{'' if color['match'] else ' (wrong)'}" if color else ""
        prompt = run["prompt"] if len(run["prompt"]) <= 44 else run["prompt"][:41] + "..."
        lines.append(
            f"{prompt:<44} {run['clip_score']:7.3f} {run['rank']:5d} {run['janus']:6.2f}  {seen:<16} "
            f"{run['best_match']}"
        )
        if found := doubts(run):
            lines.append(f"  but {', and '.join(found)}")
    total = report["summary"]
    lines.append(
        f"R-Precision top-1 {_percent(total['r_precision_top1'])}, top-5 {_percent(total['r_precision_top5'])} of "
        f"{total['assets']} assets ({total['misses']} missing), {_percent(total['met'])} of them without a doubt, by "
        f"{report['evaluator']}"
    )
    lines += more_lines(total)
    if distance := report.get("distance"):
        few = "; the Fréchet distance is biased for so few" if distance["frechet_is_biased"] else ""
        lines.append(
            f"Fréchet distance {distance['frechet']:.2f}, KID {distance['kid']:.4f} by {distance['encoder']} "
            f"({distance['images']} and {distance['reference_images']} images{few})"
        )
    return "\n".join(lines)


def more_lines(total: Mapping[str, Any]) -> list[str]:
    """Lines on what was measured beside the match, where it was."""
    lines = []
    if "geometry_r_precision_top1" in total:
        lines.append(
            f"without colour: R-Precision top-1 {_percent(total['geometry_r_precision_top1'])}, CLIP score "
            f"{total['geometry_clip_score']:.3f}"
        )
    defects = {name.removeprefix("defect_"): share for name, share in total.items() if name.startswith("defect_")}
    if defects:
        shares = ", ".join(f"{name.replace('_', '-')} {_percent(share)}" for name, share in defects.items())
        lines.append(f"defects of geometry: {shares}")
    if "t3bench" in total:
        lines.append(f"T3Bench's quality protocol: {total['t3bench']:.4f}")
    if "mean_seconds" in total:
        memory = f", {total['mean_memory'] / 1e6:.0f} MB" if "mean_memory" in total else ""
        lines.append(f"a run took {total['mean_seconds']:.0f} s{memory}")
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
