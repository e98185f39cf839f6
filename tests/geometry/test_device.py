"""Cameras and grids are made where they are asked for, and moved as a whole."""

from __future__ import annotations

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras, look_at, orbit, random_orbit
from gen3d.geometry.grids import cell_centers
from gen3d.geometry.transforms import rotation_matrices

AZIMUTHS = torch.tensor([10.0, 200.0, 300.0])


def read(cameras: Cameras) -> list[Tensor]:
    origins, directions = cameras.resized(4, 4).rays()
    return [
        cameras.c2w, cameras.intrinsics, cameras.positions, cameras.viewmats(), cameras.projections(), origins,
        directions, cameras[1:].c2w,
    ]  # fmt: skip


def same(here: list[Tensor], there: list[Tensor], device: str = "cuda:1") -> None:
    for one, other in zip(here, there, strict=True):
        assert other.device == torch.device(device)
        torch.testing.assert_close(other.cpu(), one)


def test_cameras_are_made_where_their_azimuths_are(pretended_cuda: None) -> None:
    elevations, radii = torch.tensor([0.0, 40.0, -80.0]), torch.tensor([3.0, 4.0, 5.0])
    here, there = (orbit(AZIMUTHS.to(device), elevations, 6, radii, 50.0) for device in ("cpu", "cuda:1"))
    same(read(here), read(there))
    same([orbit(AZIMUTHS, 20.0, 6).c2w], [orbit(AZIMUTHS.to("cuda:1"), 20.0, 6).c2w])


def test_cameras_are_moved_as_a_whole(pretended_cuda: None) -> None:
    cameras = random_orbit(4, 6, torch.Generator().manual_seed(0), together=2)
    same(read(cameras), read(cameras.to("cuda:1")))
    assert cameras.to("cuda:1").to("cpu").c2w.device.type == "cpu"


def test_other_geometry_is_made_there(pretended_cuda: None) -> None:
    points = torch.tensor([[1.0, 2.0, 3.0], [0.0, 4.0, 0.0]])
    quats = torch.tensor([[1.0, 2.0, 0.0, -1.0]])
    same([look_at(points, points[0] / 2)], [look_at(points.to("cuda:1"), points.to("cuda:1")[0] / 2)])
    same([rotation_matrices(quats)], [rotation_matrices(quats.to("cuda:1"))])
    same([cell_centers(4)], [cell_centers(4, "cuda:1")])
