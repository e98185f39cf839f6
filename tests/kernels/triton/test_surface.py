"""The Triton kernels of differentiable mesh rendering against the float64 reference, and on bad numbers and indices."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import orbit
from gen3d.kernels.reference import surface as reference
from gen3d.kernels.reference.mesh import rasterize
from gen3d.kernels.reference.surface import Views
from gen3d.rendering.topology import Topology, sphere

pytestmark = pytest.mark.triton
kernels = pytest.importorskip("gen3d.kernels.triton.surface")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAN, INF = math.nan, math.inf
NEAR = 1e-3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def seen(size: int = 14, views: int = 2, subdivisions: int = 1) -> tuple[Tensor, Views]:
    """A lumpy sphere and what cameras see of it, on the CPU."""
    vertices, faces = sphere(0.8, subdivisions)
    vertices = vertices * (0.8 + 0.3 * random(len(vertices), 1, seed=3))
    topology = Topology.of(faces, len(vertices))
    projections = orbit(torch.arange(views) * 70.0 + 10.0, 15.0, size).projections()
    face, bary, depth = rasterize(vertices, topology.faces, projections, size, size, NEAR)
    pixels = (face.view(-1) >= 0).nonzero()[:, 0]
    parts = topology.faces, topology.edges, topology.corner_starts, topology.corners
    return vertices, Views(*parts, projections, face, depth, bary, pixels, NEAR)


def there(views: Views) -> Views:
    names = "faces edges corner_starts corners projections face depth bary pixels".split()
    return replace(views, **{name: getattr(views, name).to(DEVICE) for name in names})


def both(views: Views, *inputs: Tensor) -> list[tuple[object, Views, list[Tensor]]]:
    """The kernels and the reference in float64, with views and leaves for each."""
    return [
        (kernels, there(views), [tensor.to(DEVICE, torch.float32, copy=True).requires_grad_() for tensor in inputs]),
        (reference, views, [tensor.to("cpu", torch.float64, copy=True).requires_grad_() for tensor in inputs]),
    ]


def relative(actual: Tensor, expected: Tensor) -> float:
    actual, expected = actual.detach().cpu().double(), expected.detach()
    return float((actual - expected).abs().max()) / max(float(expected.abs().max()), 1e-12)


def loss(value: Tensor) -> Tensor:
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(5))
    return (value * weights.to(value)).sum()


def compare(results: list[tuple[Tensor, list[Tensor]]]) -> None:
    (value, leaves), (expected, expected_leaves) = results
    assert relative(value, expected) < 1e-4
    found = torch.autograd.grad(loss(value), leaves)
    for grad, other in zip(found, torch.autograd.grad(loss(expected), expected_leaves), strict=True):
        assert float(other.abs().max()) > 0
        assert relative(grad, other) < 1e-3


@pytest.mark.parametrize("channels", [1, 9, 40])
def test_interpolated_attributes_agree_with_float64(channels: int) -> None:
    vertices, views = seen()
    attributes = random(60, channels, seed=1)
    faces = (views.faces.flip(1) + 7) % 60  # of their own
    results = []
    for module, own, leaves in both(views, vertices, attributes):
        results.append((module.interpolate(*leaves, faces.to(leaves[0].device), own), leaves))  # type: ignore[attr-defined]
    compare(results)


@pytest.mark.parametrize("colored", ["apart", "behind", "none"])
@pytest.mark.parametrize("count", [0, 3])
def test_shading_agrees_with_float64(colored: str, count: int) -> None:
    _, views = seen(views=1)
    surface = random(len(views.pixels), 9 if colored == "behind" else 6) - 0.5
    colors = [random(len(views.pixels), 3, seed=2)] if colored == "apart" else []
    lights = random(count, 3, seed=4) - 0.3
    results = []
    for module, own, leaves in both(views, surface, *colors):
        color = leaves[1] if colors else None
        results.append((module.shade(leaves[0], color, own, lights.to(leaves[0].device), 0.2), leaves))  # type: ignore[attr-defined]
    compare(results)


@pytest.mark.parametrize(("parts", "alpha"), [((2, 1), 2), ((3,), None), ((1, 4, 1), 0)])
def test_antialiased_images_agree_with_float64(parts: tuple[int, ...], alpha: int | None) -> None:
    vertices, views = seen()
    values = random(len(views.pixels), sum(parts))
    if alpha is not None:
        values[:, alpha] = 1
    results = []
    for module, own, leaves in both(views, values, vertices):
        images = module.antialias(*leaves, own, tuple(parts), alpha)  # type: ignore[attr-defined]
        assert tuple(image.shape[-1] for image in images) == tuple(parts)
        results.append((torch.cat(images, -1), leaves))
    compare(results)
    found = results[1][0].detach().reshape(len(views.face.view(-1)), -1)
    assert bool(((found != 0).any(1) & (views.face.view(-1) < 0)).any())  # some silhouettes reach empty pixels


def test_silhouettes_before_a_surface_are_blended_with_it() -> None:
    """Two spheres, one before the other, at a size that is no square: both axes and all four neighbours."""
    vertices, faces = sphere(0.5, 1)
    vertices = torch.cat([vertices, 0.5 * vertices + torch.tensor([0.1, 0.05, 0.9])])
    topology = Topology.of(torch.cat([faces, faces + 42]), 84)
    projections = orbit(torch.tensor([0.0]), 0.0, 20).projections()
    face, bary, depth = rasterize(vertices, topology.faces, projections, 19, 16, NEAR)
    pixels = (face.view(-1) >= 0).nonzero()[:, 0]
    parts = topology.faces, topology.edges, topology.corner_starts, topology.corners
    views = Views(*parts, projections, face, depth, bary, pixels, NEAR)
    values = random(len(pixels), 2)
    results = []
    for module, own, leaves in both(views, values, vertices):
        results.append((module.antialias(*leaves, own, (2,), None)[0], leaves))  # type: ignore[attr-defined]
    compare(results)


@pytest.mark.parametrize("size", [0, 1])
def test_images_without_points_and_of_one_pixel(size: int) -> None:
    vertices, views = seen(size)
    vertices = vertices.to(DEVICE).requires_grad_()
    views = there(views)
    values = kernels.interpolate(vertices, vertices.repeat(1, 3), views.faces, views)
    shaded = kernels.shade(values, None, views, random(2, 3).to(DEVICE), 0.2)
    images = kernels.antialias(shaded, vertices, views, (3, 1, 1, 3), 3)
    assert images[0].shape == (2, size, size, 3)
    (grad,) = torch.autograd.grad(sum(image.square().sum() for image in images), vertices)
    assert grad.isfinite().all()


def test_a_mesh_that_nobody_sees() -> None:
    vertices, views = seen(4)
    gone = replace(
        views, face=torch.full_like(views.face, -1), depth=0 * views.depth, bary=0 * views.bary, pixels=views.pixels[:0]
    )
    for some in (gone, replace(gone, edges=views.edges[:0])):
        image = kernels.antialias(torch.zeros(0, 3, device=DEVICE), vertices.to(DEVICE), there(some), (3,))[0]
        assert image.shape == (2, 4, 4, 3)
        assert not image.any()


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38])
def test_what_is_not_finite_reaches_values_and_gradients_alone(bad: float) -> None:
    vertices, views = seen()
    vertices[::7] = bad
    own = there(views)
    leaf = vertices.to(DEVICE).requires_grad_()
    values = kernels.interpolate(leaf, leaf.repeat(1, 3), own.faces, own)
    shaded = kernels.shade(values, None, own, random(2, 3).to(DEVICE), 0.2)
    images = kernels.antialias(shaded, leaf, own, (3, 1, 1, 3), 3)
    (grad,) = torch.autograd.grad(sum(image.square().sum() for image in images), leaf)
    assert grad.shape == vertices.shape
    hit = vertices.isfinite().all(1)[views.faces.long()].all(1)[views.face.view(-1)[views.pixels].long()]
    if bad != 3e38:  # whose squares are too large
        assert shaded.cpu()[hit].isfinite().all()
        assert not values.cpu()[~hit].isfinite().all(1).any()
    own.depth.fill_(bad)  # nothing is nearer than anything
    assert kernels.antialias(shaded.detach(), leaf, own, (8,))[0].shape == (2, 14, 14, 8)


def test_a_depth_where_no_value_is_blends_nothing() -> None:
    vertices, views = seen()
    some = replace(views, pixels=views.pixels[::2].contiguous())
    leaves = [random(len(some.pixels), 3).to(DEVICE).requires_grad_(), vertices.to(DEVICE).requires_grad_()]
    image = kernels.antialias(*leaves, there(some), (3,))[0]
    grads = torch.autograd.grad(image.square().sum(), leaves)
    assert image.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)


BROKEN = {
    "faces": (lambda v: v.faces + 1, "faces go from 1 to 42"),
    "edges": (lambda v: v.edges * 2, "edges go from"),
    "pixels": (lambda v: v.pixels + 400, "pixels go from"),
    "face": (lambda v: v.face + 60, "faces that pixels see go from"),
    "depth": (lambda v: v.depth[:1], "depths have the shape"),
    "bary": (lambda v: v.bary.double(), "barycentrics have to be torch.float32"),
    "projections": (lambda v: v.projections.transpose(1, 2), "projections have the shape"),
}


@pytest.mark.parametrize("part", BROKEN)
def test_views_with_indices_that_leave_their_tensors_are_refused(part: str) -> None:
    vertices, views = seen()
    change, says = BROKEN[part]
    broken, vertices = there(replace(views, **{part: change(views)})), vertices.to(DEVICE)
    values = random(len(broken.pixels), 6).to(DEVICE)
    for run in (
        lambda: kernels.interpolate(vertices, vertices, broken.faces, broken),
        lambda: kernels.shade(values, None, broken, torch.zeros(0, 3, device=DEVICE), 1.0),
        lambda: kernels.antialias(values, vertices, broken, (6,)),
    ):
        with pytest.raises(UsageError, match=says):
            run()


def test_rows_and_faces_that_do_not_fit_are_refused() -> None:
    vertices, views = seen()
    vertices, views = vertices.to(DEVICE), there(views)
    for change, says in (
        (lambda faces: torch.where(faces == 5, -1, faces), "go from -1 to 41"),
        (lambda faces: torch.where(faces == 5, 2**32 + 5, faces.long()), "go from 0 to 4294967301"),
        (lambda faces: faces[:40], "have the shape"),
        (lambda faces: faces.float(), "have to be integers"),
    ):
        with pytest.raises(UsageError, match=f"faces of the attributes {says}"):
            kernels.interpolate(vertices, vertices, change(views.faces), views)
    rows, none = random(len(views.pixels), 9).to(DEVICE), torch.zeros(0, 3, device=DEVICE)
    with pytest.raises(UsageError, match="values of the surface have the shape"):
        kernels.shade(rows[1:], None, views, none, 1.0)
    with pytest.raises(UsageError, match="values have the shape"):
        kernels.antialias(rows[1:], vertices, views, (9,))
    with pytest.raises(UsageError, match="not 5 channels"):
        kernels.shade(rows[:, :5], None, views, none, 1.0)
    for parts, alpha in (((8,), None), ((12, -3), None), ((9,), 9), ((9,), -2)):
        with pytest.raises(UsageError, match="9 channels cannot be drawn"):
            kernels.antialias(rows, vertices, views, parts, alpha)
    with pytest.raises(UsageError, match=r"take torch\.float32 tensors on one device, not torch\.float64"):
        kernels.interpolate(vertices, vertices.double(), views.faces, views)


def test_the_probe_draws() -> None:
    kernels.probe(torch.device(DEVICE))
