"""The offline check: complete models pass, and whatever is missing is named with its size and the command."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gen3d.errors import Gen3DError, UsageError
from gen3d.guidance.models.files import check_available, preflight
from gen3d.guidance.models.load import LoadOptions, load_prior
from gen3d.runtime.hub import hub_cache

WHOLE = (2).to_bytes(8, "little") + b"{}"
"""A safetensors file without tensors."""
XL = "stabilityai/stable-diffusion-xl-base-1.0"


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub home"))


def write_model(folder: Path, weights: str = "model.safetensors") -> Path:
    """The files of an IF model, without tensors."""
    parts = {"scheduler": "DDPMScheduler", "tokenizer": "T5Tokenizer", "text_encoder": "T5EncoderModel"}
    index = {"_class_name": "IFPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [None, None]}
    for part, kind in parts.items():
        index[part] = ["diffusers" if part == "scheduler" else "transformers", kind]
    for part in ("scheduler", "tokenizer", "text_encoder", "unet"):
        (folder / part).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    for part in ("text_encoder", "unet"):
        (folder / part / "config.json").write_text("{}")
        (folder / part / weights).write_bytes(WHOLE)
    return folder


def snapshot(repository: str, revision: str = "main") -> Path:
    root = hub_cache() / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text("abc")
    return root / "snapshots" / "abc"


def test_a_complete_folder_passes(tmp_path: Path) -> None:
    found = preflight(str(write_model(tmp_path / "if")))
    assert (found.class_name, found.folder) == ("IFPipeline", tmp_path / "if")
    assert found.variants == dict.fromkeys(["scheduler", "tokenizer", "text_encoder", "unet"])


def test_the_first_complete_candidate_is_taken(tmp_path: Path) -> None:
    broken, whole = write_model(tmp_path / "broken"), write_model(tmp_path / "whole")
    (broken / "unet" / "model.safetensors").unlink()
    assert preflight(["gone/model", str(broken), str(whole)]).folder == whole


def test_the_hubs_cache_is_found_by_its_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_model(snapshot("owner/model"))
    assert tmp_path / "hub home" / "hub" in folder.parents
    assert preflight("owner/model").folder == folder
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(Gen3DError, match="'owner/model' is not on this machine"):
        preflight("owner/model")
    assert write_model(snapshot("owner/model")).is_relative_to(tmp_path / "elsewhere")
    assert preflight("owner/model").name == "owner/model"


def test_a_missing_repository_is_named_with_size_and_command() -> None:
    with pytest.raises(Gen3DError) as caught:
        preflight(XL)
    text = str(caught.value)
    assert f"'{XL}' (about 6.9 GB) is not on this machine: run 'hf download {XL} --include" in text
    assert '--include "*/*.fp16*.safetensors"' in text
    assert "HF_TOKEN" not in text


def test_a_licence_and_offline_mode_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Gen3DError, match=r"HF_HUB_OFFLINE is set, so where .* and setting HF_TOKEN"):
        preflight("DeepFloyd/IF-I-XL-v1.0")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(Gen3DError) as caught:
        preflight("DeepFloyd/IF-I-XL-v1.0")
    assert "HF_TOKEN" not in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_every_pattern_of_the_command_has_its_own_option() -> None:
    # 'hf download' would take a second pattern after one --include for the name of a file.
    with pytest.raises(Gen3DError) as caught:
        preflight("owner/model")
    command = shlex.split(str(caught.value).partition("run '")[2].partition("'")[0])
    assert command[:3] == ["hf", "download", "owner/model"]
    options = dict(zip(command[4::2], command[3::2], strict=True))
    assert options["*/*.safetensors"] == "--include"
    assert options["*.fp16*"] == "--exclude"
    assert set(options.values()) == {"--include", "--exclude"}


@pytest.mark.parametrize(
    ("part", "remove", "said"),
    [
        ("unet", "model.safetensors", r"unet \(no weights in .safetensors\)"),
        ("unet", "config.json", r"unet \(no config.json\)"),
        ("scheduler", "scheduler_config.json", r"scheduler \(no scheduler_config.json\)"),
        ("tokenizer", "tokenizer.json", r"tokenizer \(no vocabulary\)"),
    ],
)
def test_each_missing_file_is_named(part: str, remove: str, said: str, tmp_path: Path) -> None:
    folder = write_model(snapshot("DeepFloyd/IF-I-M-v1.0"))
    (folder / part / remove).unlink()
    with pytest.raises(Gen3DError, match=rf"incomplete, it lacks {said} \(about 10.3 GB\): run 'hf download"):
        preflight("DeepFloyd/IF-I-M-v1.0")


def test_a_missing_component_and_pickles_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if", weights="pytorch_model.bin")
    with pytest.raises(Gen3DError, match=r"text_encoder \(only pickles, which could run code\), unet \(only pickles"):
        preflight(str(folder))
    (folder / "scheduler" / "scheduler_config.json").unlink()
    (folder / "scheduler").rmdir()
    with pytest.raises(Gen3DError, match=r"scheduler \(the folder is missing\)"):
        preflight(str(folder))


def test_sharded_weights_and_variants(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if", weights="diffusion_pytorch_model.fp16.safetensors")
    assert preflight(str(folder)).variants["unet"] == "fp16"
    for file in (folder / "unet").glob("*.safetensors"):
        file.unlink()
    shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    weight_map = {f"layer{i}": shard for i, shard in enumerate(shards)}
    (folder / "unet" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for shard in shards[:2]:
        (folder / "unet" / shard).write_bytes(WHOLE)
    with pytest.raises(Gen3DError, match=r"unet \(1 of 3 files, model-00003-of-00003.safetensors first\)"):
        preflight(str(folder))
    (folder / "unet" / shards[2]).write_bytes(WHOLE)
    assert preflight(str(folder)).variants["unet"] is None


def test_other_classes_and_names_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if")
    (folder / "model_index.json").write_text('{"_class_name": "AudioPipeline"}')
    with pytest.raises(Gen3DError, match="is a 'AudioPipeline', which gen3d has no adapter for; it knows Stable"):
        preflight(str(folder))
    (folder / "model_index.json").write_text("{")
    with pytest.raises(Gen3DError, match=r"no readable model_index.json: save it in the layout of diffusers\.$"):
        preflight(str(folder))
    for other in ("[]", '{"_class_name": []}', '{"_class_name": {"a": 1}}', "[" * 100_000):
        (folder / "model_index.json").write_text(other)
        with pytest.raises(Gen3DError, match=r"no readable model_index.json"):
            preflight(str(folder))
    with pytest.raises(UsageError, match=r"'a/b/c' is no folder, and no repository of the form OWNER/NAME"):
        preflight("a/b/c")
    with pytest.raises(UsageError, match="No diffusion model was named"):
        preflight([])
    with pytest.raises(Gen3DError, match=r"^None of the diffusion models is on this machine\. .*'a/b'.*'c/d'"):
        preflight(["a/b", "c/d"])


def test_all_tiny_models_pass(model_folder: Callable[[str], Path]) -> None:
    for name in ("sd", "sdxl", "sd3", "flux", "if", "multiview", "zero123"):
        assert preflight(str(model_folder(name))).folder == model_folder(name)


def write_tensors(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in names}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 and so on, a pickle", "is no safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4f\nsize 3438167536\n", "is a pointer of Git LFS"),
        ((50).to_bytes(8, "little") + b"{}", "is cut off within its header"),
        ((2).to_bytes(8, "little") + b"[]", "has a damaged header"),
        ((9).to_bytes(8, "little") + b'{"a": 17}', "has a damaged header"),
    ],
)
def test_weights_that_cannot_be_whole_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if")
    (folder / "unet" / "model.safetensors").write_bytes(content)
    with pytest.raises(Gen3DError, match=rf"incomplete, it lacks unet \(model.safetensors {said}"):
        preflight(str(folder))
    (folder / "unet" / "model.fp16.safetensors").write_bytes(WHOLE)
    assert preflight(str(folder)).variants["unet"] == "fp16", "the other variant is whole"


def test_weights_that_were_cut_off_are_named_with_their_size(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if")
    path = write_tensors(folder / "unet" / "model.safetensors", "a")
    assert preflight(str(folder)).folder == folder
    path.write_bytes(path.read_bytes()[:-3])
    size = path.stat().st_size
    with pytest.raises(Gen3DError, match=rf"\(model.safetensors is cut off: {size} of {size + 3} bytes are there\)"):
        preflight(str(folder))


def test_shards_outside_of_the_folder_are_not_looked_for(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if")
    (folder / "unet" / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"a": "../../outside.safetensors"}}
    (folder / "unet" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Gen3DError, match=r"unet \(1 of 1 files, outside.safetensors first\)"):
        preflight(str(folder))


def test_shards_whose_names_are_none_for_a_file_are_missing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if")
    (folder / "unet" / "model.safetensors").unlink()
    for name in ("x" * 5000, "a\0b"):
        (folder / "unet" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(Gen3DError, match=r"unet \(1 of 1 files"):
            preflight(str(folder))


SINGLE = {
    "StableDiffusionPipeline": ("model.diffusion_model.out.2.bias", "cond_stage_model.x", "first_stage_model.x"),
    "StableDiffusionXLPipeline": ("model.diffusion_model.x", "conditioner.embedders.1.x", "first_stage_model.x"),
    "StableDiffusion3Pipeline": ("model.diffusion_model.joint_blocks.0.x", "first_stage_model.x", "text_encoders.x"),
}


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_single_file_is_told_how_to_become_a_folder(kind: str, whole_folder: bool, tmp_path: Path) -> None:
    import diffusers

    path = write_tensors(tmp_path / "it's mine" / "dream v2.safetensors", *SINGLE[kind])
    with pytest.raises(UsageError) as caught:
        preflight(str(path.parent if whole_folder else path))
    text = str(caught.value)
    assert text.startswith(f"The diffusion model '{path}' is a single file, and gen3d reads folders")
    assert text.endswith("and name the folder 'dream v2' instead.")
    command = text.partition("run once '")[2].removesuffix("', and name the folder 'dream v2' instead.")
    python, option, code = shlex.split(command)
    assert (python, option) == ("python", "-c")
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert [ast.literal_eval(call.args[0]) for call in calls] == ["dream v2", str(path)]
    assert f"import {kind} as P" in code
    assert callable(getattr(diffusers, kind).from_single_file)


def test_single_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    lora = write_tensors(tmp_path / "lora.safetensors", "lora_unet.down.weight")
    with pytest.raises(UsageError, match="is a single file, and none that diffusers could make a whole model of"):
        preflight(str(lora))
    lora.write_bytes(b"")
    with pytest.raises(UsageError, match=r"lora.safetensors' cannot be read: it is empty\."):
        preflight(str(lora))
    with pytest.raises(UsageError, match=r"gone.safetensors' does not exist: check the path\."):
        preflight(str(tmp_path / "gone.safetensors"))
    (tmp_path / "model.ckpt").write_bytes(b"PK")
    with pytest.raises(UsageError, match="is a pickle, which could run code and is never opened"):
        preflight(str(tmp_path / "model.ckpt"))


def test_what_can_be_fetched_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "if")
    check_available(str(folder))
    check_available([str(tmp_path / "gone"), "owner/model"], download=True)
    for models, download in (
        ("owner/model", False),
        (str(tmp_path / "gone"), True),
        (["a/b/c", "d/e/f"], True),
        ([], True),
    ):
        with pytest.raises(Gen3DError) as said:
            check_available(models, download)
        with pytest.raises(Gen3DError, match=f"^{re.escape(str(said.value))}$"):
            load_prior(models, LoadOptions(download=download))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Gen3DError, match="HF_HUB_OFFLINE is set"):
        check_available("owner/model", download=True)


def test_the_check_imports_nothing_heavy(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "if")
    code = (
        "import sys; "
        "from gen3d.guidance.models.files import check_available; "
        "from gen3d.encoders.clip_files import check_available as check_clip; "
        f"check_available(['owner/gone', {str(folder)!r}]); check_clip('mini'); "
        "import gen3d.encoders.clip_files as files; said = files.missing('ViT-L-14-336:openai'); "
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'huggingface_hub', 'open_clip'} & set(sys.modules); "
        "print(sorted(heavy), bool(said))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["[]", "True"]
