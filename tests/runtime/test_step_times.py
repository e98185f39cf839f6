"""The stopwatch of the loop: parts, guidance's share, and the sentence about it."""

from __future__ import annotations

import pytest

from gen3d.runtime.step_times import REST, StepTimes


def timed(*laps: tuple[str, float], steps: int = 1) -> StepTimes:
    now = [10.0]
    times = StepTimes(lambda: now[0])
    for part, seconds in laps:
        now[0] += seconds
        times.lap(part)
    times.steps = steps
    return times


def test_guidance_is_what_the_scene_does_not_cost() -> None:
    times = timed(
        (REST, 9.0), ("code", 1.0), ("render", 2.0), ("clip", 3.0), ("clip's gradients", 0.8), ("backward", 2.1),
        ("update", 0.9), (REST, 5.0), ("code", 0.2), steps=2,
    )  # fmt: skip
    assert times.total == pytest.approx(10.0)
    assert times.guidance_share == pytest.approx(0.5)
    report = times.report()
    assert report["steps"] == 2
    assert report["seconds_per_step"] == pytest.approx(5.0)
    assert report["guidance_share"] == pytest.approx(0.5)
    assert list(report["shares"]) == ["clip", "backward", "render", "code", "update", "clip's gradients"]
    assert sum(report["shares"].values()) == pytest.approx(1.0)
    assert REST not in report["shares"]


def test_the_sentence_names_what_counts() -> None:
    times = timed(("code", 1.0), ("clip", 2.0), ("regularizers", 0.0), ("render", 4.0), ("backward", 3.0), steps=5)
    assert times.summary() == "A step took 2 s: guidance 30% (clip 20%, code 10%), render 40%, backward 30%."
    assert timed(("render", 1.0), ("backward", 3.0)).summary() == (
        "A step took 4 s: guidance 0%, render 25%, backward 75%."
    )


def test_no_step_no_share() -> None:
    times = StepTimes()
    assert times.guidance_share == 0.0
    assert times.summary() == ""
    assert times.report() == {"steps": 0, "seconds_per_step": 0.0, "guidance_share": 0.0, "shares": {}}
