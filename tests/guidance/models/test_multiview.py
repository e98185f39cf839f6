"""The multi-view adapter: views see each other, objects do not, and cameras are those of its training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras, orbit, turntable
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.models.base import Setup
from gen3d.guidance.models.load import load_prior
from gen3d.guidance.models.multiview import MultiViewPrior, camera_labels
from gen3d.guidance.models.multiview_weights import unet_settings

Load = Callable[..., Any]


def setup(load_tiny: Load, batch: int = 4) -> tuple[Any, torch.Tensor, torch.Tensor, Any]:
    prior = load_tiny("multiview")
    noisy = torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return prior, noisy, torch.full((batch,), 0.5), prior.encode_prompt(PromptSet("a chair"))


def test_views_of_one_object_see_each_other_and_those_of_another_do_not(load_tiny: Load) -> None:
    prior, noisy, t, conditioning = setup(load_tiny, 8)
    cameras = orbit(torch.arange(8) * 90.0, 15.0, 16)
    before = prior.predict(noisy, t, conditioning, cameras).conditional
    changed = noisy.clone()
    changed[1] += 1
    moved = (prior.predict(changed, t, conditioning, cameras).conditional - before).flatten(1).norm(dim=1)
    assert (moved[:4] > 1e-4).all()
    assert moved[4:].max() < 1e-5


def test_every_view_depends_on_its_camera(load_tiny: Load) -> None:
    prior, noisy, t, conditioning = setup(load_tiny)
    front = prior.predict(noisy, t, conditioning, turntable(4, 16)).conditional
    turned = prior.predict(noisy, t, conditioning, turntable(4, 16, start=30.0)).conditional
    assert ((front - turned).flatten(1).norm(dim=1) > 1e-4).all()


def test_the_order_of_an_objects_views_does_not_matter(load_tiny: Load) -> None:
    prior, noisy, t, conditioning = setup(load_tiny)
    order = torch.tensor([2, 0, 3, 1])
    cameras = turntable(4, 16)
    shuffled = Cameras(cameras.c2w[order], cameras.intrinsics[order], 16, 16)
    expected = prior.predict(noisy, t, conditioning, cameras).conditional[order]
    found = prior.predict(noisy[order], t, conditioning, shuffled).conditional
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_labels_are_cameras_in_blenders_axes_at_unit_distance() -> None:
    labels = camera_labels(orbit(torch.tensor([0.0, 90.0]), 0.0, 16, radius=3.0)).view(2, 4, 4)
    # From the front (-Y in Blender) right is +X, up is +Z and backward is -Y; from +X, right is +Y.
    front = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, -1], [0, 1, 0, 0], [0, 0, 0, 1]])
    side = torch.tensor([[0.0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(labels, torch.stack([front, side]), atol=1e-6, rtol=0)


def original_names(unet: Any) -> dict[str, torch.Tensor]:
    """The weights of a U-Net of two levels with one layer each, under the names of the original code."""
    blocks = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "class_embedding.linear_1": "camera_embed.0",
        "class_embedding.linear_2": "camera_embed.2",
        "down_blocks.0.resnets.0": "input_blocks.1.0",
        "down_blocks.0.attentions.0": "input_blocks.1.1",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
        "down_blocks.1.resnets.0": "input_blocks.3.0",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "up_blocks.0.resnets.0": "output_blocks.0.0",
        "up_blocks.0.resnets.1": "output_blocks.1.0",
        "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
        "up_blocks.1.resnets.0": "output_blocks.2.0",
        "up_blocks.1.attentions.0": "output_blocks.2.1",
        "up_blocks.1.resnets.1": "output_blocks.3.0",
        "up_blocks.1.attentions.1": "output_blocks.3.1",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    layers = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    named = {}
    for name, value in unet.state_dict().items():
        block = next(key for key in blocks if name.startswith(f"{key}."))
        rest = name.removeprefix(f"{block}.")
        if "resnets" in block:
            layer = rest.rpartition(".")[0]
            rest = rest.replace(layer, layers[layer])
        named[f"{blocks[block]}.{rest}"] = value
    return named


def test_the_published_form_of_the_weights_is_read(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    config = {
        "_class_name": "MultiViewUNetModel", "image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32,
        "num_res_blocks": 1, "attention_resolutions": [1], "channel_mult": [1, 2], "num_head_channels": 8,
        "transformer_depth": 1, "context_dim": 16, "camera_dim": 16, "use_checkpoint": False,
    }  # fmt: skip
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**unet_settings(config))
    folder = shutil.copytree(model_folder("multiview"), tmp_path / "published")
    shutil.rmtree(folder / "unet")
    (folder / "unet").mkdir()
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    save_file(original_names(unet), folder / "unet" / "diffusion_pytorch_model.safetensors")
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["mv_unet", "MultiViewUNetModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    prior: Any = load_prior(str(folder))
    found, expected = prior.network.state_dict(), unet.state_dict()
    assert found.keys() == expected.keys()
    attentions = [prior.network.down_blocks[0].attentions[0], prior.network.mid_block.attentions[0]]
    assert [one.transformer_blocks[0].attn1.heads for one in attentions] == [4, 8]  # of 8 channels each
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    noisy, conditioning = torch.randn(4, 4, 8, 8), prior.encode_prompt(PromptSet("a chair"))
    halves = prior.predict(noisy, torch.full((4,), 0.5), conditioning, turntable(4, 16))
    assert halves.conditional.isfinite().all()
    with pytest.raises(Gen3DError, match="gen3d knows those of MVDream only"):
        unet_settings({**config, "ip_dim": 16})


def test_bad_batches_are_refused(load_tiny: Load, model_folder: Callable[[str], Path]) -> None:
    prior, noisy, t, conditioning = setup(load_tiny)
    with pytest.raises(UsageError, match="is a multi-view model: give it the camera of each view"):
        prior.predict(noisy, t, conditioning, None)
    with pytest.raises(UsageError, match="denoises 4 views at once; 3 is no multiple"):
        prior.predict(noisy[:3], t[:3], conditioning, turntable(3, 16))
    with pytest.raises(UsageError, match="3 cameras do not fit 4 images"):
        prior.predict(noisy, t, conditioning, turntable(3, 16))
    plain: Any = load_prior(str(model_folder("sd")))
    with pytest.raises(Gen3DError, match="The U-Net of 'plain' takes no cameras"):
        MultiViewPrior(plain.pipeline, Setup("plain"))
