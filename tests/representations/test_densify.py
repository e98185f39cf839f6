"""Adaptive density control edits the Gaussians and the optimiser's state together."""

from __future__ import annotations

import pytest
import torch

from gen3d.config.schema import SplatsConfig
from gen3d.geometry.cameras import orbit
from gen3d.representations.densify import SPLIT_SHRINK, Densifier, select_rows
from gen3d.representations.splats import PARAMETERS, GaussianSplats


def _scene(count: int = 30, scale: float = 0.1) -> tuple[GaussianSplats, torch.optim.Adam]:
    """Gaussians whose Adam state has been through a few steps."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 3, generator=generator) - 0.5
    splats = GaussianSplats.from_points(
        points, torch.rand(count, 3, generator=generator), torch.full((count,), scale), opacity=0.6
    )
    optimizer = torch.optim.Adam(splats.param_groups(SplatsConfig()))
    for _ in range(3):
        _train_step(splats, optimizer)
    return splats, optimizer


def _train_step(splats: GaussianSplats, optimizer: torch.optim.Optimizer, densifier: Densifier | None = None) -> float:
    render = splats.render(orbit(torch.tensor([0.0, 90.0, 200.0]), 10.0, 24))
    loss = (render.rgb - 0.3).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if densifier is not None:
        densifier.observe(render)
    return loss.item()


def _densifier(**changes: object) -> Densifier:
    return Densifier(SplatsConfig(**{"count": 30, **changes}), torch.Generator().manual_seed(1))  # type: ignore[arg-type]


def _fingerprints(splats: GaussianSplats, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """Every value and every optimiser entry of a Gaussian in one row, [N, D]."""
    rows = []
    for name in PARAMETERS:
        parameter = getattr(splats, name)
        rows.append(parameter.detach().flatten(1) if parameter.ndim > 1 else parameter.detach()[:, None])
        for key in ("exp_avg", "exp_avg_sq"):
            if parameter in optimizer.state:
                rows.append(optimizer.state[parameter][key].reshape(len(parameter), -1))
    return torch.cat(rows, 1)


def test_state_rows_follow_their_gaussians() -> None:
    splats, optimizer = _scene()
    before = _fingerprints(splats, optimizer)
    rows = torch.tensor([5, 2, 2, 29, 0])
    select_rows(splats, optimizer, rows)
    assert torch.equal(_fingerprints(splats, optimizer), before[rows])
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(p) for p in splats.parameters() if p.numel()}
    assert set(map(id, optimizer.state)) <= held  # nothing is kept alive for parameters that are gone
    _train_step(splats, optimizer)  # and the optimiser still moves them
    assert not torch.equal(splats.means.detach(), before[rows][:, :3])


def test_pruned_gaussians_were_transparent_or_too_large() -> None:
    splats, optimizer = _scene()
    with torch.no_grad():
        splats.opacity_logits[:4] = -8.0
        splats.log_scales[4] = 1.0
    survivors = _fingerprints(splats, optimizer)[5:]
    change = _densifier().refine(splats, optimizer)
    assert (change.pruned, change.cloned, change.split) == (5, 0, 0)
    assert torch.equal(_fingerprints(splats, optimizer), survivors)


def test_pruning_transparent_gaussians_leaves_the_image() -> None:
    splats, optimizer = _scene()
    with torch.no_grad():
        splats.opacity_logits[::3] = -6.0  # below 1/255: never drawn
    cameras = orbit(torch.tensor([30.0]), 10.0, 24)
    before = splats.render(cameras).rgb.detach()
    assert _densifier().refine(splats, optimizer).pruned == 10
    assert torch.equal(splats.render(cameras).rgb.detach(), before)


def test_small_gaussians_are_cloned_in_place() -> None:
    splats, optimizer = _scene(scale=0.015)
    densifier = _densifier(densify_gradient=0.0)
    _train_step(splats, optimizer, densifier)
    before = _fingerprints(splats, optimizer)
    change = densifier.refine(splats, optimizer)
    assert change.split == 0
    assert change.cloned == splats.num_gaussians - 30 > 0
    after = _fingerprints(splats, optimizer)
    assert torch.equal(after[:30], before)  # the originals keep everything
    clones = splats.means.detach()[30:]
    assert torch.isin(clones, before[:, :3]).all()
    assert float(optimizer.state[splats.means]["exp_avg"][30:].abs().sum()) == 0  # newcomers have no history


def test_large_gaussians_are_split_into_smaller_ones_nearby() -> None:
    splats, optimizer = _scene(scale=0.1)
    densifier = _densifier(densify_gradient=0.0)
    _train_step(splats, optimizer, densifier)
    means, scales = splats.means.detach().clone(), splats.scales.detach().clone()
    change = densifier.refine(splats, optimizer)
    assert change.cloned == 0
    assert change.split == splats.num_gaussians - 30 > 0
    moved = (splats.means.detach()[:30] != means).any(-1)
    assert int(moved.sum()) == change.split
    assert torch.allclose(splats.scales[:30][moved], scales[moved] / SPLIT_SHRINK)
    assert float((splats.means.detach()[:30] - means).norm(dim=-1).max()) < 6 * 0.12  # drawn from the Gaussian


@pytest.mark.parametrize("cap", [30, 33, 1000])
def test_the_count_never_exceeds_the_cap(cap: int) -> None:
    splats, optimizer = _scene()
    densifier = _densifier(densify_gradient=0.0, max_count=cap)
    for _ in range(4):
        _train_step(splats, optimizer, densifier)
        densifier.refine(splats, optimizer)
        assert splats.num_gaussians <= cap
    assert splats.num_gaussians > 30 or cap == 30


def test_the_largest_gradients_go_first() -> None:
    splats, optimizer = _scene(scale=0.015)
    densifier = _densifier(densify_gradient=0.0, max_count=31)
    render = splats.render(orbit(torch.tensor([0.0]), 0.0, 24))
    render.means2d_grad.copy_(torch.arange(30.0))
    render.views_seen.fill_(1)
    densifier.observe(render)
    densifier.refine(splats, optimizer)
    assert torch.equal(splats.means[30], splats.means[29])


def test_the_same_generator_gives_the_same_scene() -> None:
    results = []
    for _ in range(2):
        splats, optimizer = _scene()
        densifier = _densifier(densify_gradient=0.0)
        for _ in range(2):
            _train_step(splats, optimizer, densifier)
            densifier.refine(splats, optimizer)
        results.append(_fingerprints(splats, optimizer))
    assert torch.equal(*results)


def test_an_empty_scene_never_results() -> None:
    splats, optimizer = _scene()
    with torch.no_grad():
        splats.opacity_logits.fill_(-8.0)
        splats.opacity_logits[7] = -7.0
    kept = splats.means.detach()[7].clone()
    _densifier().refine(splats, optimizer)
    assert splats.num_gaussians == 1
    assert torch.equal(splats.means.detach()[0], kept)


def test_the_schedule() -> None:
    splats, optimizer = _scene()
    densifier = _densifier(densify_from=4, densify_every=2, densify_until=0.8)
    due = [step for step in range(1, 13) if densifier.step(splats, optimizer, step, 10) is not None]
    assert due == [4, 6, 8]


def test_training_goes_on_after_densification() -> None:
    splats, optimizer = _scene()
    densifier = _densifier(densify_gradient=0.0, max_count=60)
    first = _train_step(splats, optimizer, densifier)
    densifier.refine(splats, optimizer)
    for _ in range(30):
        last = _train_step(splats, optimizer, densifier)
    assert last < 0.95 * first


def test_renders_of_another_scene_are_refused() -> None:
    splats, optimizer = _scene()
    densifier = _densifier()
    _train_step(splats, optimizer, densifier)
    other, _ = _scene(count=10)
    with pytest.raises(ValueError, match="has 10 Gaussians and the strategy has watched 30"):
        densifier.observe(other.render(orbit(torch.tensor([0.0]), 0.0, 16)))
