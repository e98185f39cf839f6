"""The shape encoders at tiny sizes: what goes in and out, what must not matter, and that they learn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import open_clip
import pytest
import torch
from torch.nn import functional as F

from gen3d.encoders.align import AlignModel
from gen3d.encoders.clip_network import ClipNetwork
from gen3d.encoders.conditional_flow import ConditionalFlow, FlowSizes
from gen3d.encoders.point_encoder import PointEncoder, PointSizes, farthest_points
from gen3d.encoders.text2shape import Text2Shape, Text2ShapeSizes, VoxelCritic, VoxelGan, VoxelGenerator
from gen3d.encoders.trained import load_trained, save_encoder
from gen3d.encoders.view_transformer import ViewTransformer, ViewTransformerSizes
from gen3d.errors import Gen3DError
from gen3d.training import losses

VISION = {"layers": 2, "width": 16, "patch_size": 8, "image_size": 16, "head_width": 8}
TEXT = {"context_length": 8, "width": 16, "heads": 2, "layers": 1}
POINTS = PointSizes(width=16, layers=2, heads=2, groups=8, neighbours=8, features=8)
VOXELS = Text2ShapeSizes(20, word=8, text=(8, 8), hidden=8, shape=(8, 8, 8), made=(8, 8, 8))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def tower(features: int = 8) -> ViewTransformer:
    return ViewTransformer(ViewTransformerSizes(**VISION), features)


@pytest.mark.parametrize("details", [{}, {"scale": "NaN"}, {"scale": -1.0}, {"scale": 14.0}, {"scale": [1]}])
def test_an_encoder_whose_file_lacks_what_it_needs_is_refused_by_name(
    details: dict[str, object], tmp_path: Path
) -> None:
    sizes = {"features": 8, "sizes": VISION}
    path = save_encoder(tmp_path, "duoduo", tower(), sizes | details)
    with pytest.raises(Gen3DError, match=re.escape(f"The encoder '{path}' cannot be read (")):
        load_trained(tmp_path)


def test_sizes_that_the_tensors_do_not_have_take_no_memory(tmp_path: Path) -> None:
    sizes = {**VISION, "width": 1 << 16, "head_width": 1 << 12}  # 64 GB a layer
    save_encoder(tmp_path, "duoduo", tower(), {"features": 8, "sizes": sizes, "scale": 14.0, "mean": 0.5, "std": 0.2})
    with pytest.raises(Gen3DError, match="has the shape"):
        load_trained(tmp_path)


def test_a_whole_encoder_is_read(tmp_path: Path) -> None:
    save_encoder(tmp_path, "duoduo", tower(), {"features": 8, "sizes": VISION, "scale": 14.0, "mean": 0.5, "std": 0.2})
    assert load_trained(tmp_path).logit_scale == 14.0


def learns(
    model: torch.nn.Module, loss: Callable[[], torch.Tensor], steps: int, share: float, rate: float = 1e-2
) -> bool:
    """Whether the loss falls below a share of what it was, and every parameter had a gradient."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    first = last = 0.0
    for step in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        if step == 0:
            first = value.item()
            still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
            assert still == []
        optimizer.step()
        last = value.item()
    return last < share * first


def test_one_view_is_open_clips_vision_transformer():
    config = {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": {**TEXT, "vocab_size": 30}}
    clip = open_clip.CLIP(**config).eval()
    own = ClipNetwork.with_weights({**config, "text_cfg": TEXT}, 30, clip.state_dict())
    images, tokens = torch.rand(3, 3, 16, 16), torch.randint(1, 30, (3, 8))
    with torch.no_grad():
        assert torch.allclose(own.encode_image(images), clip.encode_image(images), atol=1e-5)
        assert torch.allclose(own.encode_text(tokens), clip.encode_text(tokens), atol=1e-5)


def test_the_order_of_views_does_not_matter_and_their_number_is_free():
    model, views = tower().eval(), torch.rand(2, 5, 3, 16, 16)
    with torch.no_grad():
        whole = model(views)
        assert torch.allclose(model(views[:, [3, 0, 4, 1, 2]]), whole, atol=1e-5)
        assert all(model(views[:, :count]).shape == (2, 8) for count in (1, 2, 4))
        assert torch.allclose(model(views[:, :1]), model(views[:, 0]), atol=1e-6)
        # Views see each other: the feature of all is not the mean of theirs.
        assert not torch.allclose(model(views.flatten(0, 1)).view(2, 5, 8).mean(1), whole, atol=1e-4)
        assert torch.allclose(model(views[:1]), whole[:1], atol=1e-5)  # but objects do not


def test_duoduo_trains_the_attention_of_the_later_half_alone():
    model = tower()
    joint = {id(parameter) for parameter in model.joint_attention()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in joint]
    assert names
    assert all(name.startswith("transformer.resblocks.1.attn.") for name in names)


def test_points_in_any_order_and_of_any_number():
    model, points = PointEncoder(POINTS).eval(), torch.rand(2, 60, 6) * 2 - 1
    order = torch.randperm(60)
    with torch.no_grad():
        assert model(points).shape == (2, 8)
        assert torch.allclose(model(points), model(points[:, order]), atol=1e-5)
        assert not torch.allclose(model(points), model(points * torch.tensor([1, 1, 1, 0, 0, 0])), atol=1e-4)
    points.requires_grad_()
    model(points).sum().backward()
    assert (points.grad[..., :3] != 0).any()
    assert (points.grad[..., 3:] != 0).any()
    with pytest.raises(ValueError, match="do not fill"):
        model(points[:, :5])


def test_farthest_points_are_those_of_a_plain_loop():
    points = torch.rand(2, 30, 3)
    for cloud, found in zip(points, farthest_points(points, 6).tolist(), strict=True):
        chosen = [int((cloud - cloud.mean(0)).norm(dim=1).argmax())]
        while len(chosen) < 6:
            chosen.append(max(range(30), key=lambda i: min(float((cloud[i] - cloud[j]).norm()) for j in chosen)))
        assert found == chosen


def test_padding_behind_a_text_does_not_matter():
    model = Text2Shape(VOXELS).eval()
    model.text.norms[0].bias.data.fill_(0.7)  # what batch norm makes of nothing is not nothing
    tokens = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 0, 0, 0]])
    with torch.no_grad():
        longer = model.text(F.pad(tokens, (0, 4)))
        assert torch.allclose(model.text(tokens), longer, atol=1e-6)
        assert torch.allclose(model.text(tokens[1:, :2]), longer[1:], atol=1e-6)
        assert not torch.allclose(longer[0], longer[1])


def test_text2shape_learns_by_association():
    model, tokens = Text2Shape(VOXELS), torch.tensor([[3, 4], [3, 5], [6, 7], [6, 8]])
    voxels, owner = torch.zeros(2, 4, 32, 32, 32), torch.tensor([0, 0, 1, 1])
    voxels[0, :, :16], voxels[1, :, 16:, :, :8] = 1.0, 0.5

    def loss() -> torch.Tensor:
        texts, shapes = model.text(tokens), model.shape(voxels)
        return losses.association(texts, shapes, owner) + losses.text2shape_metric(texts, shapes, owner)

    assert learns(model, loss, 25, 0.75)


def test_the_gan_makes_voxels_and_each_half_moves_alone():
    gan, texts = VoxelGan(VOXELS), torch.randn(3, 128)
    noise = VoxelGenerator.noise(3, torch.Generator().manual_seed(0))
    assert noise.abs().max() <= 0.5
    fake = gan.generator(texts, noise)
    assert fake.shape == (3, 4, 32, 32, 32)
    assert 0 <= fake.min() <= fake.max() <= 1
    real = torch.rand(3, 4, 32, 32, 32)
    losses.critic_loss(gan.critic, texts, fake, real, real.roll(1, 0), on_real=True).backward()
    assert all(parameter.grad is not None for parameter in gan.critic.parameters())
    assert all(parameter.grad is None for parameter in gan.generator.parameters())
    losses.generator_loss(gan.critic, texts, fake).backward()
    assert all(parameter.grad is not None for parameter in gan.generator.parameters())


def test_a_row_of_the_critic_does_not_see_the_others():
    critic, texts, voxels = VoxelCritic(VOXELS), torch.randn(3, 128), torch.rand(3, 4, 32, 32, 32)
    assert torch.allclose(critic(texts, voxels)[1:2], critic(texts[1:2], voxels[1:2]), atol=1e-5)


def test_points_learn_to_tell_shapes():
    model, points = PointEncoder(POINTS), torch.rand(4, 40, 6) * torch.linspace(0.2, 1, 4)[:, None, None]
    texts, images = F.normalize(torch.randn(2, 4, 8), dim=-1)
    scale = torch.tensor(10.0)
    assert learns(model, lambda: losses.trimodal(F.normalize(model(points), dim=-1), texts, images, scale), 30, 0.6)


def test_align_learns_at_every_nested_size():
    model = AlignModel(ViewTransformerSizes(**VISION), 6, sizes=(4, 8))
    views = torch.rand(3, 1, 3, 1, 1).expand(3, 2, 3, 16, 16) + 0.05 * torch.rand(3, 2, 3, 16, 16)
    texts, pictures, owner = torch.randn(6, 6), torch.randn(6, 6), torch.arange(3).repeat_interleave(2)
    scale = torch.tensor(10.0)

    def loss() -> torch.Tensor:
        features = model(views, texts, pictures)
        multi = lambda s, t, p: losses.multi_positive(s, t, owner, scale) + losses.multi_positive(s, p, owner, scale)  # noqa: E731
        return losses.nested(multi, features, model.sizes)

    assert learns(model, loss, 40, 0.5)
    assert model(views, texts, pictures)[0].shape == (3, 8)


def test_the_flow_is_invertible_and_its_determinant_is_that_of_its_jacobian():
    flow = ConditionalFlow(FlowSizes(4, condition=3, layers=3, hidden=8)).double()
    flow.fit(2 + 3 * torch.randn(50, 4).double())
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    codes, condition = torch.randn(5, 4).double(), F.normalize(torch.randn(5, 3).double(), dim=-1)
    latent, log_determinant = flow(codes, condition)
    assert torch.allclose(flow.inverse(latent, condition), codes, atol=1e-9)
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, i=i: flow(x[None], condition[i : i + 1])[0][0], codes[i]
        )
        assert torch.allclose(jacobian.det().abs().log(), log_determinant[i], atol=1e-9)


def test_the_flow_learns_which_codes_go_with_a_condition():
    flow = ConditionalFlow(FlowSizes(2, condition=2, layers=4, hidden=16))
    condition = torch.eye(2).repeat(64, 1)
    codes = 3 * condition + 0.3 * torch.randn(128, 2)
    flow.fit(codes)
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        losses.flow_loss(*flow(codes, condition)).backward()
        optimizer.step()
    with torch.no_grad():
        made = flow.inverse(torch.randn(200, 2), torch.eye(2)[:1].expand(200, 2))
    assert torch.allclose(made.mean(0), torch.tensor([3.0, 0.0]), atol=0.3)


def test_each_system_fits_into_twelve_megabytes_of_fp16():
    config = json.loads(resources.files("gen3d.encoders").joinpath("clip_vit.json").read_text())["model_cfg"]
    vision = ViewTransformerSizes(**config["vision_cfg"])
    words = Text2ShapeSizes(3500)
    with torch.device("meta"):
        systems = [
            [ClipNetwork(config, 3500)],
            [Text2Shape(words), VoxelGenerator(words)],
            [PointEncoder()],
            [ViewTransformer(vision, 256)],
            [AlignModel(vision, 256)],
            [ConditionalFlow(FlowSizes(352))],
        ]
    sizes = [sum(2 * p.numel() for model in models for p in model.parameters()) / 1e6 for models in systems]
    assert max(sizes) < 12, sizes
