"""`gen3d compare`: pairs, statistics, the page, and sentences for what cannot be compared."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gen3d.cli import main
from gen3d.errors import UsageError
from gen3d.evaluation.comparison import compared, comparison_page, comparison_table, pairs_of, verdict

HOSTILE = '</td><script>alert(1)</script> & a "chair"'


def run(prompt: str, seed: int, clip: float, **more: Any) -> dict[str, Any]:
    return {"run": f"runs/{prompt}-{seed}", "prompt": prompt, "seed": seed, "clip_score": clip, "janus": 0.5, **more}


def report(runs: list[dict[str, Any]], evaluator: str = "judge", misses: int = 0) -> dict[str, Any]:
    return {"evaluator": evaluator, "runs": runs, "summary": {"misses": misses}}


def test_runs_are_paired_by_prompt_and_seed_or_by_prompt_alone() -> None:
    first = report([run("a", 0, 0.1), run("a", 1, 0.2), run("b", 0, 0.3), run("c", 0, 0.4)])
    second = report([run("b", 0, 0.5), run("a", 1, 0.6), run("d", 0, 0.7)])
    assert [(a["clip_score"], b["clip_score"]) for a, b in pairs_of(first, second)] == [(0.2, 0.6), (0.3, 0.5)]
    others = report([run("a", 7, 0.5)])
    assert [(a["seed"], b["seed"]) for a, b in pairs_of(first, others)] == [(0, 7)]
    with pytest.raises(UsageError, match="no prompt in common"):
        pairs_of(first, report([run("z", 0, 0.1)]))


def test_a_gain_is_told_from_none_and_smaller_may_be_better() -> None:
    prompts = [f"p{number}" for number in range(12)]
    first = report([run(p, 0, n / 20, top1=n > 6, cost={"seconds": 10.0 + n % 3}) for n, p in enumerate(prompts)])
    second = report(
        [run(p, 0, n / 20 + 0.1 + n / 1000, top1=n > 6, cost={"seconds": 5.0}) for n, p in enumerate(prompts)]
    )
    comparison = compared(first, second)
    scores = comparison["scores"]
    assert verdict(scores["CLIP score"]) == "second is better"
    assert scores["CLIP score"]["low"] > 0.1
    assert verdict(scores["seconds"]) == "second is better"
    assert verdict(scores["R-Precision top-1"]) == "no difference shown"
    assert compared(first, second) == comparison
    back = compared(second, first)["scores"]["CLIP score"]
    assert verdict(back) == "first is better"
    with pytest.raises(UsageError, match="do not compare"):
        compared(first, report(second["runs"], "another"))
    others = compared({**first, "gallery": {"kind": "corpus"}}, {**second, "gallery": {"kind": "prompts"}})
    assert scores.keys() - others["scores"].keys() == {"R-Precision top-1"}
    assert "one --gallery" in comparison_table(others, ["a", "b"])
    assert "one --gallery" not in comparison_table(comparison, ["a", "b"])


@pytest.mark.parametrize("pairs", [1, 3])
def test_a_few_pairs_that_agree_show_no_difference(pairs: int) -> None:
    first = report([run(f"p{number}", 0, 0.1) for number in range(pairs)])
    second = report([run(f"p{number}", 0, 0.2) for number in range(pairs)])
    score = compared(first, second)["scores"]["CLIP score"]
    assert score["low"] > 0  # the bootstrap interval of equal differences has no width
    assert verdict(score) == "no difference shown"


def test_numbers_of_a_report_that_are_none_are_left_out() -> None:
    first = report([run("a", 0, 10**400, rank="<b>1</b>"), run("b", 0, 0.5)])
    comparison = compared(first, first)
    assert comparison["scores"]["CLIP score"]["pairs"] == 1
    assert comparison["rows"][0]["rank"] == [None, None]
    page = comparison_page({**comparison, "rows": [{**comparison["rows"][0], "seed": "<b>"}]}, ["a", "b"], Path())
    assert "b" not in Tags(page).tags


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_command_writes_a_page_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs" / "a 1"
    folder.mkdir(parents=True)
    (folder / "preview.png").write_bytes(b"x")
    first = report([run(HOSTILE, 0, 0.5, rank=1), run("a vase", 0, 0.5)])
    first["runs"][0]["run"] = str(folder)
    (tmp_path / "a.json").write_text(json.dumps(first))
    (tmp_path / "b.json").write_text(
        json.dumps(report([run(HOSTILE, 0, 0.7, rank=2), run("a vase", 0, 0.5)], misses=2))
    )
    names = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert main(["compare", *names, "--out", str(tmp_path / "out")]) == 0
    assert "2 misses" in capsys.readouterr().out
    page = Tags((tmp_path / "out" / "comparison.html").read_text("utf-8"))
    assert "script" not in page.tags
    assert page.links == ["data:,", "../runs/a%201/preview.png", "../runs/a%201/preview.png"]
    figures = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    assert figures["scores"]["CLIP score"]["difference"] == pytest.approx(0.1)
    assert figures["misses"] == [0, 2]


@pytest.mark.parametrize(
    ("content", "sentence", "code"),
    [
        ("{", "is no report of 'gen3d evaluate'", 1),
        ('{"runs": []}', "it lacks 'summary'", 1),
        ('{"runs": [{"prompt": 3, "run": "x"}], "summary": {"misses": 0}}', "have no prompts", 1),
        ('{"runs": [{"prompt": "a", "run": "x", "seed": []}], "summary": {"misses": 0}}', "no whole numbers", 1),
        (None, "cannot be read", 2),
    ],
)
def test_what_is_no_report_is_said(
    tmp_path: Path, content: str | None, sentence: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    assert main(["compare", str(tmp_path / "a.json"), "b.json", "--out", str(tmp_path / "out")]) == code
    assert re.search(sentence, capsys.readouterr().err)
