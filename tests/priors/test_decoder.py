"""Tri-planes, volumes and the field decoder."""

from __future__ import annotations

import torch

from gen3d.priors.decoder import FieldDecoder, PlaneGenerator, sample_planes, sample_volume
from gen3d.priors.linear_code import DISTANCE_GRID, LinearCode


def test_plane_samples_follow_the_axes() -> None:
    ramp = torch.linspace(-1 + 1 / 16, 1 - 1 / 16, 16)
    # Every plane holds (its column coordinate, its row coordinate).
    plane = torch.stack([ramp.expand(16, 16), ramp[:, None].expand(16, 16)])
    points = torch.tensor([[[0.1, -0.3, 0.5]]])
    features = sample_planes(plane.expand(1, 3, 2, 16, 16), points)[0, 0]
    assert torch.allclose(features, torch.tensor([0.1, -0.3, 0.1, 0.5, 0.5, -0.3]), atol=1e-5)


def test_volume_samples_are_in_x_y_z() -> None:
    ramp = torch.linspace(-1 + 1 / 8, 1 - 1 / 8, 8)
    z, y, x = torch.meshgrid(ramp, ramp, ramp, indexing="ij")
    features = sample_volume(torch.stack([x, y, z])[None], torch.tensor([[[0.2, -0.4, 0.6]]]))[0, 0]
    assert torch.allclose(features, torch.tensor([0.2, -0.4, 0.6]), atol=1e-5)


def tiny_decoder() -> FieldDecoder:
    code = LinearCode(4, 3)
    generator = torch.Generator().manual_seed(0)
    code.shape_basis.copy_(torch.randn(DISTANCE_GRID**3, 4, generator=generator) * 0.02)
    code.color_mean.fill_(0.4)
    torch.manual_seed(0)
    return FieldDecoder(code, widths=(4, 4, 4, 2), hidden=8)


def test_an_untrained_decoder_gives_the_linear_field() -> None:
    decoder = tiny_decoder()
    shape, color = torch.randn(2, 4), torch.zeros(2, 3)
    field = decoder.decode(shape, color)
    points = torch.rand(2, 30, 3) * 1.8 - 0.9
    distance, rgb = decoder.query(field, points)
    coarse = sample_volume(decoder._code[0].decode_distance(shape), points)[..., 0]
    assert torch.allclose(distance, coarse, atol=1e-6)
    assert torch.allclose(rgb, torch.full_like(rgb, 0.4), atol=1e-4)
    assert torch.allclose(decoder.distance_at(field, points), distance)


def test_shape_does_not_depend_on_the_appearance() -> None:
    decoder = tiny_decoder()
    torch.nn.init.normal_(decoder.distance_head[-1].weight)
    shape, points = torch.randn(1, 4), torch.rand(1, 20, 3)
    one = decoder.query(decoder.decode(shape, torch.zeros(1, 3)), points)[0]
    other = decoder.query(decoder.decode(shape, torch.ones(1, 3)), points)[0]
    assert torch.equal(one, other)


def test_planes_have_the_stated_shape() -> None:
    assert PlaneGenerator(5, (8, 6, 4, 3))(torch.zeros(2, 5)).shape == (2, 3, 3, 64, 64)
