"""The slot for aligned text-3D encoders, with small encoders of both kinds."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.encoders.clip_models import ClipModel
from gen3d.errors import Gen3DError
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.guidance.aligned_encoder import EncoderGuidance, MeanOfViews, points_of
from gen3d.priors.linear_code import COLOR_GRID, surface_grids


class ColorEncoder(nn.Module):
    """Maps a surface to its mean colour, and a text to that of its colour word: aligned by construction."""

    WORDS = ("red", "green", "blue")

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.tensor([[3.0 * (word in text) for word in self.WORDS] for text in texts])

    def embed_cloud(self, cloud: SurfaceCloud) -> Tensor:
        return surface_grids(cloud)[1].view(-1, 3, COLOR_GRID**3).mean(-1)


def sphere(colors: Tensor, points: int = 400) -> SurfaceCloud:
    generator = torch.Generator().manual_seed(0)
    where = 0.6 * F.normalize(torch.randn(1, points, 3, generator=generator), dim=-1)
    return SurfaceCloud(where, torch.full((1, points), 4.5 / points), colors.expand(1, points, 3))


def test_a_cloud_encoder_moves_the_scene_to_the_text() -> None:
    guide = EncoderGuidance(ColorEncoder(), "a blue ball")
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    first = guide.from_cloud(sphere(logits.sigmoid()))
    assert first.similarity.item() == pytest.approx(3**-0.5, abs=1e-3)  # grey against one channel
    assert first.loss.item() == pytest.approx(1 - 3**-0.5, abs=1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        guide.from_cloud(sphere(logits.sigmoid())).loss.backward()
        optimizer.step()
    last = guide.from_cloud(sphere(logits.sigmoid()))
    assert last.similarity.item() > 0.99
    double = EncoderGuidance(ColorEncoder(), "a blue ball", weight=2.0).from_cloud(sphere(logits.sigmoid()))
    assert double.loss.item() == pytest.approx(2 * last.loss.item(), abs=1e-6)


def test_views_are_seen_by_the_mean_of_an_image_text_encoder() -> None:
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    towers = ClipModel.of("tiny", model, open_clip.tokenize, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    guide = EncoderGuidance(MeanOfViews(towers), "a red chair")
    images = torch.rand(3, 32, 32, 3, requires_grad=True)
    step = guide.from_views(images)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (towers.mean, towers.std))
    units = F.normalize(model.encode_image((images.permute(0, 3, 1, 2) - mean) / std), dim=-1)
    expected = F.cosine_similarity(units.mean(0), guide.target, dim=0)
    assert step.similarity.item() == pytest.approx(expected.item(), abs=1e-5)
    shuffled = guide.from_views(images.flip(0))
    assert shuffled.loss.item() == pytest.approx(step.loss.item(), abs=1e-6)
    step.loss.backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().amax(1) > 0).all()  # every view
    large = F.interpolate(images.permute(0, 3, 1, 2), (96, 96), mode="nearest").permute(0, 2, 3, 1)
    assert guide.from_views(large).similarity.item() == pytest.approx(expected.item(), abs=0.05)


def test_encoders_are_asked_for_what_they_read() -> None:
    guide = EncoderGuidance(ColorEncoder(), "a red ball")
    with pytest.raises(TypeError, match="call `from_cloud`"):
        guide.from_views(torch.rand(2, 8, 8, 3))
    with pytest.raises(Gen3DError, match="no usable feature for the prompt 'a chair'"):
        EncoderGuidance(ColorEncoder(), "a chair")  # no colour: the feature is zero


def test_points_are_drawn_by_area_and_keep_their_gradient() -> None:
    points = torch.tensor([[[-1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]], requires_grad=True)
    cloud = SurfaceCloud(points, torch.tensor([[1.0, 3.0, 0.0]]), torch.eye(3)[None])
    drawn = points_of(cloud, 400, torch.Generator().manual_seed(0))
    assert drawn.shape == (1, 400, 6)
    assert (drawn[0, :, 0] == 1).sum().item() == pytest.approx(300, abs=2)  # strata are even
    assert (drawn[0, :, 1] == 0).all()  # what has no area is not drawn
    right = drawn[0, :, 0] == 1
    assert torch.equal(drawn[0, right, 3:], torch.eye(3)[1].expand(int(right.sum()), 3))
    drawn[..., :3].sum().backward()
    assert points.grad is not None
    assert points.grad[0, :, 0].tolist() == [pytest.approx(100, abs=2), pytest.approx(300, abs=2), 0]
    again = points_of(cloud, 400, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
