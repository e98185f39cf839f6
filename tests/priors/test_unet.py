"""The view prior's network equals diffusers' own: weights drawn, outputs and gradients."""

from __future__ import annotations

import pytest
import torch

from gen3d.priors.unet import UNet

INPUTS, OUTPUTS, SIDE = 12, 6, 8


def theirs(widths: tuple[int, ...], layers: int, groups: int) -> torch.nn.Module:
    from diffusers.models.unets.unet_2d import UNet2DModel

    return UNet2DModel(
        sample_size=SIDE, in_channels=INPUTS, out_channels=OUTPUTS, block_out_channels=widths,
        layers_per_block=layers, norm_num_groups=groups, down_block_types=("DownBlock2D",) * len(widths),
        up_block_types=("UpBlock2D",) * len(widths), add_attention=False, class_embed_type="identity",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("widths", "layers", "groups"), [((8, 16), 1, 4), ((8, 16, 24), 2, 8), ((16,), 1, 4)], ids=["usual", "deep", "flat"]
)
@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_network_of_diffusers(widths: tuple[int, ...], layers: int, groups: int, training: bool) -> None:
    torch.manual_seed(0)
    ours = UNet(INPUTS, OUTPUTS, widths, layers, groups).train(training)
    torch.manual_seed(0)
    reference = theirs(widths, layers, groups).train(training)
    drawn, expected = ours.state_dict(), reference.state_dict()
    assert list(drawn) == list(expected)
    assert all(torch.equal(drawn[name], expected[name]) for name in drawn)

    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, INPUTS, SIDE, SIDE, generator=generator)
    times, condition = 1000 * torch.rand(3, generator=generator), torch.randn(3, 4 * widths[0], generator=generator)
    seen = [images.clone().requires_grad_() for _ in range(2)]
    answers = ours(seen[0], times, condition), reference(seen[1], times, class_labels=condition).sample
    assert answers[0].shape == (3, OUTPUTS, SIDE, SIDE)
    assert torch.allclose(*answers, rtol=0, atol=1e-5)
    for answer in answers:
        answer.square().sum().backward()
    assert torch.allclose(seen[0].grad, seen[1].grad, rtol=1e-4, atol=1e-5)
    for (name, one), other in zip(ours.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize(("widths", "layers"), [((), 1), ((8,) * 17, 1), ((8, 16), 0), ((8, 16), 10**9)])
def test_sizes_out_of_all_reason_are_refused(widths: tuple[int, ...], layers: int) -> None:
    with pytest.raises(ValueError, match="1 to 16 of either"):
        UNet(INPUTS, OUTPUTS, widths, layers, 4)
