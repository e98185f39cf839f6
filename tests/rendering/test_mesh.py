from __future__ import annotations

import math

import pytest
import torch
import trimesh

from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference.mesh import rasterize as rasterize_reference
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import (
    NEAR,
    MeshFragments,
    face_normals,
    interpolate,
    rasterize,
    render_mesh,
    sample_texture,
    vertex_normals,
)

needs_kernels = pytest.mark.skipif(native.library() is None, reason="the native kernels are not built")


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces)


def sphere(radius: float = 0.8, subdivisions: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return tensors(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))


def square(z: float, half: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Two triangles that face +Z."""
    corners = [[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]]
    return torch.tensor(corners), torch.tensor([[0, 1, 2], [0, 2, 3]])


def soup(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(40, 1, 3, generator=generator) * 2 - 1
    vertices = (centres + torch.randn(40, 3, 3, generator=generator) * 0.4).reshape(-1, 3)
    return vertices, torch.arange(120).reshape(-1, 3)


def reference(vertices: torch.Tensor, faces: torch.Tensor, cameras: Cameras) -> MeshFragments:
    projections = cameras.projections()
    return MeshFragments(*rasterize_reference(vertices, faces, projections, cameras.width, cameras.height, NEAR))


@needs_kernels
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("mesh", "radius"), [(sphere(subdivisions=2), 3.6), (soup(0), 3.6), (soup(1), 0.6), (square(0.0), 0.3)]
)
def test_native_matches_the_reference(mesh: tuple[torch.Tensor, torch.Tensor], radius: float, threads: int) -> None:
    """They agree also from inside the soup, where triangles cross the camera's plane, and on an image that is not
    square.
    """
    cameras = orbit(torch.tensor([25.0, 160.0, 290.0]), torch.tensor([10.0, -40.0, 70.0]), 40, radius=radius)
    cameras = cameras.resized(40, 28)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        native_fragments = rasterize(*mesh, cameras)
    finally:
        torch.set_num_threads(before)
    expected = reference(*mesh, cameras)
    same = native_fragments.face == expected.face
    assert (~same).sum() <= 0.002 * same.numel()
    assert (expected.face >= 0).any()
    torch.testing.assert_close(native_fragments.bary[same], expected.bary[same], atol=1e-4, rtol=0)
    torch.testing.assert_close(native_fragments.depth[same], expected.depth[same], atol=1e-4, rtol=1e-4)


def test_row_zero_is_the_top_and_column_zero_the_left() -> None:
    triangle = torch.tensor([[0.2, 0.2, 0.0], [0.8, 0.2, 0.0], [0.5, 0.8, 0.0]])  # up and right of the centre
    camera = orbit(torch.tensor([0.0]), 0.0, 32)
    rows, columns = (rasterize(triangle, torch.tensor([[0, 1, 2]]), camera).face[0] == 0).nonzero(as_tuple=True)
    assert rows.max() < 16
    assert columns.min() >= 16


def test_barycentrics_are_perspective_correct() -> None:
    """Interpolated world positions must lie on the pixels' rays, at the reported depth."""
    vertices, faces = sphere()
    cameras = orbit(torch.tensor([30.0, 200.0]), 20.0, 48, radius=1.6)
    fragments = rasterize(vertices, faces, cameras)
    hit = fragments.face >= 0
    points = interpolate(vertices, faces, fragments)
    origins, directions = cameras.rays()
    along = ((points - origins) * directions).sum(-1, keepdim=True)
    torch.testing.assert_close((origins + along * directions)[hit], points[hit], atol=1e-5, rtol=0)
    axis = -cameras.c2w[:, :3, 2]
    depth = torch.einsum("bhwc,bc->bhw", points - origins, axis)
    torch.testing.assert_close(fragments.depth[hit], depth[hit], atol=1e-5, rtol=0)
    torch.testing.assert_close(fragments.bary[hit].sum(-1), torch.ones(int(hit.sum())), atol=1e-6, rtol=0)
    assert (fragments.bary[~hit] == 0).all()
    assert (fragments.depth[~hit] == 0).all()


def test_nearest_surface_wins_from_both_sides() -> None:
    (near, faces), (far, _) = square(0.5), square(-0.5)
    vertices, both = torch.cat([far, near]), torch.cat([faces, faces + 4])
    front, back = rasterize(vertices, both, orbit(torch.tensor([0.0, 180.0]), 0.0, 32)).face
    assert set(front.unique().tolist()) == {-1, 2, 3}
    assert set(back.unique().tolist()) == {-1, 0, 1}


@pytest.mark.parametrize(
    "mesh", [tensors(trimesh.creation.box(extents=(4, 4, 4)).subdivide().subdivide()), sphere(3.0)], ids=["box", "ball"]
)
def test_closed_surface_has_no_holes(mesh: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Samples on shared edges and vertices must fall into a triangle: cameras inside look exactly along many."""
    elevations = torch.tensor([0.0, 30.0] * 4)
    for radius in torch.linspace(0.01, 1.2, 30).tolist():
        fragments = rasterize(*mesh, orbit(torch.arange(8) * 45.0, elevations, 65, radius=radius))
        assert (fragments.face >= 0).all()


def test_triangles_without_area_draw_nothing() -> None:
    points = torch.randn(30, 1, 3, generator=torch.Generator().manual_seed(2)) * 0.3
    spans = torch.tensor([[[0.0], [0.0], [0.0]], [[0.0], [0.3], [0.6]], [[0.0], [0.0], [0.5]]])  # point, line, line
    vertices = torch.cat([points + span * torch.tensor([1.0, 0.5, 0.2]) for span in spans]).reshape(-1, 3)
    camera = orbit(torch.tensor([10.0, 130.0]), 20.0, 64)
    assert (rasterize(vertices, torch.arange(len(vertices)).reshape(-1, 3), camera).face == -1).all()


def test_bad_meshes_are_refused() -> None:
    camera = orbit(torch.tensor([0.0]), 0.0, 8)
    vertices, faces = square(0.0)
    with pytest.raises(ValueError, match=r"outside 0\.\.3"):
        rasterize(vertices, faces + 1, camera)
    with pytest.raises(ValueError, match=r"outside 0\.\.3"):  # 2^32 + 1 is 1 in 32 bits
        rasterize(vertices, faces.long() + (1 << 32), camera)
    with pytest.raises(ValueError, match=r"\[V, 3\]"):
        rasterize(vertices[:, :2], faces, camera)
    with pytest.raises(ValueError, match=r"\[F, 3\]"):
        rasterize(vertices, torch.zeros(2, 4), camera)
    with pytest.raises(ValueError, match="not finite"):
        rasterize(vertices * math.inf, faces, camera)
    assert (rasterize(torch.zeros(0, 3), torch.zeros(0, 3), camera).face == -1).all()


def test_render_is_antialiased_and_premultiplied() -> None:
    vertices, faces = square(0.0)
    color = torch.tensor([[0.2, 0.4, 0.8]]).expand(4, 3)
    camera = orbit(torch.tensor([0.0]), 0.0, 30)
    rgb, alpha = render_mesh(vertices, faces, color, camera)
    torch.testing.assert_close(rgb, alpha * color[0], atol=1e-6, rtol=0)
    assert ((alpha > 0.05) & (alpha < 0.95)).any()
    side = float(2 * 0.5 * camera.intrinsics[0, 0, 0] / camera.positions.norm())
    assert float(alpha.sum()) == pytest.approx(side**2, rel=0.05)


def test_studio_light_is_that_of_the_corpus() -> None:
    vertices, faces = square(0.0)
    for azimuth, normal in ((0.0, [0.0, 0.0, 1.0]), (180.0, [0.0, 0.0, -1.0])):  # lit on the side that is seen
        rgb, _ = render_mesh(
            vertices, faces, torch.full((4, 3), 0.5), orbit(torch.tensor([azimuth]), 0.0, 16), lighting="studio"
        )
        torch.testing.assert_close(rgb[0, 8, 8, :1], 0.5 * studio_shading(torch.tensor(normal)))
    smooth = sphere()
    normals = vertex_normals(*smooth)
    rgb, _ = render_mesh(
        *smooth,
        torch.full((len(normals), 3), 0.5),
        orbit(torch.tensor([0.0]), 0.0, 17),
        lighting="studio",
        normals=normals,
    )
    torch.testing.assert_close(rgb[0, 8, 8, :1], 0.5 * studio_shading(torch.tensor([0.0, 0.0, 1.0])), atol=5e-3, rtol=0)


def test_texture_is_upright_and_repeats() -> None:
    texture = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]], [[0, 0, 1.0], [1.0, 1.0, 0]]])  # red green / blue yellow
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    vertices, faces = square(0.0, half=0.9)
    large = texture.repeat_interleave(8, 0).repeat_interleave(8, 1)
    rgb, _ = render_mesh(vertices, faces, (uv, large), orbit(torch.tensor([0.0]), 0.0, 32))
    quarters = rgb[0, [11, 11, 20, 20], [11, 20, 11, 20]]
    torch.testing.assert_close(quarters, texture.reshape(4, 3), atol=1e-5, rtol=0)
    samples = sample_texture(texture, torch.tensor([[0.25, 0.75], [1.25, -0.25], [0.5, 0.75]]))
    torch.testing.assert_close(samples, torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0.5, 0.5, 0]]))


def test_normals_point_outward() -> None:
    vertices, faces = sphere()
    centres = vertices[faces].mean(1)
    assert ((face_normals(vertices, faces) * centres).sum(-1) > 0).all()
    torch.testing.assert_close(vertex_normals(vertices, faces), vertices / 0.8, atol=0.02, rtol=0)
