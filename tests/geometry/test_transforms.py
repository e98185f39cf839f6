"""Rotations of quaternions, against scipy's."""

from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation

from gen3d.geometry.transforms import rotation_matrices


def test_quaternions_of_any_length_are_scipys_rotations() -> None:
    quats = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    expected = Rotation.from_quat(quats[:, [1, 2, 3, 0]].numpy()).as_matrix()
    assert torch.allclose(rotation_matrices(quats), torch.from_numpy(expected), atol=1e-12)


def test_a_quarter_turn_around_y_takes_z_to_x() -> None:
    half = torch.tensor(torch.pi / 4)
    turn = rotation_matrices(torch.stack([half.cos(), torch.zeros(()), half.sin(), torch.zeros(())])[None])[0]
    assert torch.allclose(turn @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_gradients_are_those_of_finite_differences() -> None:
    quats = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_matrices, (quats,))
