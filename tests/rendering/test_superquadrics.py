"""Superquadrics against solids that they are known to be, and against derivatives of their own norm."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh

from gen3d.geometry.transforms import rotation_matrices
from gen3d.rendering.superquadrics import Superquadrics, Template


def one(
    size: tuple[float, float, float] = (0.5, 0.3, 0.4), exponent: float = 1.0, taper: float = 0.0, turned: bool = False
) -> Superquadrics:
    quats = torch.tensor([[0.8, 0.2, -0.4, 0.3] if turned else [1.0, 0.0, 0.0, 0.0]])
    centers = torch.tensor([[0.1, -0.2, 0.15] if turned else [0.0, 0.0, 0.0]])
    quats = torch.nn.functional.normalize(quats, dim=1)
    return Superquadrics(centers, quats, torch.tensor([size]), torch.full((1, 2), exponent), torch.tensor([taper]))


def mesh_of(shapes: Superquadrics, rows: int = 16) -> trimesh.Trimesh:
    template = Template.cube(rows)
    return trimesh.Trimesh(shapes.points(template.directions)[0].numpy(), template.faces.numpy(), process=False)


@pytest.mark.parametrize("rows", [2, 5])
def test_the_template_is_closed_and_faces_outward(rows: int) -> None:
    template = Template.cube(rows)
    assert template.directions.shape == (6 * rows**2 + 2, 3)
    assert template.faces.shape == (12 * rows**2, 3)
    mesh = trimesh.Trimesh(template.directions.numpy(), template.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(8)
    topology = template.repeated(3)
    assert topology.vertices == 3 * len(template.directions)
    assert (topology.edges[:, 3] >= 0).all()


def test_volumes_of_known_solids() -> None:
    """Ellipsoid, box, octahedron, and a cone-like taper of a cylinder (a frustum's integral)."""
    assert mesh_of(one()).volume == pytest.approx(4 / 3 * math.pi * 0.06, rel=0.02)
    assert mesh_of(one(exponent=0.05)).volume == pytest.approx(8 * 0.06, rel=0.02)
    assert mesh_of(one(exponent=2.0)).volume == pytest.approx(4 / 3 * 0.06, rel=0.02)
    shape = one(taper=0.6)
    cylinder = Superquadrics(shape.centers, shape.quats, shape.sizes, torch.tensor([[0.05, 1.0]]), shape.tapers)
    wanted = math.pi * 0.5 * 0.4 * 0.6 * (1 + 0.36 / 3)
    assert mesh_of(cylinder).volume == pytest.approx(wanted, rel=0.03)
    spread = mesh_of(cylinder).vertices
    assert abs(spread[spread[:, 1] > 0.29, 0]).max() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("exponent", [0.2, 1.0, 1.7])
@pytest.mark.parametrize("taper", [0.0, 0.7])
def test_the_tessellation_lies_where_the_distance_is_zero(exponent: float, taper: float) -> None:
    shapes = one(exponent=exponent, taper=taper, turned=True)
    points = shapes.points(Template.cube(6).directions)[0]
    assert shapes.distances(points).abs().max() < 2e-4
    middle = shapes.centers[0]
    assert (shapes.distances(middle + 0.9 * (points - middle)) < 0).all()
    assert (shapes.distances(middle + 1.1 * (points - middle)) > 0).all()


@pytest.mark.parametrize("taper", [0.0, 0.5])
def test_distances_are_first_order(taper: float) -> None:
    """Close to the surface they change with slope one along the normal."""
    shapes = one(exponent=0.7, taper=taper, turned=True)
    points = shapes.points(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)))[0].detach()
    points.requires_grad_()
    (normal,) = torch.autograd.grad(shapes.distances(points).sum(), points)
    assert torch.allclose(normal.norm(dim=1), torch.ones(200), atol=0.02)
    normal = torch.nn.functional.normalize(normal, dim=1)
    ahead = shapes.distances((points + 1e-3 * normal).detach())[0]
    assert torch.allclose(ahead, torch.full((200,), 1e-3), rtol=0.15)


def test_thin_plates_have_honest_distances() -> None:
    shapes = one((0.5, 0.01, 0.5), exponent=0.15)
    points = torch.tensor([[0.4, 0.05, 0.0], [0.0, -0.11, 0.2]])
    assert shapes.distances(points)[0].tolist() == pytest.approx([0.04, 0.1], rel=0.05)


def test_gradients_are_finite_at_axes_edges_and_the_middle() -> None:
    leaves = [value.clone().requires_grad_() for value in vars(one(exponent=0.3, taper=0.3)).values()]
    shapes = Superquadrics(*leaves)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.3, 0.0], [0.5, 0.3, 0.4], [0.0, 1.0, 0.0]])
    (shapes.distances(points).square().sum() + shapes.points(Template.cube(2).directions).square().sum()).backward()
    assert all(leaf.grad is not None and bool(torch.isfinite(leaf.grad).all()) for leaf in leaves)
    assert all(leaf.grad.abs().max() > 0 for leaf in leaves[2:])  # type: ignore[union-attr]


def test_the_pose_takes_own_axes_to_the_world() -> None:
    shapes = one(turned=True)
    tip = shapes.points(torch.tensor([[0.0, 1.0, 0.0]]))[0, 0]
    wanted = shapes.centers[0] + rotation_matrices(shapes.quats)[0, :, 1] * 0.3
    assert torch.allclose(tip, wanted, atol=1e-5)
