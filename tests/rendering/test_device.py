"""Rendering happens where its tensors are, from cameras of anywhere, as PyTorch's formulas have it on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gen3d.geometry.cameras import orbit
from gen3d.kernels.cpu import library as native
from gen3d.rendering import regularizers
from gen3d.rendering.backgrounds import gaussian_blur
from gen3d.rendering.encodings import (
    frequency_encode,
    grid_encode,
    hash_encode,
    hash_encode_jacobian,
    hash_resolutions,
    triplane_encode,
)
from gen3d.rendering.flexicubes import CubeWeights, dual_march, dual_vertices, fan_quads, split_quads
from gen3d.rendering.harmonics import sh_to_color
from gen3d.rendering.mesh import rasterize, render_mesh, vertex_normals
from gen3d.rendering.occupancy import OccupancyGrid
from gen3d.rendering.oriented_points import neighbourhoods, signed_field
from gen3d.rendering.shading import MODES, Light, shaded
from gen3d.rendering.splats import rasterize_gaussians
from gen3d.rendering.superquadrics import Superquadrics, Template, soft_union
from gen3d.rendering.surface import Texture, render_surface
from gen3d.rendering.tetrahedra import Lattice, march, rows
from gen3d.rendering.topology import Diffusion, Topology, sphere, uniform_laplacian
from gen3d.rendering.volume import composite, composite_field, distortion, rays_of

CAMERAS = orbit(torch.tensor([20.0, 200.0]), 10.0, 20)


@pytest.fixture(autouse=True)
def _by_torch(pretended_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_load", lambda: (None, None))


def draws(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def same_everywhere(made: Callable[..., list[Tensor]], *leaves: Tensor, rtol: float = 1e-4) -> None:
    """Compares devices with the CPU. made: takes the leaves on a device and returns tensors there; these are compared,
    and so are the gradients of the leaves by the sum of all.
    """
    found = []
    for device in ("cpu", "cuda:0", "cuda:1"):
        there = [leaf.detach().to(device).requires_grad_() for leaf in leaves]
        results = made(*there)
        assert {result.device for result in results} == {torch.device(device)}
        total = torch.stack([result.double().square().mean() for result in results if result.requires_grad]).sum()
        found.append([result.detach().cpu() for result in (*results, *torch.autograd.grad(total, there))])
    for others in found[1:]:
        for here, there in zip(found[0], others, strict=True):
            torch.testing.assert_close(there, here, rtol=rtol, atol=1e-5)


def test_gaussians() -> None:
    def made(means: Tensor, quats: Tensor, scales: Tensor, colors: Tensor) -> list[Tensor]:
        opacities = torch.full_like(means[:, 0], 0.7)
        lit = sh_to_color(colors.view(6, 4, 3), means - CAMERAS.positions.to(means)[:, None])
        render = rasterize_gaussians(means, quats, 0.1 + 0.2 * scales, opacities, lit, CAMERAS)
        assert render.views_seen.device == render.means2d_grad.device == means.device
        return [render.rgb, render.alpha, render.depth]

    same_everywhere(made, draws(0, 6, 3) - 0.5, draws(1, 6, 4), draws(2, 6, 3), draws(3, 6, 12))


@pytest.mark.parametrize("appearance", ["colours", "function", "texture"])
def test_surfaces(appearance: str) -> None:
    vertices, faces = sphere(0.8, 1)

    def made(moved: Tensor, colors: Tensor) -> list[Tensor]:
        shown: Tensor | Texture | Callable[[Tensor], Tensor] = colors
        if appearance == "function":
            shown = lambda points: (points * colors.mean()).sigmoid()  # noqa: E731
        elif appearance == "texture":
            there = faces.to(moved.device)
            shown = Texture(0.5 * vertices[:, :2].to(moved) + 0.5, there, colors[:16].view(4, 4, 3))
        drawn = render_surface(moved, faces.to(moved.device), shown, CAMERAS, lighting="studio")
        assert drawn.normal is not None
        return [drawn.rgb, drawn.alpha, drawn.depth, drawn.normal]

    same_everywhere(made, vertices, draws(1, len(vertices), 3))


def test_meshes_without_gradients() -> None:
    vertices, faces = sphere(0.8, 1)
    texture, uv = draws(1, 4, 4, 3), draws(2, len(vertices), 2)
    found = []
    for device in ("cpu", "cuda:1"):
        v, f, t, u = (tensor.to(device) for tensor in (vertices, faces, texture, uv))
        fragments = rasterize(v, f, CAMERAS)
        flat = render_mesh(v, f, (u, t), CAMERAS, supersample=2, lighting="studio")
        smooth = render_mesh(v, f, v.abs(), CAMERAS, supersample=1, lighting="studio", normals=vertex_normals(v, f))
        tensors = [*vars(fragments).values(), *flat, *smooth]
        assert {tensor.device for tensor in tensors} == {torch.device(device)}
        found.append([tensor.cpu() for tensor in tensors])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there, here)


@pytest.mark.parametrize("fraction", [1.0, 0.3])
def test_occupied_cells_and_samples(fraction: float) -> None:
    found = []
    for device in ("cpu", "cuda:1"):
        grid, generator = OccupancyGrid(8).to(device), torch.Generator().manual_seed(0)
        grid.fill(torch.ones(4, 4, 4, dtype=torch.bool, device=device))
        for _ in range(2):
            grid.update(lambda points: (0.6 - points.norm(dim=1)).relu(), generator, decay=0.1, fraction=fraction)
        rays = rays_of(CAMERAS, device)
        samples = grid.march(rays.origins, rays.directions, 0.2, generator)
        tensors = [grid.density, grid.occupied, grid.coarse]
        tensors += [*vars(samples).values(), *vars(samples.of_rays(3, 90)).values()]
        assert {tensor.device for tensor in tensors} == {torch.device(device)}
        found.append([tensor.cpu() for tensor in tensors])
        assert len(samples.t) > 50
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there, here)


def test_samples_are_blended() -> None:
    offsets = torch.tensor([0, 4, 4, 10])

    def made(opacity: Tensor, values: Tensor, outputs: Tensor) -> list[Tensor]:
        starts, t, delta = offsets.to(opacity.device), torch.linspace(1, 2, 10).to(opacity), 0 * opacity.detach() + 0.1
        alpha, depth = (composite(opacity, values, starts, form=form) for form in ("alpha", "depth"))
        spread = distortion(depth[2], t, delta, starts)
        fields = composite_field(outputs, t, delta, starts, gain=4.0, density=10.0)
        more = [regularizers.distortion(depth[2], t, starts, 0.1), regularizers.z_variance(depth[2], t, starts)]
        return [*alpha, *depth, spread, *fields, *more]

    same_everywhere(made, 0.8 * draws(0, 10), draws(1, 10, 3), draws(2, 10, 4))


def test_points_are_encoded() -> None:
    resolutions = hash_resolutions(2, 4, 16)

    def made(points: Tensor, table: Tensor, planes: Tensor, grid: Tensor) -> list[Tensor]:
        at = 2.4 * points - 1.2
        return [
            hash_encode(at, table, resolutions), *hash_encode_jacobian(at.detach(), table, resolutions),
            triplane_encode(at, planes), grid_encode(at, grid), frequency_encode(at, 3),
        ]  # fmt: skip

    same_everywhere(made, draws(0, 9, 3), draws(1, 2, 200, 2), draws(2, 3, 2, 5, 5), draws(3, 2, 4, 5, 6), rtol=1e-3)


@pytest.mark.parametrize("extractor", ["tetrahedra", "cubes"])
def test_lattices_are_marched(extractor: str) -> None:
    lattice = Lattice(6)

    def made(radius: Tensor, logits: Tensor) -> list[Tensor]:
        positions = lattice.positions().to(radius)
        values = positions.norm(dim=1) - radius
        if extractor == "tetrahedra":
            tets = march(lattice, values)
            return [rows(values, tets.edges), tets.faces, tets.edges]
        dual = dual_march(lattice, values)
        weights = CubeWeights.from_logits(rows(logits, dual.cubes))
        vertices, deviation = dual_vertices(dual, positions[dual.corners], rows(values, dual.corners), weights)
        gammas = CubeWeights.from_logits(rows(logits, dual.quad_cubes.reshape(-1))).gamma.view(-1, 4)
        return [*fan_quads(vertices, dual.quads, gammas), split_quads(dual.quads, gammas), deviation]

    logits = draws(1, 6**3, 21)
    leaves = [torch.tensor(0.63)] if extractor == "tetrahedra" else [torch.tensor(0.63), logits]
    same_everywhere(lambda radius, more=logits: made(radius, more), *leaves)


def test_superquadrics_are_tessellated() -> None:
    template = Template.cube(2)

    def made(centers: Tensor, sizes: Tensor) -> list[Tensor]:
        quats, exponents = draws(2, 3, 4).to(centers), 0.3 + draws(3, 3, 2).to(centers)
        shapes = Superquadrics(centers, quats, 0.2 + sizes, exponents, 0 * sizes[:, 0])
        points = shapes.points(template.directions.to(centers))
        distances, steps = shapes.distances_and_steps(points)
        copies = Template(template.directions.to(centers), template.faces.to(centers.device)).repeated(3)
        return [points, distances, shapes.normals(steps), soft_union(shapes.distances(points[0]), 0.1), copies.edges]

    same_everywhere(made, draws(0, 3, 3) - 0.5, draws(1, 3, 3), rtol=1e-3)


def test_meshes_are_kept_smooth() -> None:
    points, faces = sphere(0.8, 1)

    def made(vertices: Tensor) -> list[Tensor]:
        topology = Topology.of(faces.to(vertices.device), len(vertices))
        terms = [regularizers.normal_consistency(vertices, topology), regularizers.laplacian(vertices, topology)]
        smooth = Diffusion(topology, 5.0)(vertices)
        return [*terms, uniform_laplacian(vertices, topology), smooth, topology.corners]

    same_everywhere(made, points + 0.1 * draws(0, *points.shape), rtol=1e-3)


def test_oriented_points_come_back_to_where_they_were() -> None:
    points, _ = sphere(0.6, 2)
    here, there = (neighbourhoods(points.to(device)) for device in ("cpu", "cuda:1"))
    for name, value in vars(here).items():
        found = getattr(there, name)
        assert found.device == torch.device("cuda:1")
        torch.testing.assert_close(found.cpu(), value)
    fields = [signed_field(points.to(device), points.to(device), 8) for device in ("cpu", "cuda:1")]
    assert fields[1].device.type == "cpu"
    torch.testing.assert_close(*fields)


@pytest.mark.parametrize("mode", MODES)
def test_renders_are_shaded(mode: str) -> None:
    vertices, faces = sphere(0.8, 1)

    def made(moved: Tensor) -> list[Tensor]:
        drawn = render_surface(moved, faces.to(moved.device), moved.abs(), CAMERAS, lighting="studio")
        light = Light.random(CAMERAS.positions.to(moved), torch.Generator().manual_seed(0))
        return [gaussian_blur(shaded(drawn, mode, light), 1.0)]  # type: ignore[arg-type]

    same_everywhere(made, vertices, rtol=1e-3)
