"""What kaolin is asked for and how its answers are read: checked without a GPU against our own rasteriser."""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels import dispatch
from gen3d.kernels import kaolin as kernels
from gen3d.rendering.mesh import NEAR, rasterize
from gen3d.rendering.topology import sphere


def drawn_slowly(
    height: int,
    width: int,
    face_vertices_z: Tensor,
    face_vertices_image: Tensor,
    face_features: Tensor,
    valid_faces: Tensor | None = None,
    multiplier: int | None = None,
    eps: float | None = None,
    backend: str = "cuda",
) -> tuple[Tensor, Tensor]:
    """`kaolin.render.mesh.rasterize` as its manual states it: everything is linear on the image, the largest z is seen,
    the first row is the top one, and -1 is the face of pixels that see none.
    """
    assert backend == "cuda"
    assert valid_faces is not None
    x = (2 * torch.arange(width) + 1 - width) / width
    y = (height - 2 * torch.arange(height) - 1) / height
    at = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[:, :, None].double()  # [H, W, 1, 2]
    images, faces = [], []
    for z, corners, features, valid in zip(
        face_vertices_z, face_vertices_image, face_features, valid_faces, strict=True
    ):
        a, b, c = (corners.double() - at[..., None, :]).unbind(-2)  # [H, W, F, 2]
        parts = [u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0] for u, v in ((b, c), (c, a), (a, b))]
        weights = torch.stack(parts, -1) / (sum(parts) + 1e-12)[..., None]  # type: ignore[operator]
        nearness = torch.where((weights >= 0).all(-1) & valid, (weights * z).sum(-1), -torch.inf)
        best, face = nearness.max(-1)
        picked = weights.gather(2, face[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
        image = torch.einsum("hwk,hwkc->hwc", picked, features.double()[face])
        hit = best > -torch.inf
        images.append(torch.where(hit[..., None], image, 0.0).float())
        faces.append(torch.where(hit, face, -1))
    return torch.stack(images), torch.stack(faces)


def views() -> Cameras:
    """Two views, not square, with the centre of projection off the image's."""
    cameras = orbit(torch.tensor([25.0, 200.0]), torch.tensor([15.0, -30.0]), 32)
    shift = torch.tensor([[0.0, 0.0, 3.3], [0.0, 0.0, -2.1], [0.0, 0.0, 0.0]])
    return replace(cameras, intrinsics=cameras.intrinsics + shift, width=36, height=28)


def test_answers_are_those_of_our_own_rasteriser() -> None:
    vertices, faces = sphere(0.7, 2)
    cameras = views()
    ours = rasterize(vertices, faces, cameras)
    face, bary, depth = kernels.rasterize_by(
        drawn_slowly, vertices, faces, cameras.projections(), cameras.width, cameras.height, NEAR
    )
    assert (face.dtype, bary.dtype, depth.dtype) == (torch.int32, torch.float32, torch.float32)
    assert (face == ours.face).float().mean() > 0.999  # but for pixel centres on an edge
    same = face == ours.face
    assert torch.allclose(bary[same], ours.bary[same], atol=1e-4)
    assert torch.allclose(depth[same], ours.depth[same], atol=1e-4)


def test_triangles_behind_the_camera_are_left_out() -> None:
    vertices, faces = sphere(0.3, 1)
    behind = vertices + torch.tensor([0.0, 0.0, 6.0])
    both, all_faces = torch.cat([vertices, behind]), torch.cat([faces, faces + len(vertices)])
    projections = orbit(torch.zeros(1), 0.0, 24).projections()
    face, _, _ = kernels.rasterize_by(drawn_slowly, both, all_faces, projections, 24, 24, NEAR)
    assert 0 <= int(face.max()) < len(faces)


def test_meshes_around_the_camera_are_drawn_by_torch() -> None:
    def refuse(**arguments: object) -> None:
        raise AssertionError("kaolin cannot draw it")

    vertices, faces = sphere(5.0, 1)
    camera = orbit(torch.zeros(1), 0.0, 12)
    face, bary, depth = kernels.rasterize_by(refuse, vertices, faces, camera.projections(), 12, 12, NEAR)
    assert torch.equal(face, rasterize(vertices, faces, camera).face)
    assert (face >= 0).all()
    assert torch.allclose(bary.sum(-1), torch.ones(1, 12, 12))
    assert (depth > 0).all()
    none = kernels.rasterize_by(refuse, vertices, faces[:0], camera.projections(), 12, 12, NEAR)
    assert (none[0] == -1).all()


def test_the_probe_sees_what_is_drawn(pretended_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    package, render, mesh = (ModuleType(name) for name in ("kaolin", "kaolin.render", "kaolin.render.mesh"))
    for module in (package, render, mesh):
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    mesh.rasterize = lambda **arguments: tuple(  # type: ignore[attr-defined]
        found.cuda()
        for found in drawn_slowly(
            **{name: value.cpu() if isinstance(value, Tensor) else value for name, value in arguments.items()}
        )
    )
    kernels.probe(torch.device("cuda", 0))
    mesh.rasterize = lambda height, width, face_vertices_z, **arguments: (  # type: ignore[attr-defined]
        torch.zeros(1, height, width, 3, device="cuda"),
        torch.full((1, height, width), -1, device="cuda"),
    )
    with pytest.raises(RuntimeError, match="does not draw the triangle"):
        kernels.probe(torch.device("cuda", 0))


def test_calls_bind_to_kaolin() -> None:
    library = pytest.importorskip("kaolin.render.mesh")
    arguments = kernels.raster_arguments(torch.ones(1, 2, 3, 3), torch.ones(1, 2, dtype=torch.bool), 4, 4)
    inspect.signature(library.rasterize).bind(**arguments)


def test_tensors_elsewhere_are_refused() -> None:
    vertices, faces = sphere(0.7, 1)
    chosen = dispatch.kernels("raster", vertices, backend="kaolin")
    with pytest.raises(UsageError, match=r"float32 tensors on CUDA, not torch\.float32 on cpu"):
        chosen.rasterize(vertices, faces, views().projections(), 8, 8, NEAR)
