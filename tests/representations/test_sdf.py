"""The signed distance field as a representation: its density, its gradients, its start and what it learns."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gen3d.config.schema import RunConfig, SdfConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import turntable
from gen3d.meshing.level_set import extract_mesh
from gen3d.rendering.encodings import hash_encode
from gen3d.representations.sdf import Sdf, neus_depths, volsdf_density
from gen3d.representations.shape import Shape
from gen3d.representations.table import build

SMALL = {
    "rows": 4096,
    "levels": 6,
    "finest": 48,
    "fit_steps": 80,
    "occupancy": 32,
    "samples": 80,
    "resolution": 32,
    "settle_steps": 0,
}
every = pytest.mark.parametrize(("density", "encoding"), [("neus", "hash"), ("volsdf", "hash"), ("neus", "triplane")])


@pytest.fixture(scope="module")
def ball(ball_of: Callable[..., Shape]) -> Shape:
    return ball_of(0.6)


def make(shape: Shape, density: str = "neus", encoding: str = "hash", seed: int = 0, **settings: float) -> Sdf:
    config = SdfConfig(density=density, encoding=encoding, **{**SMALL, **settings})  # type: ignore[arg-type]
    return Sdf.from_shape(shape, config, torch.Generator().manual_seed(seed))


@every
def test_the_start_looks_like_the_shape(ball: Shape, psnr: Callable[..., float], density: str, encoding: str) -> None:
    cameras = turntable(2, 64)
    scene = make(ball, density, encoding)
    assert psnr(scene, ball, cameras) > 22
    with torch.no_grad():
        render = scene.render(cameras)
    assert render.normal is not None
    middle = render.normal[0, 32, 32]
    towards = torch.nn.functional.normalize(cameras.positions[0], dim=0)
    assert (middle * towards).sum() > 0.8


@every
def test_a_red_ball_becomes_a_larger_blue_one(
    ball: Shape, ball_of: Callable[..., Shape], learn: Callable[..., list[float]], density: str, encoding: str
) -> None:
    scene = make(ball, density, encoding, refresh_every=5, sharpness=64.0)
    scene.config.lr_features = scene.config.lr_network = 0.006  # the fit took what was its own
    before = scene.surface_cloud().colors[0].mean(0)
    losses = learn(scene, ball_of(0.66, (0.2, 0.3, 0.8)), 40)
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    cloud = scene.surface_cloud()
    assert 0.6 < cloud.points[0].norm(dim=1).median().item() < 0.7
    gained = cloud.colors[0].mean(0) - before
    assert gained[2] - gained[0] > 0.2


def test_neus_weights_follow_the_logistic_function() -> None:
    """Along a straight way in, what is left of the light is Phi of the last end over Phi of the first begin."""
    ends = torch.linspace(0.3, -0.3, 41, dtype=torch.float64)
    sharpness = torch.tensor(30.0, dtype=torch.float64)
    middles, delta = (ends[1:] + ends[:-1]) / 2, ends[:-1] - ends[1:]
    depths = neus_depths(middles, -torch.ones_like(middles), delta, sharpness)
    left = torch.exp(-depths.cumsum(0))
    phi = torch.sigmoid(ends * sharpness)
    assert torch.allclose(left, phi[1:] / phi[0], rtol=1e-6)
    assert (neus_depths(middles, torch.ones_like(middles), delta, sharpness) == 0).all()  # on the way out


def test_volsdf_density_is_the_laplace_distribution() -> None:
    distances = torch.linspace(-0.5, 0.5, 101, dtype=torch.float64)
    sharpness = torch.tensor(10.0, dtype=torch.float64)
    laplace = torch.distributions.Laplace(torch.tensor(0.0, dtype=torch.float64), 1 / sharpness)
    assert torch.allclose(volsdf_density(distances, sharpness), sharpness * laplace.cdf(-distances))


def test_written_out_gradients_are_those_of_the_field(ball: Shape) -> None:
    """They are compared with autograd through the reference encoding, in values and in what they teach."""
    scene = make(ball, fit_steps=20)
    points = 0.8 * (2 * torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 1)
    _, gradients, _ = scene.gradients(points)
    at = points.clone().requires_grad_()
    distances = scene._distances(hash_encode(at, scene.features, scene.resolutions, reference=True))
    (wanted,) = torch.autograd.grad(distances.sum(), at, create_graph=True)
    assert torch.allclose(gradients, wanted, atol=1e-3)
    (got,) = torch.autograd.grad(gradients.square().sum(), scene.features)
    (taught,) = torch.autograd.grad(wanted.square().sum(), scene.features)
    assert torch.allclose(got, taught, atol=1e-3 * taught.abs().max().item())


def test_probed_gradients_are_exact_for_what_is_linear() -> None:
    scene = Sdf(SdfConfig(encoding="triplane", **SMALL), torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    scene._distances = lambda encoded: encoded @ torch.tensor([0.3, -0.5, 0.8])  # type: ignore[method-assign]
    scene._encode = lambda points: points  # type: ignore[method-assign]
    points = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    assert torch.allclose(scene._probed_gradients(points), torch.tensor([0.3, -0.5, 0.8]).expand(5, 3), atol=1e-5)


def test_the_eikonal_term_knows_the_length_of_the_gradient(ball: Shape) -> None:
    scene = make(ball, eikonal=1.0, distortion=0.0, solid=0.0, fit_steps=40)
    render = scene.render(turntable(1, 32))
    assert render.gradients is not None
    by_hand = (render.gradients.norm(dim=1) - 1).square().mean()
    assert scene.regularization(render, 0.0).item() == pytest.approx(by_hand.item())
    (gradient,) = torch.autograd.grad(scene.regularization(render, 0.0), scene.features)
    assert gradient.abs().max() > 0


def test_the_surface_and_the_mesh_are_the_ball(ball: Shape) -> None:
    scene = make(ball, fit_steps=150)
    cloud = scene.surface_cloud()
    assert cloud.points[0].norm(dim=1).mean().item() == pytest.approx(0.6, abs=0.01)
    assert cloud.areas.sum().item() == pytest.approx(4 * math.pi * 0.36, rel=0.05)
    mesh = extract_mesh(scene.mesh_source(40).numpy(), 0.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.05)


def test_sharpness_is_learned_and_has_an_end(ball: Shape) -> None:
    scene = make(ball, fit_steps=1)
    loss: Tensor = scene.render(turntable(1, 24)).alpha.sum()
    loss.backward()
    assert scene.log_sharpness.grad is not None
    assert scene.log_sharpness.grad.abs() > 0
    with torch.no_grad():
        scene.log_sharpness.fill_(50.0)
    assert scene.sharpness.item() < 1000


def test_the_table_builds_it(ball: Shape) -> None:
    config = RunConfig(representation="sdf", sdf=SdfConfig(rows=64, fit_steps=1, settle_steps=1))
    assert isinstance(build(ball, config, torch.Generator().manual_seed(0)), Sdf)


def test_unknown_ways_are_refused() -> None:
    with pytest.raises(UsageError, match="neus, volsdf"):
        SdfConfig(density="nerf")
    with pytest.raises(UsageError, match="hash, triplane"):
        SdfConfig(encoding="grid")
