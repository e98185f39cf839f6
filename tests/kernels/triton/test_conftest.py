"""The process that Triton's interpreter runs in finds what it is there to find."""

from __future__ import annotations

import os

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.kernels.triton import checks

triton = pytest.importorskip("triton")
tl = triton.language
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit
def copy(source, target, count, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(target + i, tl.load(source + i, mask=i < count, other=7.0), mask=i < count)


@triton.jit
def count_up(target, index):
    tl.atomic_add(target + index, 1.0)


@pytest.mark.triton
def test_kernels_run() -> None:
    assert checks.INTERPRETED is (DEVICE == "cpu")
    source, target = torch.rand(10, device=DEVICE), torch.zeros(10, device=DEVICE)
    copy[(1,)](source, target, 9, BLOCK=16)
    assert torch.equal(source[:9], target[:9])
    assert target[9] == 0


@pytest.mark.triton
def test_an_access_out_of_bounds_is_found() -> None:
    if DEVICE == "cuda":
        return  # compute-sanitizer's work
    source, target = torch.rand(16), torch.zeros(16)
    for call in (
        lambda: copy[(1,)](source[:9], target, 10, BLOCK=16),
        lambda: copy[(1,)](source, target[:9], 10, BLOCK=16),
        lambda: count_up[(1,)](target[:9], 9),
        lambda: count_up[(1,)](target[1:9], -1),
    ):
        with pytest.raises(Exception, match="outside the kernel's arguments"):
            call()


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter is everywhere")
def test_without_the_interpreter_the_cpu_is_refused() -> None:
    with pytest.raises(UsageError, match=r"take tensors on CUDA, not on cpu; use the splat backend 'auto'"):
        checks.check_device("splat", torch.zeros(3))
