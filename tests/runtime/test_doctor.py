from __future__ import annotations

import importlib.util
import io
import json
import os
from pathlib import Path

import pytest
import torch

from gen3d.runtime import doctor


@pytest.fixture(scope="module")
def checks() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.collect()}


def test_this_machine_is_described(checks: dict[str, doctor.Check]) -> None:
    assert checks["PyTorch"].state == "ok"
    assert {
        "device",
        "threads",
        "native kernels",
        "ffmpeg",
        "weights",
        "text encoder",
        "gsplat",
        "nerfacc",
        "kaolin",
    } <= set(checks)
    assert {"open_clip_torch", "diffusers", "model hub", "disk", "memory"} <= set(checks)
    assert all(check.detail for check in checks.values())


def test_missing_pieces_say_what_they_would_give(checks: dict[str, doctor.Check]) -> None:
    for check in checks.values():
        assert check.state == "ok" or check.hint, check


def test_table_shows_every_check(checks: dict[str, doctor.Check]) -> None:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=200).print(doctor.table(list(checks.values())))
    for name in checks:
        assert name in stream.getvalue()


def test_machine_without_anything_is_described() -> None:
    probe = {"torch_error": "ImportError: libcudart", "kernels_error": "no compiler"}
    torch = doctor.check_torch(probe)
    assert (torch.state, torch.detail) == ("broken", "ImportError: libcudart")
    assert doctor.check_device({}).detail == "cpu"
    kernels = doctor.check_kernels(probe)
    assert (kernels.state, kernels.detail) == ("missing", "no compiler")
    assert "install g++" in kernels.hint
    assert doctor.check_memory(None).state == "ok"
    assert doctor.check_memory(1_000_000).state == "missing"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU")
def test_every_operation_says_what_computes_it_and_why_nothing_better_does(checks: dict[str, doctor.Check]) -> None:
    from gen3d.kernels.dispatch import OPERATIONS

    for operation, backends in OPERATIONS.items():
        check = checks[f"{operation} kernels"]
        assert check.state == "ok"
        assert check.detail in ("cpu: native, no CUDA device", "cpu: torch, no CUDA device")
        libraries = [backend.name for backend in backends if backend.name not in ("native", "torch")]
        reasons = dict(reason.split(": ") for reason in check.hint.split("; ") if reason)
        reasons.pop("native", None)
        assert list(reasons) == libraries
        for name, reason in reasons.items():
            assert reason == ("no CUDA device" if importlib.util.find_spec(name) else "not installed")


def test_backends_of_each_device_are_listed_with_the_reasons_of_those_passed_over() -> None:
    lines = [
        {"operation": "splat", "device": "cpu", "missing": [],
         "troubles": {"native": "not compiled", "gsplat": "takes CUDA tensors only", "torch": None}},
        {"operation": "splat", "device": "cuda:0", "missing": [],
         "troubles": {"native": "takes CPU tensors only", "gsplat": "probe failed: RuntimeError: no kernel image",
                      "triton": None}},
        {"operation": "splat", "device": "cuda:1", "troubles": None},
    ]  # fmt: skip
    said = "\n".join(["a library says hello", "[1]", '{"torch": "2.11", "threads": 4}', *map(json.dumps, lines)])
    probe = doctor._read_answers(said)
    assert (probe["torch"], probe["threads"]) == ("2.11", 4)
    (check,) = doctor.check_operations(probe)
    assert (check.name, check.state) == ("splat kernels", "broken")
    assert check.detail == "cpu: torch, cuda:0: triton, cuda:1: no answer"
    assert check.hint.startswith(
        "native: not compiled; gsplat: probe failed: RuntimeError: no kernel image on cuda:0; "
        "trying the libraries on cuda:1 ended Python"
    )


def test_what_was_answered_before_a_library_ended_python_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
import os
print('{"torch": "2.11", "threads": 4}', flush=True)
print('{"operation": "splat", "device": "cpu", "troubles": {"torch": null}, "missing": []}', flush=True)
print('{"operation": "march", "device": "cpu", "troubles": null}', flush=True)
os.abort()
"""
    monkeypatch.setattr(doctor, "_PROBE", script)
    probe = doctor.probe_machine()
    assert doctor.check_torch(probe).state == "ok"
    assert {check.name: check.state for check in doctor.check_operations(probe)} == {
        "splat kernels": "ok",
        "march kernels": "broken",
    }


def test_what_was_answered_before_the_time_is_over_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT", 1)
    script = """
import time
print('{"torch": "2.11", "threads": 4}', flush=True)
time.sleep(60)
"""
    monkeypatch.setattr(doctor, "_PROBE", script)
    probe = doctor.probe_machine()
    assert doctor.check_torch(probe).state == "ok"
    assert "no answer within 1 s" in probe["kernels_slow"]


def test_gpu_is_named() -> None:
    assert doctor.check_device({"cuda": "A100"}).detail == "cuda: A100"


def test_probe_survives_a_python_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    probe = doctor.probe_machine()
    assert "torch" not in probe
    assert doctor.check_torch(probe).state == "broken"


def test_weights_are_listed_or_required(tmp_path: Path) -> None:
    missing = doctor.check_weights(tmp_path / "nowhere")
    assert missing.state == "missing"
    assert not doctor.is_ready([missing])
    (tmp_path / "prior.safetensors").write_bytes(b"x" * 1_500_000)
    found = doctor.check_weights(tmp_path)
    assert found.detail == "prior (1.5 MB)"
    assert doctor.is_ready([found, doctor.Check("gsplat", "missing", "not found")])


def test_waiting_policy_is_looked_at() -> None:
    assert doctor.check_threads({}, {"OMP_WAIT_POLICY": "passive"}).state == "ok"
    assert doctor.check_threads({}, {"OMP_WAIT_POLICY": "active"}).state == "missing"


def test_absent_package_is_missing_and_present_one_is_not() -> None:
    absent = doctor.OptionalPackage("no-such-package-of-gen3d", "no_such_package_of_gen3d", "nothing")
    assert doctor.check_package(absent, cuda=False).hint == "would give nothing"
    present = doctor.OptionalPackage("PyYAML", "yaml", "configuration files", needs_cuda=True)
    assert doctor.check_package(present, cuda=False).state == "missing"
    assert doctor.check_package(present, cuda=True).state == "ok"


def test_tokens_are_never_shown() -> None:
    check = doctor.check_hub({"HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "1"})
    assert "HF_HUB_OFFLINE=1" in check.detail
    assert "HF_TOKEN set" in check.detail
    assert "hf_secret" not in check.detail + check.hint


def test_disk_is_looked_at_above_a_folder_that_is_not_there(tmp_path: Path) -> None:
    check = doctor.check_disk(tmp_path / "a" / "b")
    assert check.required
    assert "GB free" in check.detail


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="needs /proc")
def test_memory_is_read() -> None:
    available = doctor.available_memory()
    assert available is not None
    assert available > 1_000_000


def test_versions_name_what_decides_a_result() -> None:
    assert {"python", "platform", "torch", "numpy"} <= set(doctor.versions())
    assert doctor.versions()["threads"] == str(torch.get_num_threads())
