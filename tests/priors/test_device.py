"""The priors on any device: the same codes, fields and views as on the CPU, from the same generators."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from gen3d.encoders.minilm import FEATURES
from gen3d.geometry.cameras import orbit
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.priors.shape_prior import ShapePrior
from gen3d.priors.view_prior import ViewPrior, camera_directions

DEVICES = ("cpu", "cuda:0", "cuda:1")
TEXT = torch.nn.functional.normalize(torch.randn(FEATURES, generator=torch.Generator().manual_seed(3)), dim=0)


def same(found: list[Tensor]) -> None:
    for other in found[1:]:
        torch.testing.assert_close(other.cpu(), found[0], rtol=1e-4, atol=1e-5)


@pytest.fixture
def priors(tiny_prior: ShapePrior, pretended_cuda: None) -> list[ShapePrior]:
    """One on each of the devices."""
    made = [copy.deepcopy(tiny_prior) for _ in DEVICES]
    for prior, device in zip(made, DEVICES, strict=True):
        for parameter in prior.denoiser.parameters():  # not zero, so that the text matters
            parameter.data.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
        assert prior.to(device) is prior
        assert prior.device == torch.device(device)
    return made


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_a_seed_means_the_same_codes_everywhere(priors: list[ShapePrior]) -> None:
    codes = [prior.sample(TEXT, 3, seeded(), steps=4) for prior in priors]
    assert [str(code.device) for code in codes] == list(DEVICES)
    same(codes)
    # Codes of the CPU will do, too.
    same([prior.plausibility(codes[0], TEXT, seeded(), draws=2) for prior in priors])
    same([prior.text_match(codes[0], TEXT, seeded(), draws=2) for prior in priors])
    assert len({prior.nearest_training_object(code[:1])[0] for prior, code in zip(priors, codes, strict=True)}) == 1


def test_fields_are_decoded_there_and_meshed_here(priors: list[ShapePrior]) -> None:
    code = priors[0].training.codes[:1]
    points = 0.5 * torch.nn.functional.normalize(torch.randn(40, 3, generator=seeded()), dim=-1)
    grids = [prior.distance_grid(code, 12) for prior in priors]
    colors = [prior.albedo_at(code, points) for prior in priors]
    for found in (grids, colors):
        assert {value.device.type for value in found} == {"cpu"}
        same(found)
    assert colors[0].shape == (40, 3)
    for prior, device in zip(priors, DEVICES, strict=True):
        assert prior.field(code).distance.device == torch.device(device)


def test_a_surface_is_encoded_where_it_is(priors: list[ShapePrior]) -> None:
    codes, gradients = [], []
    for prior, device in zip(priors, DEVICES, strict=True):
        points = (0.5 * torch.nn.functional.normalize(torch.randn(1, 200, 3, generator=seeded()), dim=-1)).to(device)
        points.requires_grad_()
        areas = torch.full((1, 200), 0.01, device=device)
        code = torch.cat(prior.code(SurfaceCloud(points, areas, 0.5 + 0 * points)), 1)
        codes.append(code.detach())
        gradients.append(torch.autograd.grad(code.square().sum(), points)[0])
    same(codes)
    same(gradients)


def test_concepts_take_features_from_anywhere(priors: list[ShapePrior]) -> None:
    for device in DEVICES:
        unknown = priors[1].concepts.check("a wheelbarrow", TEXT.to(device))
        assert unknown is not None
        assert unknown.words == ["wheelbarrow"]


def test_the_packaged_prior_can_be_loaded_onto_a_device(pretended_cuda: None) -> None:
    prior = ShapePrior.load(device="cuda:1")
    assert prior.device == torch.device("cuda:1")
    networks = (prior.code, prior.decoder, prior.denoiser)
    tensors = [value for network in networks for value in network.state_dict().values()]
    assert {value.device for value in tensors} == {torch.device("cuda:1")}
    assert not any(parameter.requires_grad for network in networks for parameter in network.parameters())


def test_views_are_the_same_everywhere(pretended_cuda: None) -> None:
    torch.manual_seed(0)
    prior = ViewPrior(widths=(8, 16), groups=4).eval().requires_grad_(False)
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.1, generator=seeded())
    coarse = torch.rand(2, 64, 64, 4, generator=seeded())
    cameras = orbit(torch.tensor([0.0, 90.0]), 15.0, 64)
    refined, expected = [], []
    for device in DEVICES:
        there = copy.deepcopy(prior).to(device)
        inputs = coarse.to(device), TEXT.expand(2, -1).to(device), camera_directions(cameras).to(device)
        refined.append(there.refine(*inputs, seeded(), steps=2))
        expected.append(there.expected(*inputs))
        assert refined[-1].device == expected[-1].device == torch.device(device)
    same(refined)
    same(expected)


def test_a_part_that_stays_behind_is_caught(priors: list[ShapePrior]) -> None:
    priors[1].code.to("cpu")
    priors[1].code.scales = priors[1].code.scales.to("cuda:0")  # what the prior asks for its device
    with pytest.raises(RuntimeError, match="same device"):
        priors[1].distance_grid(priors[1].training.codes[:1], 8)
