"""Relocation, noise and growth of 3DGS-MCMC against numerical integrals, gsplat's covariances and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gen3d.config.load import load_config
from gen3d.config.schema import SplatsConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import turntable
from gen3d.pipeline.optimizer import make_optimizer
from gen3d.rendering.splats import SplatRender
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.mcmc import McmcStrategy, position_noise, relocated
from gen3d.representations.splats import GaussianSplats


def cloud(count: int = 60, opacity: float = 0.8, seed: int = 0) -> GaussianSplats:
    generator = torch.Generator().manual_seed(seed)
    points, colors = torch.rand(2, count, 3, generator=generator)
    scales = 0.02 + 0.08 * torch.rand(count, 3, generator=generator)
    normals = torch.randn(count, 3, generator=generator)
    return GaussianSplats.from_points(points - 0.5, colors, scales, opacity, normals)


def scene(splats: GaussianSplats, **settings: Any) -> SplatScene:
    return SplatScene(splats, SplatsConfig(strategy="mcmc", **settings), torch.Generator().manual_seed(0))


def line_integral(opacity: float, scale: float, copies: int) -> float:
    """Sum along a line through the middle of what `copies` equal Gaussians in one place hide together."""
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    alpha = opacity * torch.exp(-0.5 * (x / scale).square())
    return float((1 - (1 - alpha) ** copies).sum() * (x[1] - x[0]))


@pytest.mark.parametrize("copies", [1, 2, 3, 10, 51])
@pytest.mark.parametrize("opacity", [0.05, 0.6, 0.999])
def test_copies_look_like_the_one_they_replace(opacity: float, copies: int) -> None:
    scales = torch.tensor([[1.0, 0.5, 2.0]], dtype=torch.float64)
    new, smaller = relocated(torch.tensor([opacity], dtype=torch.float64), scales, torch.tensor([copies]))
    assert 1 - (1 - new.item()) ** copies == pytest.approx(opacity, rel=1e-9)
    wanted = line_integral(opacity, 1.0, 1)
    assert line_integral(new.item(), smaller[0, 0].item(), copies) == pytest.approx(wanted, rel=1e-6)
    assert torch.allclose(smaller[0] / smaller[0, 0], scales[0])


def test_noise_is_the_covariance_times_gated_draws() -> None:
    """gsplat's own covariances; the gate is half open at an opacity of 0.005."""
    implementation = pytest.importorskip("gsplat.cuda._torch_impl")
    splats = cloud(opacity=0.005)
    covariances, _ = implementation._quat_scale_to_covar_preci(splats.unit_quats, splats.scales, True, False, False)
    draws = torch.randn(splats.means.shape, generator=torch.Generator().manual_seed(3))
    wanted = 7.0 * 0.5 * (covariances @ draws[..., None]).squeeze(-1)
    found = position_noise(splats, 7.0, torch.Generator().manual_seed(3))
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-7)
    assert position_noise(cloud(opacity=0.5), 7.0, torch.Generator().manual_seed(3)).abs().max() < 1e-10


def to_nearest(points: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(points.detach(), others, compute_mode="donot_use_mm_for_euclid_dist").amin(1)


def image(splats: GaussianSplats) -> Tensor:
    with torch.no_grad():
        return splats.render(turntable(2, 64)).rgb


def test_the_dead_come_back_without_a_change_of_the_picture() -> None:
    splats = cloud(count=300, opacity=0.3)
    with torch.no_grad():
        splats.opacity_logits[:100] = -6.0
    made = scene(splats, count=300, max_count=300)
    optimizer = make_optimizer(made)
    before, alive = image(splats), splats.means[100:].detach().clone()
    change = made.densifier.refine(splats, optimizer)
    assert (change.relocated, change.added) == (100, 0)  # type: ignore[union-attr]
    assert splats.opacities.min() > 0.02
    assert to_nearest(splats.means[:100], alive).max() == 0
    assert torch.equal(splats.means[100:].detach(), alive)
    assert (image(splats) - before).abs().mean() < 0.15 * before.abs().mean()
    assert all(any(parameter is p for g in optimizer.param_groups for p in g["params"]) for parameter in
               (splats.means, splats.opacity_logits, splats.sh))  # fmt: skip


def test_hosts_are_drawn_by_opacity() -> None:
    splats = cloud(count=2000, opacity=0.1)
    with torch.no_grad():
        splats.opacity_logits[:1000] = -6.0
        splats.opacity_logits[1000:1500] = torch.logit(torch.tensor(0.4))
    made = scene(splats, count=2000, max_count=2000)
    strong = splats.means[1000:1500].detach().clone()
    made.densifier.refine(splats, make_optimizer(made))
    share = (to_nearest(splats.means[:1000], strong) == 0).float().mean()
    assert share.item() == pytest.approx(0.8, abs=0.05)


def test_growth_stops_at_the_limit_and_state_starts_anew() -> None:
    splats = cloud(count=100)
    made = scene(splats, count=100, max_count=107)
    optimizer = make_optimizer(made)
    made.render(turntable(1, 32)).rgb.sum().backward()
    optimizer.step()
    counts = []
    for _ in range(3):
        made.densifier.refine(splats, optimizer)
        counts.append(splats.num_gaussians)
    assert counts == [105, 107, 107]
    assert (optimizer.state[splats.means]["exp_avg"][100:] == 0).all()
    assert len(optimizer.state[splats.means]["exp_avg"]) == 107


def test_an_empty_scene_keeps_its_most_opaque_gaussian() -> None:
    splats = cloud(count=10, opacity=0.001)
    made = scene(splats, count=10, max_count=10)
    with torch.no_grad():
        splats.opacity_logits[4] += 1
    change = made.densifier.refine(splats, make_optimizer(made))
    assert change.relocated == 9  # type: ignore[union-attr]
    assert (splats.means == splats.means[4]).all()


def run(strategy: str, steps: int, sh_degree: int = 0) -> tuple[float, float, GaussianSplats]:
    """First and last error of a few steps towards another cloud's pictures."""
    target, cameras = cloud(count=80, seed=5), turntable(2, 48)
    wanted = target.render(cameras).rgb.detach()
    config = SplatsConfig(count=80, max_count=120, strategy=strategy, densify_every=5, densify_from=5, lr_position=0.01,
                          mcmc_noise=10.0, sh_degree=sh_degree)  # fmt: skip
    splats = cloud(count=80, seed=6)
    splats = GaussianSplats.from_points(splats.means, splats.base_colors, splats.scales, 0.5, sh_degree=sh_degree)
    made = SplatScene(splats, config, torch.Generator().manual_seed(0))
    optimizer, errors = make_optimizer(made), []
    for step in range(1, steps + 1):
        render = made.render(cameras)
        error = (render.rgb - wanted).abs().mean()
        errors.append(error.item())
        optimizer.zero_grad()
        (error + made.regularization(render, 0.0)).backward()
        made.after_backward(render)
        optimizer.step()
        made.after_step(optimizer, step, steps)
    return errors[0], errors[-1], made.splats


def test_the_loss_falls_and_the_number_grows_under_mcmc() -> None:
    first, last, splats = run("mcmc", 40)
    assert last < 0.6 * first
    assert splats.num_gaussians == 100  # 5 % at each of the steps 5 to 25, rounded down


@pytest.mark.parametrize("strategy", ["gradient", "mcmc"])
def test_harmonics_are_learned_and_follow_the_rows(strategy: str) -> None:
    _, _, splats = run(strategy, 12, sh_degree=2)
    assert splats.sh_rest.shape == (splats.num_gaussians, 8, 3)
    assert splats.sh_rest.abs().max() > 0


def test_regularisation_is_the_weighted_means() -> None:
    splats = cloud(opacity=0.25)
    made = scene(splats, mcmc_opacity=2.0, mcmc_scale=3.0)
    value = made.regularization(SplatRender(*(torch.zeros(1, 2, 2, c) for c in (3, 1, 1))), 0.5)
    assert value.item() == pytest.approx(0.5 + 3 * splats.scales.mean().item(), rel=1e-5)
    plain = SplatScene(splats, SplatsConfig(), torch.Generator())
    assert plain.regularization(SplatRender(*(torch.zeros(1, 2, 2, c) for c in (3, 1, 1))), 0.5).item() == 0


@pytest.mark.parametrize("make", [McmcStrategy])
def test_equal_seeds_give_equal_scenes(make: Callable[..., Any]) -> None:
    results = []
    for _ in range(2):
        splats = cloud(count=50, opacity=0.004)
        with torch.no_grad():
            splats.opacity_logits[25:] = 0.0
        made = scene(splats, count=50, max_count=60, densify_every=1, densify_from=1)
        made.after_step(make_optimizer(made), 1, 10)
        results.append(splats.means.detach().clone())
    assert torch.equal(*results)


def test_unknown_strategies_are_refused() -> None:
    assert load_config(None, ["splats.strategy=mcmc"]).splats.strategy == "mcmc"
    with pytest.raises(UsageError, match=r"'splats\.strategy' is 'adc', but must be one of gradient, mcmc"):
        load_config(None, ["splats.strategy=adc"])
