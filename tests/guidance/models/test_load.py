"""The loader's options, and that it neither unpickles nor runs code that lies beside the weights."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gen3d.errors import Gen3DError, UsageError
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.models.load import LoadOptions, load_prior

Folder = Callable[[str], Path]

KINDS = {
    "sd": "StableDiffusionPrior",
    "sdxl": "SdxlPrior",
    "sd3": "Sd3Prior",
    "flux": "FluxPrior",
    "if": "DeepFloydPrior",
    "multiview": "MultiViewPrior",
    "zero123": "ImageConditionedPrior",
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_the_class_in_the_index_chooses_the_adapter(name: str, kind: str, load_tiny: Callable[..., Any]) -> None:
    prior = load_tiny(name)
    assert type(prior).__name__ == kind
    assert prior.channels == 3
    assert prior.views == (4 if name == "multiview" else 1)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_models_are_frozen_and_of_the_precision_asked_for(dtype: str, model_folder: Folder) -> None:
    prior: Any = load_prior(str(model_folder("sd")), LoadOptions(dtype=dtype))
    wanted = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    for model in (prior.pipeline.unet, prior.pipeline.vae, prior.pipeline.text_encoder):
        assert model.dtype == wanted
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
    noisy = torch.randn(1, 4, 8, 8)
    halves = prior.predict(noisy, torch.tensor([0.5]), prior.encode_prompt(PromptSet("a chair")))
    assert halves.conditional.dtype == torch.float32
    assert halves.conditional.isfinite().all()


def test_the_vae_of_sdxl_stays_in_fp32_in_half_precision(model_folder: Folder) -> None:
    prior: Any = load_prior(str(model_folder("sdxl")), LoadOptions(dtype="fp16"))
    assert (prior.pipeline.unet.dtype, prior.pipeline.vae.dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize("name", ["sd", "sdxl", "if", "multiview"])
def test_attention_slicing_changes_the_processors_and_not_the_answer(
    name: str, model_folder: Folder, load_tiny: Callable[..., Any]
) -> None:
    from gen3d.geometry.cameras import turntable

    plain, sliced = load_tiny(name), load_prior(str(model_folder(name)), LoadOptions(attention_slicing=True))
    processors = [getattr(one, "inner", one) for one in sliced.network.attn_processors.values()]  # type: ignore[attr-defined]
    assert all(type(one).__name__.startswith("Sliced") for one in processors)
    noisy = torch.randn(4, 3 if name == "if" else 4, *(2 * [16 if name == "if" else 8]))
    t, conditioning, cameras = torch.full((4,), 0.4), plain.encode_prompt(PromptSet("a chair")), turntable(4, 16)
    expected, found = (prior.predict(noisy, t, conditioning, cameras).conditional for prior in (plain, sliced))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_options_that_do_nothing_say_so(model_folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="gen3d"):
        load_prior(str(model_folder("flux")), LoadOptions(resolution=16, attention_slicing=True, cpu_offload=True))
    assert "Attention slicing does nothing for this model: only U-Nets know it." in caplog.messages
    assert "CPU offload needs a CUDA device; the model stays on 'cpu'." in caplog.messages


def test_options_that_fit_no_model_do_nothing_and_say_so(
    model_folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="gen3d"):
        load_prior(str(model_folder("if")), LoadOptions(vae_slicing=True))
    assert "Slicing and tiling of the VAE do nothing for this model: it diffuses pixels." in caplog.messages


def test_the_vae_works_in_slices_and_tiles_to_the_same_answer(
    model_folder: Folder, load_tiny: Callable[..., Any]
) -> None:
    plain = load_tiny("sd")
    sliced: Any = load_prior(str(model_folder("sd")), LoadOptions(vae_slicing=True))
    tiled: Any = load_prior(str(model_folder("sd")), LoadOptions(vae_tiling=True, resolution=32))
    assert sliced.codec.vae.use_slicing
    images = torch.rand(3, 16, 16, 4, generator=torch.Generator().manual_seed(0))
    batches: list[int] = []
    hook = sliced.codec.vae.encoder.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    found = sliced.encode_image(images, torch.ones(3))
    hook.remove()
    assert batches == [1, 1, 1]
    torch.testing.assert_close(found, plain.encode_image(images, torch.ones(3)), atol=1e-5, rtol=1e-5)
    sizes: list[tuple[int, ...]] = []
    tiled.codec.vae.encoder.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-2:]))
    large = torch.rand(1, 32, 32, 4, requires_grad=True)
    tiled.encode_image(large, torch.ones(3)).square().sum().backward()
    assert max(sizes) == (16, 16)
    assert large.grad is not None
    assert large.grad.isfinite().all()
    assert large.grad.abs().sum() > 0


def test_other_precisions_and_offloads_are_refused() -> None:
    with pytest.raises(UsageError, match="CPU offload is one of model, sequential, true or false, not 'disk'"):
        LoadOptions(cpu_offload="disk")
    assert [LoadOptions(cpu_offload=one).offload for one in (False, True, "model", "sequential")] == [
        None, "model", "model", "sequential",
    ]  # fmt: skip


def test_a_device_that_is_none_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match="There is no device 'gpu': use cpu, cuda or cuda:0"):
        load_prior("nowhere", LoadOptions(device="gpu"))


def test_offload_without_accelerate_is_a_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from gen3d.guidance.models import placement

    real = placement.importlib.util.find_spec
    monkeypatch.setattr(
        placement.importlib.util, "find_spec", lambda name: None if name == "accelerate" else real(name)
    )
    with pytest.raises(Gen3DError, match=r"^CPU offload needs the package accelerate: run 'pip install accelerate'\.$"):
        load_prior("nowhere", LoadOptions(device="cuda:0", cpu_offload=True))


def test_other_precisions_are_refused() -> None:
    with pytest.raises(UsageError, match="fp32, fp16, bf16, not 'float16'; did you mean 'fp16'"):
        LoadOptions(dtype="float16")


def test_sd3_runs_without_its_largest_encoder(
    model_folder: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(model_folder("sd3"), tmp_path / "sd3")
    shutil.rmtree(folder / "text_encoder_3")
    shutil.rmtree(folder / "tokenizer_3")
    with caplog.at_level(logging.WARNING, logger="gen3d"):
        prior: Any = load_prior(str(folder))
    assert "is used without its text_encoder_3, which is not there." in caplog.text
    tokens = prior.encode_prompt(PromptSet("a chair")).positive.tokens
    assert not tokens[:, 24:].any()
    assert tokens[:, :24].any()


def test_weights_of_a_variant_are_found(model_folder: Folder, tmp_path: Path, load_tiny: Callable[..., Any]) -> None:
    folder = shutil.copytree(model_folder("sd"), tmp_path / "sd")
    for part in ("unet", "vae", "text_encoder"):
        for file in (folder / part).glob("*.safetensors"):
            file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    prior: Any = load_prior(str(folder))
    expected = load_tiny("sd").network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in prior.network.state_dict().items())


def test_code_beside_the_weights_is_not_run(model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("sd"), tmp_path / "sd")
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["mine", "Network"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet" / "mine.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(Gen3DError, match=r"is a 'mine.Network', whose code would have to be run: only classes of"):
        load_prior(str(folder))


def test_a_pickle_that_calls_itself_safetensors_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("sd"), tmp_path / "sd")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({"conv_in.weight": torch.zeros(1)}, file)
    with pytest.raises(Gen3DError, match=r"lacks unet \(diffusion_pytorch_model.safetensors is no safetensors file\)"):
        load_prior(str(folder))


def test_weights_of_another_shape_are_refused(model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("sd"), tmp_path / "sd")
    (file,) = (folder / "unet").glob("*.safetensors")
    save_file({**load_file(file), "conv_in.weight": torch.zeros(8, 3, 3, 3)}, file, {"format": "pt"})
    with pytest.raises(Gen3DError, match=r"cannot be loaded from '.*' \(.*\): the files may be damaged"):
        load_prior(str(folder))


@pytest.mark.parametrize("name", ["sd", "zero123", "if"])
def test_weights_that_are_not_finite_are_refused_by_part_and_tensor(
    name: str, model_folder: Folder, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder(name), tmp_path / name)
    for part in (path for path in folder.iterdir() if (path / "config.json").is_file() or "projection" in path.name):
        (file,) = part.glob("*.safetensors")
        whole = file.read_bytes()
        tensors = load_file(file)
        broken = sorted(tensors)[-1]
        tensors[broken] = torch.full_like(tensors[broken], torch.nan)
        save_file(tensors, file, {"format": "pt"})
        with pytest.raises(Gen3DError, match=rf"The tensor '.*' .*{part.name}.* holds numbers that are not finite"):
            load_prior(str(folder))
        file.write_bytes(whole)
    assert load_prior(str(folder)).resolution == 16


def test_weights_beyond_the_range_of_half_precision_are_refused(model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("sd"), tmp_path / "sd")
    (file,) = (folder / "unet").glob("*.safetensors")
    tensors = load_file(file)
    tensors["conv_in.weight"] *= 1e6
    save_file(tensors, file, {"format": "pt"})
    assert load_prior(str(folder), LoadOptions(dtype="bf16")).resolution == 16
    with pytest.raises(Gen3DError, match=r"'conv_in.weight' of the unet of .* not finite .* as float16: take another"):
        load_prior(str(folder), LoadOptions(dtype="fp16"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_the_libraries_would_make_up_are_refused(part: str, model_folder: Folder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("sd"), tmp_path / "sd")
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    gone = sorted(tensors)[0]
    del tensors[gone]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(Gen3DError, match=rf"The {part} of .* lacks the tensor '.*{gone.split('.')[-1]}'"):
        load_prior(str(folder))


def test_download_is_tried_only_when_asked_for_and_not_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_folder: Folder
) -> None:
    import huggingface_hub

    asked: list[str] = []

    def fetch(repository: str, cache_dir: Path, **_: Any) -> None:
        asked.append(repository)
        root = cache_dir / f"models--{repository.replace('/', '--')}"
        (root / "snapshots").mkdir(parents=True)
        shutil.copytree(model_folder("sd"), root / "snapshots" / "abc")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for options in (LoadOptions(), LoadOptions(download=True)):
        with pytest.raises(Gen3DError, match="'owner/model' is not on this machine"):
            load_prior("owner/model", options)
    assert asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert load_prior("owner/model", LoadOptions(download=True)).resolution == 16
    assert load_prior("owner/model", LoadOptions(download=True)).resolution == 16
    assert asked == ["owner/model"], "what is there is not fetched again"
