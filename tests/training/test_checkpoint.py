"""A training goes on from its checkpoint to the same bits, and a checkpoint that cannot be trusted is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gen3d.errors import Gen3DError
from gen3d.runtime.tensors import load_state, save_state
from gen3d.training.checkpoint import Budget, MovingAverage, TrainingState


def network(width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.LazyLinear(1))
    made(torch.zeros(2, 3, 5, 5))
    return made.to(memory_format=torch.channels_last)


def training(folder: Path, width: int = 4) -> TrainingState[nn.Sequential]:
    model = network(width)
    return TrainingState(folder, model, torch.optim.AdamW(model.parameters(), 1e-2), seed=3)


def run(state: TrainingState[nn.Sequential], steps: int) -> None:
    for _ in range(steps):
        images = torch.randn(6, 3, 5, 5, generator=state.generator).to(memory_format=torch.channels_last)
        state.optimizer.zero_grad()
        state.model(images).square().mean().backward()
        state.optimizer.step()
        state.advance(0.5)


def tensors(state: TrainingState[nn.Sequential]) -> dict[str, Tensor]:
    found = {f"model/{name}": value for name, value in state.model.state_dict().items()}
    found |= {f"average/{name}": value for name, value in state.averaged().state_dict().items()}
    for index, slots in state.optimizer.state_dict()["state"].items():
        found |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
    return {**found, "generator": state.generator.get_state()}


def test_a_resumed_training_ends_at_the_same_bits(tmp_path: Path) -> None:
    whole, first, second = training(tmp_path / "whole"), training(tmp_path / "parts"), training(tmp_path / "parts")
    assert not whole.resume()
    run(whole, 5)
    run(first, 2)
    first.save()
    assert second.resume()
    assert (second.step, second.seconds) == (2, 1.0)
    run(second, 3)
    for name, value in tensors(whole).items():
        other = tensors(second)[name]
        assert torch.equal(value, other), name
        assert value.stride() == other.stride(), f"{name} lies in memory as it did"
    assert [file.name for file in (tmp_path / "parts").iterdir()] == ["state.safetensors"]


def test_the_average_holds_the_statistics_of_batch_norm_and_counts(tmp_path: Path) -> None:
    state = training(tmp_path)
    run(state, 3)
    average, norm = state.averaged(), state.model[1]
    assert average[1].num_batches_tracked == norm.num_batches_tracked == 4  # one batch made the lazy layer
    assert not torch.equal(average[1].running_mean, norm.running_mean)
    assert average[1].running_mean.abs().sum() > 0
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_the_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, decay=0.5)
    expected = 0.0
    for step, decay in ((1, 2 / 11), (2, 3 / 12), (20, 0.5)):
        nn.init.constant_(model.weight, float(step))
        average.update(model, step)
        expected = decay * expected + (1 - decay) * step
        assert average.model.weight.item() == pytest.approx(expected)


def test_it_is_saved_now_and_then(tmp_path: Path) -> None:
    state = training(tmp_path)
    run(state, 1)
    assert not state.path.exists()
    state.save_every = 0.0
    run(state, 1)
    assert load_state(state.path)["progress"] == {"step": 2, "seconds": 1.0}


def test_a_training_that_diverged_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    state = training(tmp_path)
    run(state, 1)
    with torch.no_grad():
        state.model[0].weight[0, 0, 0, 0] = math.nan
    with pytest.raises(Gen3DError, match=r"diverged: after 1 steps the tensor 'model/0.weight' is not finite"):
        state.save()
    assert not state.path.exists()
    other = training(tmp_path)
    run(other, 1)
    other.save()
    with torch.no_grad():
        other.averaged()[1].running_var.fill_(math.inf)
    with pytest.raises(
        Gen3DError, match=r"'average/1.running_var' is not finite .* '.*state.safetensors' is from before"
    ):
        other.save()
    assert training(tmp_path).resume()


def change(path: list[str | int], value: Any) -> Callable[[dict[str, Any]], None]:
    def act(state: dict[str, Any]) -> None:
        inner: Any = state
        for key in path[:-1]:
            inner = inner[key]
        if value is None:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value

    return act


BROKEN = [
    (change(["model", "0.bias"], torch.full((4,), math.nan)), r"'model/0.bias' in '.*state.safetensors' holds numbers"),
    (
        change(["average", "1.running_var"], torch.full((4,), math.inf)),
        r"'average/1.running_var' in '.*' holds numbers",
    ),
    (change(["optimizer", 1, "exp_avg"], torch.full((4,), math.nan)), r"'optimizer/1/exp_avg' in '.*' holds numbers"),
    (change(["model", "0.bias"], torch.zeros(5)), r"state.safetensors' does not fit .*'0.bias' has the shape \[5\]"),
    (change(["average", "0.bias"], None), r"state.safetensors' does not fit .* lacks the tensor '0.bias'"),
    (change(["model", "other"], torch.zeros(1)), r"state.safetensors' does not fit .* no tensor 'other'"),
    (change(["model", "0.bias"], "text"), r"lacks the tensor '0.bias'"),
    (
        change(["optimizer", 1, "exp_avg"], torch.zeros(3)),
        r"'optimizer/1/exp_avg' has the shape \[3\] instead of \[4\]",
    ),
    (change(["optimizer", 99], {}), "has a parameter 99, which the model does not have"),
    (change(["optimizer", "0"], {}), "has a parameter '0'"),
    (change(["optimizer", 0], 3), "has a parameter 0"),
    (change(["generator"], torch.zeros(3, dtype=torch.uint8)), "'generator' is no state of a random generator"),
    (change(["generator"], torch.zeros(5056)), "'generator' is no state of a random generator"),
    (change(["progress", "step"], "many"), "after 'many' steps"),
    (change(["progress", "step"], -1), "after -1 steps"),
    (change(["progress", "seconds"], math.nan), "and nan seconds"),
    (change(["kinds"], ["Other", "SGD"]), "It is of Other with SGD, not Sequential with AdamW"),
    (change(["progress"], None), "It is no checkpoint of a training"),
    (change(["model"], [1]), "It is no checkpoint of a training"),
]


@pytest.mark.parametrize(("damage", "said"), BROKEN)
def test_checkpoints_that_cannot_be_trusted_are_refused(
    damage: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    made = training(tmp_path)
    run(made, 1)
    made.save()
    stored = load_state(made.path)
    damage(stored)
    save_state(made.path, stored)
    state = training(tmp_path)
    before = {name: value.clone() for name, value in tensors(state).items()}
    with pytest.raises(Gen3DError, match=rf"^The checkpoint '.*' cannot be continued: remove it, or .*{said}"):
        state.resume()
    assert state.step == 0
    assert all(torch.equal(before[name], value) for name, value in tensors(state).items())


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    made = training(tmp_path)
    run(made, 1)
    made.save()
    whole = made.path.read_bytes()
    for content in (b"", b"not a checkpoint", whole[:-1], whole[: len(whole) // 2]):
        made.path.write_bytes(content)
        with pytest.raises(Gen3DError, match=r"cannot be continued: .* damaged, cut off or no safetensors file"):
            training(tmp_path).resume()
    for other in ([1, 2], None, {"model": {}}):
        save_state(made.path, other)
        with pytest.raises(Gen3DError, match="It is no checkpoint of a training"):
            training(tmp_path).resume()
    made.save()
    with pytest.raises(Gen3DError, match=r"'0.weight' has the shape \[4, 3, 3, 3\] instead of \[6, 3, 3, 3\]"):
        training(tmp_path, width=6).resume()


def test_a_budget_counts_steps_or_seconds(tmp_path: Path) -> None:
    state = training(tmp_path)
    run(state, 3)
    assert Budget(steps=6).spent(state) == 0.5
    assert Budget(minutes=0.1).spent(state) == pytest.approx(0.25)
    assert Budget().spent(state) == 1.0
    assert Budget(steps=6).count(state) == (3, 6)
