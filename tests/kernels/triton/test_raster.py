"""The Triton rasteriser of meshes against the float64 reference, and on what is empty, behind or no number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.reference import mesh as reference
from gen3d.rendering.topology import box, sphere

pytestmark = pytest.mark.triton
pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAN, INF = math.nan, math.inf
NEAR = 1e-3


def draw(
    vertices: Tensor, faces: Tensor, projections: Tensor, width: int, height: int, near: float = NEAR
) -> tuple[Tensor, Tensor, Tensor]:
    from gen3d.kernels.triton import mesh

    tensors = (vertices.to(DEVICE), faces.contiguous().to(DEVICE), projections.to(DEVICE))
    face, bary, depth = mesh.rasterize(*tensors, width, height, near)
    return face.cpu(), bary.cpu(), depth.cpu()


def close_up() -> tuple[Tensor, Tensor, Cameras]:
    """A camera between triangles, some of which cross its plane."""
    vertices, faces = sphere(0.8, 1)
    return vertices, faces, orbit(torch.tensor([15.0]), 5.0, 14, radius=0.75)


def layers() -> tuple[Tensor, Tensor, Cameras]:
    """Twice the same triangles, of which the first are seen, before larger ones."""
    vertices, faces = box((0.5, 0.5, 0.5))
    return (
        torch.cat([vertices, 1.5 * vertices]),
        torch.cat([faces, faces, faces + 8]),
        orbit(torch.tensor([0.0]), 0.0, 13),
    )


SCENES = {
    "sphere, two views": lambda: (*sphere(0.8, 2), orbit(torch.tensor([20.0, 200.0]), 10.0, 16)),
    "through the camera's plane": close_up,
    "layers": layers,
    "edges through pixel centres": lambda: (*box((1.0, 1.0, 1.0), 1), orbit(torch.tensor([0.0]), 0.0, 16)),
}


@pytest.mark.parametrize("name", SCENES)
def test_pixels_see_the_triangles_of_the_reference(name: str) -> None:
    vertices, faces, cameras = SCENES[name]()
    arguments = cameras.projections(), cameras.width, cameras.height
    expected = reference.rasterize(vertices, faces, *arguments, NEAR)
    face, bary, depth = draw(vertices, faces, *arguments)
    same = face == expected[0]
    # On an edge that passes through a pixel's centre, rounding decides which of its triangles is seen.
    assert same.float().mean() > 0.97
    assert torch.equal(face >= 0, expected[0] >= 0)
    assert torch.allclose(bary[same], expected[1][same], atol=1e-5)
    assert torch.allclose(depth, expected[2], rtol=1e-5)
    assert torch.allclose(bary.sum(-1), (face >= 0).float(), atol=1e-6)


def test_of_equal_triangles_the_first_is_seen() -> None:
    vertices, faces, cameras = layers()
    twice = draw(vertices, faces[:24], cameras.projections(), 13, 13)
    assert (twice[0] >= 0).any()
    assert torch.equal(twice[0], draw(vertices, faces[:12], cameras.projections(), 13, 13)[0])


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 5), (5, 0), (1, 1), (17, 1), (1, 18)])
def test_images_of_any_size(width: int, height: int) -> None:
    vertices, faces = sphere(0.8, 1)
    projections = orbit(torch.tensor([0.0, 90.0]), 5.0, 20).projections()
    face, bary, depth = draw(vertices, faces, projections, width, height)
    assert face.shape == depth.shape == bary.shape[:3] == (2, height, width)
    if width * height:
        assert torch.equal(face, reference.rasterize(vertices, faces, projections, width, height, NEAR)[0])


def test_nothing_to_draw_gives_empty_images() -> None:
    projections = orbit(torch.tensor([0.0]), 5.0, 9).projections()
    vertices, faces = sphere(0.8, 1)
    empty = torch.zeros(0, 3, dtype=torch.int32)
    for mesh in ((vertices, empty), (torch.zeros(0, 3), empty), (vertices + 40, faces), (0 * vertices, faces)):
        face, bary, depth = draw(*mesh, projections, 9, 9)
        assert bool((face == -1).all())
        assert not bary.any()
        assert not depth.any()
    assert draw(vertices, faces, projections[:0], 9, 9)[0].shape == (0, 9, 9)


@pytest.mark.parametrize("bad", [-1, 42, 2**31 - 1, -(2**31)])
def test_faces_with_corners_that_are_no_vertices_are_not_drawn(bad: int) -> None:
    vertices, faces = sphere(0.8, 1)  # 42 vertices
    for corner in range(3):
        faces[corner, corner] = bad
    face, _, _ = draw(vertices, faces, orbit(torch.tensor([0.0]), 90.0, 12).projections(), 12, 12)
    assert set(face.unique().tolist()) <= {-1, *range(3, len(faces))}
    assert bool((face >= 0).any())


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38])
def test_what_is_not_finite_stays_inside_the_image(bad: float) -> None:
    vertices, faces = sphere(0.8, 1)
    projections = orbit(torch.tensor([0.0]), 5.0, 10).projections()
    for i in range(9):
        vertices[i, i % 3] = bad
    for near in (NEAR, 0.0, NAN):
        face, _, depth = draw(vertices, faces, projections, 10, 10, near)
        if abs(bad) != 3e38:
            assert not bool((faces[face[face >= 0].long()] < 9).any())
        assert depth.isfinite().all()
    for entry in (0, 6, 10, 11):
        changed = projections.clone()
        changed.view(-1)[entry] = bad
        assert draw(vertices[9:], faces[(faces >= 9).all(1)] - 9, changed, 10, 10)[2].isfinite().all()


def test_many_triangles_are_drawn_view_by_view() -> None:
    from gen3d.kernels.triton import mesh

    vertices, faces = sphere(0.8, 1)
    projections = orbit(torch.tensor([0.0, 90.0, 200.0]), 5.0, 10).projections()
    together = draw(vertices, faces, projections, 10, 10)
    group, mesh.GROUP = mesh.GROUP, 170  # two views
    try:
        apart = draw(vertices, faces, projections, 10, 10)
    finally:
        mesh.GROUP = group
    assert all(torch.equal(one, other) for one, other in zip(together, apart, strict=True))


def test_meshes_that_lie_otherwise_in_memory_are_refused() -> None:
    from gen3d.kernels.triton import mesh

    vertices, faces = (tensor.contiguous().to(DEVICE) for tensor in sphere(0.8, 1))
    projections = orbit(torch.tensor([0.0]), 5.0, 8).projections().to(DEVICE)
    for broken in (
        (vertices.double(), faces, projections),
        (vertices[:, :2], faces, projections),
        (vertices.T.contiguous().T, faces, projections),
        (vertices, faces.long(), projections),
        (vertices, faces, projections.float()),
        (vertices, faces, projections[:, :2]),
    ):
        with pytest.raises(UsageError, match=r"The (vertices|faces|projections) have"):
            mesh.rasterize(*broken, 8, 8, NEAR)


def test_the_probe_draws() -> None:
    from gen3d.kernels.triton import mesh

    mesh.probe(torch.device(DEVICE))
