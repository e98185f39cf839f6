"""The splat representation."""

from __future__ import annotations

import math

import pytest
import torch

from gen3d.config.schema import SplatsConfig
from gen3d.geometry.cameras import orbit
from gen3d.geometry.transforms import rotation_matrices
from gen3d.representations.splats import DISC_FLATNESS, GaussianSplats, nearest_distances, quats_from_z


def _cloud(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, generator=generator) * 2 - 1, torch.rand(count, 3, generator=generator)


def test_from_points_keeps_what_it_is_given() -> None:
    points, colors = _cloud(50)
    splats = GaussianSplats.from_points(points, colors, torch.full((50,), 0.07), opacity=0.8)
    assert splats.num_gaussians == 50
    assert torch.equal(splats.means.detach(), points)
    assert torch.allclose(splats.base_colors, colors, atol=1e-6)
    assert torch.allclose(splats.scales, torch.tensor(0.07))
    assert torch.allclose(splats.opacities, torch.tensor(0.8))
    assert torch.allclose(splats.unit_quats.norm(dim=-1), torch.ones(50))


def test_default_scales_are_the_distances_to_the_nearest_neighbours() -> None:
    points, colors = _cloud(1500)  # more than one chunk
    distances = torch.cdist(points.double(), points.double()) + torch.eye(1500).double() * 1e9
    assert torch.allclose(nearest_distances(points).double(), distances.min(1).values, atol=1e-6)
    splats = GaussianSplats.from_points(points, colors)
    assert torch.allclose(
        splats.scales.double(), distances.min(1).values.clamp_min(1e-4)[:, None].expand(-1, 3), atol=1e-5
    )


def test_discs_lie_flat_on_the_surface() -> None:
    points, colors = _cloud(6)
    normals = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -2, 0], [0.3, 0.4, -0.5], [1e-4, 0, -1]])
    splats = GaussianSplats.from_points(points, colors, torch.full((6,), 0.1), normals=normals)
    thin = rotation_matrices(splats.quats.detach())[:, :, 2]  # the axis with the smallest scale
    assert torch.allclose(thin, torch.nn.functional.normalize(normals, dim=-1), atol=1e-3)
    assert torch.allclose(splats.scales[:, 2], splats.scales[:, 0] * DISC_FLATNESS)


def test_quats_from_z_are_finite_and_unit() -> None:
    generator = torch.Generator().manual_seed(2)
    normals = torch.cat([torch.randn(100, 3, generator=generator), torch.tensor([[0.0, 0.0, -1.0]])])
    quats = quats_from_z(normals)
    assert torch.allclose(quats.norm(dim=-1), torch.ones(101))
    turned = rotation_matrices(quats)[:, :, 2]
    assert torch.allclose(turned, torch.nn.functional.normalize(normals, dim=-1), atol=1e-5)


def test_every_parameter_has_a_named_group_with_its_rate() -> None:
    config = SplatsConfig()
    splats = GaussianSplats.from_points(*_cloud(10))
    groups = {group["name"]: group for group in splats.param_groups(config)}
    assert groups["means"]["lr"] == config.lr_position
    assert groups["opacity_logits"]["lr"] == config.lr_opacity
    assert groups["log_scales"]["lr"] == config.lr_scale
    grouped = {id(parameter) for group in groups.values() for parameter in group["params"]}
    assert grouped == {id(p) for p in splats.parameters() if p.numel()}
    torch.optim.Adam(splats.param_groups(config), eps=1e-15)  # accepted as they are


def test_every_parameter_receives_a_gradient() -> None:
    splats = GaussianSplats.from_points(*_cloud(40), opacity=0.5)
    splats.sh_rest = torch.nn.Parameter(torch.zeros(40, 8, 3))
    render = splats.render(orbit(torch.tensor([0.0, 100.0]), 20.0, 24))
    (render.rgb * torch.rand(render.rgb.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in splats.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name != "quats":  # these Gaussians are round: turning them changes nothing
            assert float(parameter.grad.abs().max()) > 0, name
    assert float(render.means2d_grad.max()) > 0


def test_view_dependent_colour_changes_with_the_view() -> None:
    splats = GaussianSplats.from_points(torch.zeros(1, 3), torch.full((1, 3), 0.5), torch.tensor([0.3]))
    cameras = orbit(torch.tensor([0.0, 180.0]), 0.0, 16)
    front, back = splats.render(cameras).rgb.detach()
    assert torch.allclose(front, back, atol=1e-5)
    rest = torch.zeros(1, 3, 3)
    rest[0, 1, 0] = 0.5  # red along +z: brighter when the view looks towards +z, which is from behind
    splats.sh_rest = torch.nn.Parameter(rest)
    front, back = splats.render(cameras).rgb.detach()
    assert float(back[..., 0].max()) > float(front[..., 0].max()) + 0.2
    assert torch.allclose(front[..., 1], back[..., 1], atol=1e-5)


@pytest.mark.parametrize("opacity", [0.0, 1.0, -0.5, math.nan])
def test_impossible_opacities_are_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        GaussianSplats.from_points(*_cloud(3), opacity=opacity)


def test_mismatched_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"quats have the shape \(4, 3\); \(4, 4\) was expected"):
        GaussianSplats(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4), torch.zeros(4, 1, 3))


def test_the_state_survives_saving() -> None:
    splats = GaussianSplats.from_points(*_cloud(5))
    other = GaussianSplats.from_points(*_cloud(5, seed=1))
    other.load_state_dict(splats.state_dict())
    cameras = orbit(torch.tensor([0.0]), 0.0, 16)
    assert torch.equal(splats.render(cameras).rgb, other.render(cameras).rgb)
