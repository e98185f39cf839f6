"""A run's device is settled once, with a sentence where it cannot be had."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import gen3d
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.device import cuda_trouble, resolve

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_the_cpu_is_always_there() -> None:
    assert resolve("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "mps", "cuda:", "cuda:-1", "cuda:1234", "CPU", "cuda:0 "])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"The device is '{name}', but must be 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        resolve(name)


@NO_GPU
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_an_error() -> None:
    assert resolve("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "cuda:3"):
        with pytest.raises(Gen3DError, match=f"'{name}' was asked for, but this .* or use --device cpu"):
            resolve(name)


@NO_GPU
def test_a_build_without_cuda_is_told_from_a_machine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in (cuda_trouble(0) or "")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "no usable CUDA GPU" in (cuda_trouble(0) or "")


def test_devices_have_their_number(pretended_cuda: None) -> None:
    assert [str(resolve(name)) for name in ("auto", "cuda", "cuda:0", "cuda:1", "cpu")] == [
        "cuda:0", "cuda:0", "cuda:0", "cuda:1", "cpu",
    ]  # fmt: skip


def test_a_gpu_that_is_not_there_is_an_error(pretended_cuda: None) -> None:
    with pytest.raises(Gen3DError, match="'cuda:2' was asked for, but this machine has cuda:0 to cuda:1: use one that"):
        resolve("cuda:2")


def test_a_gpu_that_cannot_compute_is_not_taken(
    pretended_cuda: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PyTorch's driver answers, but the first call fails: out of memory, or an architecture it was not built for."""
    ones = torch.ones

    def failing(*args: object, device: torch.device | None = None, **kwargs: object) -> torch.Tensor:
        if device is not None and device.type == "cuda":
            raise RuntimeError("CUDA error: no kernel image is available.\nFor debugging ...")
        return ones(*args, **kwargs)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch, "ones", failing)
    with pytest.raises(Gen3DError, match=r"cannot compute on that GPU \(CUDA error: no kernel image is available\):"):
        resolve("cuda:0")
    with caplog.at_level(logging.WARNING):
        assert resolve("auto") == torch.device("cpu")
    assert "The CPU computes this run: PyTorch cannot compute on that GPU" in caplog.text


def test_only_the_start_of_a_run_asks_for_cuda() -> None:
    """Everything else computes where its tensors are, or where it is told to."""
    package = Path(gen3d.__file__).parent
    asking = {
        path.relative_to(package).as_posix()
        for path in package.glob("**/*.py")
        if "cuda.is_available" in path.read_text("utf-8")
    }
    assert asking == {"runtime/device.py", "runtime/doctor.py"}
