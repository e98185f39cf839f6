"""The denoiser's guidance, its path, and that a tiny one learns."""

from __future__ import annotations

import torch

from gen3d.encoders.minilm import FEATURES
from gen3d.priors.denoiser import CodeDenoiser, sample_codes, time_features
from gen3d.training.train_denoiser import denoising_loss


def tiny() -> CodeDenoiser:
    torch.manual_seed(0)
    model = CodeDenoiser(6, width=32, depth=2, condition=16)
    for block in model.blocks:
        torch.nn.init.normal_(block.outer.weight, std=0.1)
    torch.nn.init.normal_(model.null_text)
    return model


def test_guidance_scale_one_and_zero_are_the_two_halves() -> None:
    model = tiny()
    noisy, t, text = torch.randn(3, 6), torch.full((3,), 0.4), torch.randn(3, FEATURES)
    with torch.no_grad():
        assert torch.allclose(model.guided(noisy, t, text, 1.0), model(noisy, t, text))
        null = model.null_text.expand(3, -1)
        assert torch.allclose(model.guided(noisy, t, text, 0.0), model(noisy, t, null), atol=1e-6)


def test_time_features_tell_times_apart() -> None:
    features = time_features(torch.tensor([0.0, 0.5, 1.0]))
    assert torch.cdist(features, features)[~torch.eye(3, dtype=torch.bool)].min() > 1


def test_a_denoiser_learns_codes_by_text() -> None:
    """Two texts, two codes: sampling returns the code of the text, and the loss falls below half."""
    model = CodeDenoiser(6, width=64, depth=2, condition=32)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(2, 6, generator=generator)
    texts = torch.nn.functional.normalize(torch.randn(2, FEATURES, generator=generator), dim=1) * 1.4
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(250):
        pick = torch.randint(2, (64,), generator=generator)
        loss = denoising_loss(model, codes[pick], texts[pick], generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    drawn = sample_codes(model, texts, 1.5, 20, generator)
    assert torch.cdist(drawn, codes).argmin(1).tolist() == [0, 1]


def test_guidance_stops_where_it_is_told_to() -> None:
    model, text = tiny(), torch.randn(2, FEATURES)

    def drawn(scale: float, above: float) -> torch.Tensor:
        return sample_codes(model, text, scale, 10, torch.Generator().manual_seed(0), above)

    assert torch.equal(drawn(4.0, 1.0), drawn(1.0, 0.0))
    assert not torch.allclose(drawn(4.0, 0.5), drawn(4.0, 0.0))
    assert not torch.allclose(drawn(4.0, 0.5), drawn(1.0, 0.0))
