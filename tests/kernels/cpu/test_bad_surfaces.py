"""The kernels of meshes and Gaussians never read or write outside, whatever they are given; what comes out says so."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.cpu import mesh, splats
from gen3d.kernels.cpu import surface as kernels
from gen3d.kernels.reference import surface as reference
from gen3d.kernels.reference.surface import Views
from gen3d.rendering.mesh import rasterize
from gen3d.rendering.splats import SplatRender, rasterize_gaussians
from gen3d.rendering.surface import SurfacePoints, render_surface
from gen3d.rendering.topology import Topology, sphere

pytestmark = [
    pytest.mark.in_child,
    pytest.mark.skipif(native.library() is None, reason="no native kernels and no compiler"),
]

NAN, INF = float("nan"), float("inf")
BAD = [NAN, INF, -INF, 3e38, -3e38]
CAMERAS = orbit(torch.tensor([20.0, 200.0]), 10.0, 40)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def gaussians(count: int = 60) -> dict[str, Tensor]:
    return {
        "means": random(count, 3) - 0.5,
        "quats": random(count, 4, seed=1) - 0.5,
        "scales": 0.02 + 0.1 * random(count, 3, seed=2),
        "opacities": random(count, seed=3),
        "colors": random(count, 3, seed=4),
    }


def drawn(cloud: dict[str, Tensor], cameras: Cameras = CAMERAS) -> tuple[SplatRender, dict[str, Tensor]]:
    cloud = {name: tensor.clone().requires_grad_() for name, tensor in cloud.items()}
    view = rasterize_gaussians(**cloud, cameras=cameras, backend="native")
    loss = (view.rgb * random(*view.rgb.shape)).sum() + view.alpha.sum() + view.depth.sum()
    return view, dict(zip(cloud, torch.autograd.grad(loss, list(cloud.values())), strict=True))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities"])
def test_a_gaussian_that_is_not_finite_is_not_drawn(name: str, bad: float) -> None:
    cloud = gaussians()
    for i in range(3):
        cloud[name].view(60, -1)[10 * i, i % cloud[name].view(60, -1).shape[1]] = bad
    view, grads = drawn(cloud)
    images = view.rgb, view.alpha, view.depth
    assert all(image.isfinite().all() for image in images)
    if abs(bad) == 3e38:
        return  # finite: such a Gaussian may cover everything with nothing
    kept = [i for i in range(60) if i not in (0, 10, 20)]
    expected, expected_grads = drawn({key: tensor[kept] for key, tensor in cloud.items()})
    for image, other in zip(images, (expected.rgb, expected.alpha, expected.depth), strict=True):
        assert torch.equal(image, other)
    for key, grad in grads.items():
        assert torch.equal(grad[kept], expected_grads[key])
        assert not grad[[0, 10, 20]].any()


def test_numbers_of_other_gaussians_are_refused() -> None:
    for name, tensor in gaussians().items():
        with pytest.raises((UsageError, ValueError), match="have the shape"):
            rasterize_gaussians(**{**gaussians(), name: tensor[:-1]}, cameras=CAMERAS, backend="native")
        cloud = [*{**gaussians(), name: tensor[:-1]}.values()]
        counts = torch.zeros(len(cloud[0])), torch.zeros(len(cloud[0]), dtype=torch.int32)
        with pytest.raises(UsageError, match=r"Gaussians' .* have the shape"):
            splats.rasterize(*cloud, CAMERAS, *counts)


def test_a_colour_that_is_not_a_number_is_seen() -> None:
    cloud = gaussians()
    cloud["colors"][0, 1] = NAN
    view, _ = drawn(cloud)
    assert view.rgb[..., 1].isnan().any()
    assert view.rgb[..., [0, 2]].isfinite().all()


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 0.0])
@pytest.mark.parametrize("part", ["c2w", "intrinsics"])
def test_a_camera_that_is_none_sees_finite_images(part: str, bad: float) -> None:
    matrices = getattr(CAMERAS, part).clone()
    matrices[0] = bad
    cameras = replace(CAMERAS, **{part: matrices})
    view, grads = drawn(gaussians(), cameras)
    assert view.rgb.isfinite().all()
    if bad != 0:
        assert not view.alpha[0].any()
    assert torch.equal(view.rgb[1], drawn(gaussians())[0].rgb[1])
    assert all(len(grad) == 60 for grad in grads.values())

    vertices, faces = sphere(0.5, 1)
    fragments = rasterize(vertices, faces, cameras)
    assert fragments.depth.isfinite().all()
    assert bool((fragments.face[1] >= 0).any())
    if bad != 0:
        assert bool((fragments.face[0] == -1).all())
    seen = render_surface(vertices, faces, vertices.clone(), cameras, backend="native")
    assert bool((seen.alpha[1] > 0.9).any())


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 20), (20, 0), (1, 1), (17, 1), (1, 40)])
def test_images_of_any_size(width: int, height: int) -> None:
    cameras = Cameras(CAMERAS.c2w, CAMERAS.intrinsics * 0.4, width, height)
    view, _ = drawn(gaussians(), cameras)
    assert view.rgb.shape == (2, height, width, 3)
    vertices, faces = sphere(0.5, 1)
    assert rasterize(vertices, faces, cameras).face.shape == (2, height, width)
    points = SurfacePoints(vertices, faces, cameras, backend="native")
    assert points.draw(points.interpolate(vertices)).shape == (2, height, width, 3)


def test_nothing_to_draw_gives_empty_images() -> None:
    view, grads = drawn(gaussians(0))
    assert not view.alpha.any()
    assert grads["means"].shape == (0, 3)
    no_cameras = CAMERAS[:0]
    assert drawn(gaussians(), no_cameras)[0].rgb.shape == (0, 40, 40, 3)
    none, no_faces = torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32)
    assert bool((rasterize(none, no_faces, CAMERAS).face == -1).all())
    assert not render_surface(none, no_faces, none, CAMERAS, backend="native").alpha.any()
    vertices, faces = sphere(0.5, 1)
    assert render_surface(vertices, faces, vertices, no_cameras, backend="native").alpha.shape == (0, 40, 40, 1)


def raw_rasterize(vertices: Tensor, faces: Tensor, projections: Tensor, near: float = 1e-3) -> tuple[Tensor, ...]:
    """The kernel itself, without the checks of `rasterize`, on a 40 x 40 image between rows that it must not touch."""
    face = torch.full((60, 40), 77, dtype=torch.int32)
    bary, depth = torch.full((60, 40, 3), 77.0), torch.full((60, 40), 77.0)
    library = native.library()
    assert library is not None
    sizes, size = (len(vertices), len(faces), 1), (40, 40)
    library.gen3d_mesh_rasterize(
        *map(ctypes.c_int64, sizes), *(ctypes.c_void_p(t.data_ptr()) for t in (vertices, faces, projections)),
        *map(ctypes.c_int64, size), ctypes.c_double(near),
        *(ctypes.c_void_p(t[10].data_ptr()) for t in (face, bary, depth)), ctypes.c_int64(2),
    )  # fmt: skip
    for image in (face, bary, depth):
        assert bool((image[:10] == 77).all())
        assert bool((image[50:] == 77).all())
    return face[10:50], bary[10:50], depth[10:50]


@pytest.mark.parametrize("bad", [-1, 42, 2**31 - 1, -(2**31), 10**6])
def test_faces_with_corners_that_are_no_vertices_are_not_drawn(bad: int) -> None:
    vertices, faces = sphere(0.8, 1)  # 42 vertices
    faces = faces.contiguous()
    for corner in range(3):
        faces[corner, corner] = bad
    face, _, _ = raw_rasterize(vertices, faces, CAMERAS.projections()[:1].contiguous())
    assert set(face.unique().tolist()) <= {-1, *range(3, len(faces))}
    assert bool((face >= 0).any())


def test_meshes_that_lie_otherwise_in_memory_are_refused() -> None:
    vertices, faces = sphere(0.8, 1)
    faces, projections = faces.contiguous(), CAMERAS.projections()
    assert bool((mesh.rasterize(vertices, faces, projections, 40, 40, 1e-3)[0] >= 0).any())
    for broken in (
        (vertices.double(), faces, projections),
        (vertices[:, :2], faces, projections),
        (vertices.T.contiguous().T, faces, projections),
        (vertices, faces.long(), projections),
        (vertices, faces, projections.float()),
        (vertices, faces, projections[:, :2]),
    ):
        with pytest.raises(UsageError, match=r"The (vertices|faces|projections) have"):
            mesh.rasterize(*broken, 8, 8, 1e-3)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("near", [1e-3, 0.0, NAN, -1.0, INF])
def test_triangles_that_are_not_finite_stay_inside_the_image(bad: float, near: float) -> None:
    vertices, faces = sphere(0.8, 1)
    for i in range(9):
        vertices[i, i % 3] = bad
    raw_rasterize(vertices, faces.contiguous(), CAMERAS.projections()[:1].contiguous(), near)
    projections = CAMERAS.projections()[:1].clone()
    for row in range(3):
        for column in range(4):
            changed = projections.clone()
            changed[0, row, column] = bad
            raw_rasterize(sphere(0.8, 1)[0], faces.contiguous(), changed, near)


def seen(size: int = 40) -> tuple[Tensor, Tensor, Views]:
    """42 vertices, 80 faces and what two cameras see of them."""
    vertices, faces = sphere(0.8, 1)
    return vertices, faces, SurfacePoints(vertices, faces, orbit(torch.tensor([0.0, 90.0]), 5.0, size)).views


@pytest.mark.parametrize("bad", BAD)
def test_vertices_that_are_not_finite_reach_values_and_gradients_alone(bad: float) -> None:
    """The views are of the mesh as it was: an optimiser may have broken it since."""
    vertices, faces, views = seen()
    vertices[::7] = bad
    vertices.requires_grad_()
    values = kernels.interpolate(vertices, torch.cat([vertices, vertices, vertices], 1), faces, views)
    shaded = kernels.shade(values, None, views, random(4, 3), 0.2)
    images = kernels.antialias(shaded, vertices, views, (3, 1, 1, 3), 3)
    (grad,) = torch.autograd.grad(sum(image.square().sum() for image in images), vertices)
    assert grad.shape == (42, 3)
    hit = vertices.detach().isfinite().all(1)[faces.long()].all(1)[views.face.view(-1)[views.pixels].long()]
    assert values[hit].isfinite().all()
    assert shaded[hit].isfinite().all()
    if abs(bad) != 3e38:
        assert not values[~hit].isfinite().all(1).any()
    assert images[0].shape == (2, 40, 40, 3)


@pytest.mark.parametrize("bad", BAD)
def test_depths_and_values_that_are_not_finite_stay_where_they_are(bad: float) -> None:
    vertices, _, views = seen()
    values = random(len(views.pixels), 3)
    clean = kernels.antialias(values, vertices, views, (3,), None)[0]
    values[100] = bad
    found = kernels.antialias(values, vertices, views, (3,), None)[0]
    assert (found != clean).any(-1).sum() <= 9  # its pixel and those it is blended with
    views.depth.fill_(bad)  # nothing is nearer than anything
    assert kernels.antialias(values, vertices, views, (3,), None)[0].shape == clean.shape


BROKEN_FACES = {
    "negative": (lambda faces: torch.where(faces == 5, -1, faces), "go from -1 to 41"),
    "large": (lambda faces: torch.where(faces == 5, 42, faces), "go from 0 to 42"),
    "wrapping": (lambda faces: torch.where(faces == 5, 2**32 + 5, faces.long()), "go from 0 to 4294967301"),
    "short": (lambda faces: faces[:40], "have the shape"),
    "float": (lambda faces: faces.float(), "have to be integers"),
}


@pytest.mark.parametrize("kind", BROKEN_FACES)
def test_faces_of_attributes_are_in_range(kind: str) -> None:
    vertices, own, views = seen()
    change, says = BROKEN_FACES[kind]
    with pytest.raises(UsageError, match=f"faces of the attributes {says}"):
        kernels.interpolate(vertices, vertices, change(own), views)


def test_attributes_that_no_face_names_get_no_gradient() -> None:
    """There are more of them than vertices, and they are named by the mesh's own faces."""
    vertices, _, views = seen()
    attributes = random(100, 3).requires_grad_()
    (grad,) = torch.autograd.grad(kernels.interpolate(vertices, attributes, views.faces, views).sum(), attributes)
    expected = reference.interpolate(vertices, attributes, views.faces, views)
    assert torch.allclose(grad, torch.autograd.grad(expected.sum(), attributes)[0], atol=1e-4)
    assert not grad[42:].any()


BROKEN_VIEWS = {
    "faces": (lambda v: v.faces + 1, "faces go from 1 to 42"),
    "edges": (lambda v: v.edges * 2, "edges go from"),
    "corner_starts": (lambda v: v.corner_starts.flip(0).contiguous(), "starts of the vertices' corners have to ascend"),
    "corners": (lambda v: v.corners + 1, "corners of the vertices go from 1 to 240"),
    "pixels": (lambda v: v.pixels + 2500, "pixels go from"),
    "face": (lambda v: v.face + 60, "faces that pixels see go from"),
    "depth": (lambda v: v.depth[:1], "depths have the shape"),
    "bary": (lambda v: v.bary.double(), "barycentrics have to be torch.float32"),
    "projections": (lambda v: v.projections.transpose(1, 2), "projections have the shape"),
}


@pytest.mark.parametrize("part", BROKEN_VIEWS)
def test_views_with_indices_that_leave_their_tensors_are_refused(part: str) -> None:
    vertices, _, views = seen()
    change, says = BROKEN_VIEWS[part]
    broken = replace(views, **{part: change(views)})
    values = random(len(broken.pixels), 6)
    for run in (
        lambda: kernels.interpolate(vertices, vertices, broken.faces, broken),
        lambda: kernels.shade(values, None, broken, torch.zeros(0, 3), 1.0),
        lambda: kernels.antialias(values, vertices, broken, (6,)),
    ):
        with pytest.raises(UsageError, match=says):
            run()


def test_a_depth_where_no_value_is_blends_nothing() -> None:
    vertices, _, views = seen()
    some = replace(views, pixels=views.pixels[::2].contiguous())
    values, vertices = random(len(some.pixels), 3).requires_grad_(), vertices.requires_grad_()
    image = kernels.antialias(values, vertices, some, (3,))[0]
    grads = torch.autograd.grad(image.square().sum(), (values, vertices))
    assert image.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)


def test_the_topology_of_another_mesh_is_refused() -> None:
    vertices, faces = sphere(0.8, 1)
    larger, more_faces = sphere(0.8, 2)
    with pytest.raises(UsageError, match=r"vertices have the shape \(42, 3\); \[162, 3\] was expected"):
        render_surface(vertices, faces, vertices, CAMERAS, topology=Topology.of(more_faces, len(larger)))
    with pytest.raises(UsageError, match=r"faces that pixels see go from .* less than 80"):
        render_surface(larger, more_faces, larger, CAMERAS, topology=Topology.of(faces, len(larger)))


def test_rows_that_are_not_the_pixels_are_refused() -> None:
    vertices, _, views = seen()
    rows = random(len(views.pixels) - 1, 9)
    with pytest.raises(UsageError, match="values of the surface have the shape"):
        kernels.shade(rows, None, views, torch.zeros(0, 3), 1.0)
    with pytest.raises(UsageError, match="values have the shape"):
        kernels.antialias(rows, vertices, views, (9,))
    rows = random(len(views.pixels), 9)
    with pytest.raises(UsageError, match="colours have the shape"):
        kernels.shade(rows, rows[:-1], views, torch.zeros(0, 3), 1.0)
    with pytest.raises(UsageError, match="lights have the shape"):
        kernels.shade(rows, None, views, torch.zeros(3), 1.0)
    with pytest.raises(UsageError, match="not 5 channels"):
        kernels.shade(rows[:, :5], None, views, torch.zeros(0, 3), 1.0)
    for parts, alpha in (((8,), None), ((10,), None), ((12, -3), None), ((9,), 9), ((9,), -2)):
        with pytest.raises(UsageError, match="9 channels cannot be drawn"):
            kernels.antialias(rows, vertices, views, parts, alpha)


def test_channels_that_a_shading_does_not_read_have_no_gradient() -> None:
    _, _, views = seen()
    surface, colors = random(len(views.pixels), 9).requires_grad_(), random(len(views.pixels), 3)
    (grad,) = torch.autograd.grad(kernels.shade(surface, colors, views, random(2, 3), 0.2).sum(), surface)
    assert grad[:, :6].any()
    assert not grad[:, 6:].any()


def test_other_dtypes_and_views_of_memory() -> None:
    vertices, _, views = seen()
    with pytest.raises(UsageError, match=r"not torch\.float64 on cpu"):
        kernels.interpolate(vertices.double(), vertices.double(), views.faces, views)
    strided = torch.cat([vertices, vertices], 1)[:, ::2]
    expected = kernels.interpolate(vertices, strided.contiguous(), views.faces, views)
    assert torch.equal(kernels.interpolate(vertices, strided, views.faces.long(), views), expected)
    torch.set_default_dtype(torch.float16)
    assert torch.equal(kernels.interpolate(vertices, strided, views.faces, views), expected)
