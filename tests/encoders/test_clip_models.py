"""Loading image-text encoders: tiny random models of open_clip's classes, saved to folders and loaded for real."""

from __future__ import annotations

import ast
import builtins
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from gen3d.encoders import clip_files
from gen3d.encoders.clip_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ClipFiles,
    check_available,
    locate,
    missing,
    parameters,
    weights_on_hub,
)
from gen3d.encoders.clip_models import ClipModel, build_settings, load_clip_model
from gen3d.errors import Gen3DError, UsageError

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
COLORS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


def write_model(folder: Path, weights: str = WEIGHTS_FILE, custom_text: bool = False) -> Any:
    """A random model, saved as open_clip's hub repositories are; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**MODEL)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / weights)
    config = {"model_cfg": {**MODEL, "custom_text": custom_text}, "preprocess_cfg": COLORS}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    return model.eval()


@pytest.mark.parametrize("custom_text", [False, True])
def test_a_folder_gives_back_the_model_that_was_saved(tmp_path: Path, custom_text: bool) -> None:
    saved = write_model(tmp_path, custom_text=custom_text)
    torch.manual_seed(5)
    clip = load_clip_model(str(tmp_path))
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))  # loading draws no random numbers from the run
    assert (clip.image_size, clip.mean, clip.std) == (32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    images, texts = torch.randn(2, 3, 32, 32), ["a red chair", "a dog"]
    assert torch.allclose(clip.encode_image(images), saved.encode_image(images), atol=1e-6)
    assert torch.allclose(clip.encode_text(texts), saved.encode_text(open_clip.tokenize(texts)), atol=1e-6)
    assert not any(parameter.requires_grad for parameter in clip.model.parameters())


def test_half_precision_runs_and_agrees(tmp_path: Path) -> None:
    write_model(tmp_path)
    full, half = load_clip_model(str(tmp_path)), load_clip_model(str(tmp_path), dtype=torch.bfloat16)
    image = torch.randn(1, 3, 32, 32, requires_grad=True)
    assert all(one.dtype == torch.bfloat16 for one in half.model.parameters())
    features = half.encode_image(image)
    assert features.dtype == torch.float32  # as what they are compared with
    features.square().sum().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0
    assert torch.cosine_similarity(features, full.encode_image(image)).item() > 0.99
    assert torch.cosine_similarity(half.encode_text(["a dog"]).float(), full.encode_text(["a dog"])).item() > 0.99


def test_the_first_source_that_is_there_is_taken(tmp_path: Path) -> None:
    write_model(tmp_path)
    assert load_clip_model(["hf-hub:nobody/nothing", str(tmp_path)]).name == str(tmp_path)
    with pytest.raises(Gen3DError, match=r"None of the image-text encoders.*nobody/nothing.*nobody/else") as error:
        load_clip_model(["hf-hub:nobody/nothing", "hf-hub:nobody/else"])
    assert "hf download nobody/nothing" in str(error.value)
    with pytest.raises(UsageError, match="No image-text encoder was named"):
        load_clip_model([])


def test_a_repository_in_the_cache_is_loaded_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--someone--tiny"
    write_model(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert missing("hf-hub:someone/tiny") is None
    assert load_clip_model("hf-hub:someone/tiny").image_size == 32
    (repository / "snapshots" / ("a" * 40) / WEIGHTS_FILE).unlink()
    assert "cannot be found on this machine" in str(missing("hf-hub:someone/tiny"))


def test_absent_weights_are_named_with_size_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert missing("ViT-B-16:openai") == (
        "The weights 'openai' of ViT-B-16 (about 598 MB) cannot be found on this machine: run "
        "'hf download timm/vit_base_patch16_clip_224.openai open_clip_model.safetensors'."
    )
    # A model that only open_clip knows: its size is counted.
    assert "ViT-B-32-256 (about 605 MB)" in str(missing("ViT-B-32-256:datacomp_s34b_b86k"))
    # The text tower of SigLIP needs a tokenizer of its own besides.
    assert "timm/ViT-B-16-SigLIP open_clip_model.safetensors" in str(missing("ViT-B-16-SigLIP:webli"))


def test_the_answer_needs_no_import_of_open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def light(name: str, *rest: Any, **more: Any) -> Any:
        assert not name.startswith("open_clip"), "the pre-flight imports open_clip"
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", light)
    for source in ("ViT-L-14:openai", "hf-hub:nobody/nothing", "ViT-L-15:openai", "ViT-B-32:absent.safetensors"):
        assert missing(source)


def test_the_table_of_weights_is_open_clips_own(tmp_path: Path) -> None:
    from open_clip import pretrained

    expected = {
        name: {tag: one["hf_hub"] for tag, one in tags.items()} for name, tags in pretrained._PRETRAINED.items()
    }
    package = Path(open_clip.__file__).parent
    assert clip_files._read_table(ast.parse((package / "pretrained.py").read_text())) == expected
    (tmp_path / "pretrained.py").write_text("_PRETRAINED = load()")  # as another version might write it
    assert weights_on_hub(tmp_path) == expected


def test_the_size_of_plain_architectures_is_counted_exactly() -> None:
    counted = 0
    for path in (Path(open_clip.__file__).parent / "model_configs").glob("*.json"):
        config = json.loads(path.read_text())
        if parameters(config) is not None:
            with torch.device("meta"):
                model = open_clip.CLIP(**config)
            assert sum(p.numel() for p in model.parameters()) == parameters(config), path.stem
            counted += 1
    assert counted > 20


def test_what_is_available_is_what_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    write_model(tmp_path / "model")
    check_available(str(tmp_path / "model"))
    check_available(["hf-hub:nobody/nothing", "mini"])
    assert load_clip_model("mini").name == "gen3d-clip-mini"
    check_available("ViT-B-32:openai", download=True)
    check_available("hf-hub:some/model", download=True)
    with pytest.raises(UsageError, match="not of the form OWNER/NAME"):
        check_available("hf-hub:model", download=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Gen3DError, match="cannot be found on this machine"):
        check_available("ViT-B-32:openai", download=True)


def test_weights_that_are_not_finite_are_refused_by_tensor(tmp_path: Path) -> None:
    write_model(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    tensors["text_projection"][0, 0] = torch.nan
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(Gen3DError, match=rf"The tensor 'text_projection' of .* in '.*{WEIGHTS_FILE}' .* not finite"):
        load_clip_model(str(tmp_path))


def test_weights_say_what_they_ask_of_the_architecture() -> None:
    openai = build_settings(ClipFiles("ViT-B-32", Path("x"), "openai"))
    assert openai["force_quick_gelu"]
    assert openai["force_preprocess_cfg"]["mean"] == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert not build_settings(ClipFiles("ViT-B-32", Path("x"), "laion2b_s34b_b79k"))["force_quick_gelu"]
    siglip = build_settings(ClipFiles("ViT-B-16-SigLIP", Path("x"), "webli"))
    assert siglip["force_preprocess_cfg"]["mean"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ViT-B-32", "no folder; name it as ARCHITECTURE:TAG"),
        ("ViT-B-23:openai", "no architecture 'ViT-B-23'; did you mean 'ViT-B-32'"),
        ("ViT-B-32:model.pt", "is a pickle"),
        ("ViT-B-32:absent.safetensors", "'absent.safetensors' for ViT-B-32 do not exist"),
        ("ViT-B-32:laion2b_s34b", "no weights 'laion2b_s34b' of ViT-B-32 on the hub; the nearest it knows are laion2b"),
        ("hf-hub:nothing", "not of the form OWNER/NAME"),
        ("mine.safetensors", "is a single file, which does not say its architecture"),
    ],
)
def test_wrong_sources_are_refused_with_a_sentence(source: str, message: str) -> None:
    with pytest.raises(Gen3DError) as error:
        load_clip_model(source)
    assert message in str(error.value)
    assert missing(source) == str(error.value)


def test_a_file_goes_with_its_architecture(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    assert locate(f"ViT-B-32:{path}") == ClipFiles("ViT-B-32", path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "which is cut off" in str(missing(f"ViT-B-32:{path}"))


def test_pickles_and_damaged_folders_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    weights = tmp_path / WEIGHTS_FILE
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(Gen3DError, match=r"cannot be loaded from .*is cut off"):
        load_clip_model(str(tmp_path))
    save_file({"a": torch.zeros(3)}, weights)
    with pytest.raises(Gen3DError, match=r"cannot be loaded from .*of another architecture"):
        load_clip_model(str(tmp_path))
    weights.rename(tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(Gen3DError, match="only pickles"):
        load_clip_model(str(tmp_path))
    # A pickle beside safetensors of any name is never the one that is read.
    (tmp_path / "own.safetensors").write_bytes(content)
    assert load_clip_model(str(tmp_path)).image_size == 32
    (tmp_path / "more.safetensors").write_bytes(content)
    with pytest.raises(Gen3DError, match=r"holds 2 .safetensors files"):
        load_clip_model(str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text("{}")
    with pytest.raises(Gen3DError, match=r"no readable open_clip_config.json"):
        load_clip_model(str(tmp_path))


def test_a_model_may_be_handed_in_as_it_is() -> None:
    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)
    clip = ClipModel.of("tiny", model, open_clip.tokenize, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
    assert (clip.name, clip.image_size, clip.mean) == ("tiny", 32, (0.5, 0.5, 0.5))
    assert not model.training
    texts = [f"number {n}" for n in range(100)]
    together = clip.encode_text(texts)
    assert together.shape == (100, 16)
    assert torch.allclose(together[90:], clip.encode_text(texts[90:]), atol=1e-5)
