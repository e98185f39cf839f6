"""What nvdiffrast is asked for and how its answers are read: checked without a GPU against our own rasteriser."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels import dispatch
from gen3d.kernels import nvdiffrast as kernels
from gen3d.kernels.reference import surface as surface_reference
from gen3d.rendering.mesh import NEAR, rasterize
from gen3d.rendering.surface import SurfacePoints
from gen3d.rendering.topology import Topology, sphere


class ClipSpace:
    """nvdiffrast's conventions as its manual states them, written down slowly: OpenGL's clip space, the bottom row
    first, (u, v, z/w, triangle + 1) a pixel, perspective-correct u and v of the first two corners. Nothing is blended.
    """

    @staticmethod
    def RasterizeCudaContext(device: torch.device) -> None:
        return None

    @staticmethod
    def rasterize(context: None, pos: Tensor, tri: Tensor, resolution: tuple[int, int], grad_db: bool) -> Any:
        up, along = ((torch.arange(count) + 0.5) * 2 / count - 1 for count in resolution)
        y, x = torch.meshgrid(up, along, indexing="ij")
        ray = torch.stack([x, y, torch.ones_like(x)], -1).double()
        views = []
        for clip in pos.double():
            corners = clip[tri.long()]  # [F, 3, 4]
            a, b, c = corners[..., [0, 1, 3]].unbind(1)
            weights = torch.stack([torch.linalg.cross(*pair) for pair in ((b, c), (c, a), (a, b))], 1)
            u = torch.einsum("hwk,fik->hwfi", ray, weights)
            bary = u / u.sum(-1, keepdim=True)
            z = torch.einsum("hwfi,fi->hwf", bary, corners[..., 2]) / torch.einsum(
                "hwfi,fi->hwf", bary, corners[..., 3]
            )
            z = torch.where((bary >= 0).all(-1) & (z.abs() <= 1), z, torch.inf)
            depth, face = z.min(-1)
            picked = bary.gather(2, face[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
            found = torch.stack([picked[..., 0], picked[..., 1], depth, face + 1.0], -1)
            views.append(torch.where(depth.isfinite()[..., None], found, 0.0))
        return torch.stack(views).float(), torch.zeros(0)

    @staticmethod
    def interpolate(attr: Tensor, rast: Tensor, tri: Tensor) -> Any:
        face = rast[..., 3].long() - 1
        table = attr.expand(len(rast), -1, -1)
        u, v = rast[..., :1], rast[..., 1:2]
        rows = tri.long()[face.clamp(min=0)]
        images = []
        for view in range(len(rast)):
            first, second, third = table[view][rows[view]].unbind(2)
            images.append(u[view] * first + v[view] * second + (1 - u[view] - v[view]) * third)
        return torch.stack(images) * (face >= 0)[..., None], torch.zeros(0)

    @staticmethod
    def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
        return color


def cameras_off_centre() -> Cameras:
    """Two views, not square, with the centre of projection off the image's."""
    cameras = orbit(torch.tensor([25.0, 200.0]), torch.tensor([15.0, -30.0]), 40)
    shift = torch.tensor([[0.0, 0.0, 3.3], [0.0, 0.0, -2.1], [0.0, 0.0, 0.0]])
    return replace(cameras, intrinsics=cameras.intrinsics + shift, width=44, height=36)


def test_clip_space_is_that_of_our_pixels() -> None:
    """The visible point of every pixel of our rasteriser is in clip space at the pixel's centre, bottom row first."""
    vertices, faces = sphere(0.7, 2)
    cameras = cameras_off_centre()
    fragments = rasterize(vertices, faces, cameras)
    clip = kernels.clip_positions(vertices, cameras.projections(), (36, 44), NEAR)
    view, row, column = (fragments.face >= 0).nonzero(as_tuple=True)
    corners = clip[view[:, None], faces.long()[fragments.face[view, row, column].long()]]  # [N, 3, 4]
    point = (corners * fragments.bary[view, row, column][..., None]).sum(1)
    x, y, z = (point[:, :3] / point[:, 3:]).unbind(-1)
    assert torch.allclose((x + 1) * 44 / 2, column + 0.5, atol=1e-3)
    assert torch.allclose((y + 1) * 36 / 2, 36 - row - 0.5, atol=1e-3)
    assert torch.allclose(point[:, 3], fragments.depth[view, row, column], atol=1e-4)
    assert z.abs().max() < 1


def test_clip_space_ends_at_the_planes() -> None:
    camera = orbit(torch.tensor([0.0]), 0.0, 8, radius=3.0)
    points = torch.tensor([[0.0, 0.0, 3.0 - 0.5], [0.0, 0.0, 3.0 - kernels.FAR]])
    z = kernels.clip_positions(points, camera.projections(), (8, 8), 0.5)[0]
    assert (z[:, 2] / z[:, 3]).tolist() == pytest.approx([-1, 1], abs=1e-5)


def test_answers_are_read_as_our_own_views() -> None:
    vertices, faces = sphere(0.7, 2)
    cameras = cameras_off_centre()
    ours = SurfacePoints(vertices, faces, cameras, backend="torch")
    topology = Topology.of(faces, len(vertices))
    parts = topology.faces, topology.edges, topology.corner_starts, topology.corners
    views = kernels.see(vertices, parts, cameras.projections(), (36, 44), NEAR, ClipSpace)
    assert torch.equal(views.face, ours.views.face)
    assert torch.equal(views.pixels, ours.views.pixels)
    assert torch.allclose(views.bary, ours.views.bary, atol=1e-3)
    assert torch.allclose(views.depth, ours.views.depth, atol=1e-4)
    colors = (3 * vertices).sin()
    values = kernels.interpolate(vertices, colors, faces, views)
    wanted = surface_reference.interpolate(vertices, colors, faces, ours.views)
    assert torch.allclose(values, wanted, atol=1e-3)
    (image,) = kernels.antialias(values, vertices, views, (3,))
    assert torch.equal(image.reshape(-1, 3)[views.pixels], values)
    assert image.shape == (2, 36, 44, 3)


def test_calls_bind_to_nvdiffrast() -> None:
    library = pytest.importorskip("nvdiffrast.torch")
    clip, faces, raster = torch.zeros(1, 3, 4), torch.zeros(1, 3).int(), torch.zeros(1, 4, 4, 4)
    inspect.signature(library.rasterize).bind(None, **kernels.raster_arguments(clip, faces, (4, 4)))
    inspect.signature(library.interpolate).bind(**kernels.attribute_arguments(torch.zeros(3, 2), raster, faces))
    inspect.signature(library.antialias).bind(**kernels.blend_arguments(torch.zeros(1, 4, 4, 3), raster, clip, faces))
    inspect.signature(library.RasterizeCudaContext).bind(device=torch.device("cuda"))


def test_tensors_elsewhere_are_refused() -> None:
    vertices, faces = sphere(0.7, 1)
    assert dispatch.choose("surface", vertices.double()).name == "torch"
    with pytest.raises(UsageError, match=r"float32 tensors on CUDA, not torch\.float32 on cpu"):
        SurfacePoints(vertices, faces, cameras_off_centre(), backend="nvdiffrast")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_nvdiffrast_draws_what_we_draw() -> None:
    pytest.importorskip("nvdiffrast")
    vertices, faces = sphere(0.7, 2)
    drawn = []
    for backend in ("nvdiffrast", "torch"):
        at = vertices.cuda().requires_grad_()
        points = SurfacePoints(at, faces.cuda(), cameras_off_centre().to("cuda"), backend=backend)  # type: ignore[arg-type]
        image = points.draw(points.interpolate((3 * at).sin()))
        (gradient,) = torch.autograd.grad(image.square().sum(), at)
        drawn.append((image.detach(), gradient))
    assert (drawn[0][0] - drawn[1][0]).abs().mean() < 1e-3
    assert torch.nn.functional.cosine_similarity(drawn[0][1].flatten(), drawn[1][1].flatten(), dim=0) > 0.9
