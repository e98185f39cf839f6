"""Nested states go through a file bit by bit, and files that cannot be trusted are refused with a sentence."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from gen3d.errors import Gen3DError
from gen3d.runtime.tensors import (
    STATE_KEY,
    is_finite,
    load_state,
    load_weights,
    read_metadata,
    save_state,
    save_tensors,
    shapes_of,
)

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.complex32, torch.float8_e4m3fn, torch.float8_e5m2, torch.float4_e2m1fn_x2,
]  # fmt: skip


def bits(value: Tensor) -> list[int]:
    return value.contiguous().reshape(-1).view(torch.uint8).tolist()


def assert_same(found: Any, expected: Any) -> None:
    """Asserts that two states are equal in kind, order of keys, dtype, shape, layout and every bit."""
    if isinstance(expected, Tensor):
        assert type(found) is Tensor
        assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
        assert bits(found) == bits(expected)
    elif isinstance(expected, dict):
        assert type(found) is dict
        assert list(found) == list(expected)
        assert [type(key) for key in found] == [type(key) for key in expected]
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert type(found) is type(expected)
        assert repr(found) == repr(expected)  # of NaN and -0.0, too


def through_file(state: Any, folder: Path) -> Any:
    save_state(folder / "made" / "state.safetensors", state)
    return load_state(folder / "made" / "state.safetensors")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (3,), (2, 3)], ids=str)
def test_tensors_of_every_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    size = dtype.itemsize
    limit = 2 if dtype == torch.bool else 256  # a bool of another byte is none
    raw = torch.randint(limit, (math.prod(shape) * size,), generator=torch.Generator().manual_seed(0)).byte()
    assert_same(through_file(raw.view(dtype).view(shape), tmp_path), raw.view(dtype).view(shape))


def test_scalars_texts_and_containers(tmp_path: Path) -> None:
    state = {
        "none": None, "yes": True, "no": False, "zero": 0, "big": 2**128 + 1, "negative": -(2**63),
        "floats": [0.0, -0.0, 0.1, 1e-320, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
        "texts": ["", "é 椅子 🪑", "\x00\n\"'\\/", "\ud800 alone"], "empty": [[], {}, (), [[]], {"": {}}],
        "pair": (0.9, 0.999), 7: "int", "7": "str", -1: {0: [torch.zeros(2)]}, "true": 1, "a/b": torch.ones(1),
        "a": {"b": torch.zeros(1)}, "__metadata__": torch.ones(2), "\ud800": torch.ones(3), "": torch.ones(4),
    }  # fmt: skip
    assert_same(through_file(state, tmp_path), state)
    for alone in (None, 3, "text", [], {}, torch.tensor(2.5)):
        assert_same(through_file(alone, tmp_path), alone)


def test_layouts_in_memory_are_kept_and_views_are_their_values(tmp_path: Path) -> None:
    weights = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    state = [weights, torch.randn(3, 5).t(), torch.randn(2, 3, 4).permute(2, 0, 1)]
    assert_same(through_file(state, tmp_path), state)
    views = [torch.arange(6)[::2], torch.ones(1, 2).expand(3, 2), torch.randn(2, dtype=torch.complex64).conj()]
    for found, value in zip(through_file(views, tmp_path), views, strict=True):
        assert torch.equal(found, value)


def test_an_optimiser_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def step(layer: nn.Module, adam: torch.optim.Optimizer) -> None:
        adam.zero_grad()
        layer(torch.ones(2, 3)).square().sum().backward()
        adam.step()

    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    adam = torch.optim.Adam(layer.parameters(), 1e-2)
    step(layer, adam)
    generator = torch.Generator().manual_seed(3)
    generator.manual_seed(5)
    torch.rand(7, generator=generator)
    state = {"model": layer.state_dict(), "adam": adam.state_dict(), "generator": generator.get_state()}
    assert isinstance(state["model"], OrderedDict)
    loaded = through_file(state, tmp_path)
    other = nn.Linear(3, 2)
    other.load_state_dict(loaded["model"])
    resumed = torch.optim.Adam(other.parameters(), 5.0)  # the rate is one of the things that are restored
    resumed.load_state_dict(loaded["adam"])
    again = torch.Generator()
    again.set_state(loaded["generator"])
    step(layer, adam)
    step(other, resumed)
    for expected, found in zip(layer.parameters(), other.parameters(), strict=True):
        assert torch.equal(expected, found)
    assert torch.equal(torch.rand(5, generator=generator), torch.rand(5, generator=again))


def test_parameters_and_shared_memory_come_back_as_tensors_of_their_own(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(3))
    first, second = through_file([parameter, parameter], tmp_path)
    first.zero_()
    assert not first.requires_grad
    assert torch.equal(second, torch.ones(3))


def test_the_file_can_go_while_its_tensors_are_used(tmp_path: Path) -> None:
    found = through_file({"a": torch.arange(5)}, tmp_path)["a"]
    (tmp_path / "made" / "state.safetensors").write_bytes(b"")
    assert found.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": [1, {2}]}, "builtins.set at 'a/1'"),
        ({"a": {"b": b"bytes"}}, "builtins.bytes at 'a/b'"),
        ({"array": np.zeros(2)}, "numpy.ndarray at 'array'"),
        ({"shape": torch.Size([2])}, "torch.Size at 'shape'"),
        ({"generator": torch.Generator()}, r"Generator at 'generator'"),
        ({"a": {(1, 2): 3}}, r"the key \(1, 2\) at 'a': use str or int"),
        ({True: 1}, "the key True at ''"),
        ({"a": torch.eye(2).to_sparse()}, "the tensor at 'a', which is sparse"),
        ({"a": torch.empty(2, device="meta")}, "the tensor at 'a', which is sparse, quantised or without values"),
        ({"a": 10**5000}, "the number at 'a': it has too many digits"),
    ],
)
def test_what_it_does_not_know_is_refused_before_anything_is_written(state: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(Gen3DError, match=said) as caught:
        save_state(tmp_path / "state.safetensors", state)
    assert str(caught.value).endswith(".")
    assert not list(tmp_path.iterdir())


def test_loops_and_endless_lists_are_refused(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Gen3DError, match="more than 100 deep"):
        save_state(tmp_path / "state.safetensors", loop)
    with pytest.raises(Gen3DError, match="put long lists of numbers into tensors"):
        save_state(tmp_path / "state.safetensors", ["x" * 50_000_000])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, {"step": 1})
    with pytest.raises(Gen3DError):
        save_state(path, {"step": object()})
    assert load_state(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    (tmp_path / "file").write_text("in the way of a folder")
    with pytest.raises(Gen3DError, match=r"The file '.*' cannot be written \(.*\): check the folder's permissions"):
        save_state(tmp_path / "file" / "state.safetensors", {})


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permissions of this kind")
def test_files_have_the_permissions_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_tensors(tmp_path / "weights.safetensors", {"a": torch.ones(2)})
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "weights.safetensors")]
    assert modes[0] == modes[1]


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    # A limit on the size of files stands for a disk without space: the write fails in the middle all the same.
    code = (
        "import resource, signal, sys, torch; from pathlib import Path; from gen3d.errors import Gen3DError; "
        "from gen3d.runtime.tensors import save_state; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    save_state(Path(sys.argv[1]), {'a': torch.zeros(100_000)})\n"
        "except Gen3DError as error:\n    print(error)"
    )
    path = tmp_path / "state.safetensors"
    answer = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert re.search(r"cannot be written \(.*File too large.*\): .* space that is free\.$", answer.stdout.strip())
    assert not list(tmp_path.iterdir())


def test_missing_cut_off_and_foreign_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Gen3DError, match=r"The file '.*state.safetensors' does not exist: check the path\."):
        load_state(path)
    with pytest.raises(Gen3DError, match="is no file"):
        load_state(tmp_path)
    save_state(path, {"a": torch.arange(1000)})
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            Gen3DError, match=r"state.safetensors' cannot be read: it is damaged, cut off or no safetensors file \("
        ):
            load_state(path)
    save_tensors(path, {"a": torch.zeros(1)}, {"other": "text"})
    with pytest.raises(Gen3DError, match="is no state that this version of gen3d saved"):
        load_state(path)


@pytest.mark.parametrize(
    "nesting",
    [
        "", "{", '{"dict":[[[],1]]}', '{"dict":[[true,1]]}', '{"dict":3}', '{"other":1}', "{}", '{"list":[],"dict":[]}',
        '{"tensor":{"name":"gone"}}', '{"tensor":"a"}', '{"tensor":{"name":"a","order":[0,0,0]}}',
        '{"tensor":{"name":"a","order":[1,0]}}', '{"tensor":{"name":"a","dtype":"nothing","shape":[2]}}',
        '{"tensor":{"name":"a","dtype":"float32","shape":[7]}}', '{"float":"much"}', "[" * 100_000,
    ],
)  # fmt: skip
def test_nesting_that_cannot_be_followed_is_refused(nesting: str, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"a": torch.zeros(8, dtype=torch.uint8)}, {STATE_KEY: nesting})
    with pytest.raises(Gen3DError, match=r"'.*state.safetensors' (is damaged|cannot be read)"):
        load_state(path)


def test_what_is_written_is_ordinary_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, {"model": {"weight": torch.ones(2)}, "step": 3})
    with safe_open(path, framework="pt") as file:
        assert list(file.keys()) == ["model/weight"]
        assert json.loads(file.metadata()[STATE_KEY])["dict"][1] == ["step", 3]
    assert set(read_metadata(path)) == {STATE_KEY}


def test_good_weights_are_read(tmp_path: Path) -> None:
    layer = nn.BatchNorm1d(3)
    tensors = {name: value.half() if value.is_floating_point() else value for name, value in layer.state_dict().items()}
    save_tensors(tmp_path / "w.safetensors", tensors)
    found = load_weights(tmp_path / "w.safetensors", shapes_of(layer.state_dict()))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert found.keys() == load_weights(tmp_path / "w.safetensors").keys()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_refused_by_file_and_tensor(
    bad: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    broken = torch.zeros(2, 3)
    broken[1, 2] = bad
    save_tensors(tmp_path / "w.safetensors", {"fine": torch.ones(2), "layer.bias": broken.to(dtype)})
    with pytest.raises(Gen3DError, match=r"The tensor 'layer.bias' in '.*w.safetensors' holds .* not finite"):
        load_weights(tmp_path / "w.safetensors")
    assert is_finite(torch.zeros(0))
    assert not is_finite(torch.tensor([1, complex(0, bad)]))


def test_weights_of_another_model_are_refused_by_file_and_tensor(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path, {"a": torch.ones(2, 3), "b": torch.ones(4)})
    with pytest.raises(
        Gen3DError, match=r"w.safetensors' does not fit .*: the tensor 'a' has the shape \[2, 3\] instead of \[3, 2\]"
    ):
        load_weights(path, {"a": (3, 2), "b": (4,)})
    with pytest.raises(Gen3DError, match=r"w.safetensors' does not fit .*: it lacks the tensor 'c'"):
        load_weights(path, {"a": (2, 3), "b": (4,), "c": ()})
    with pytest.raises(Gen3DError, match=r"w.safetensors' does not fit .*, which has no tensor 'b'"):
        load_weights(path, {"a": (2, 3)})


def test_weights_that_are_missing_or_cut_off_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(Gen3DError, match=r"w.safetensors' does not exist"):
        load_weights(path)
    save_tensors(path, {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(
        Gen3DError, match=r"w.safetensors' cannot be read: it is damaged, cut off or no safetensors file"
    ):
        load_weights(path, {"a": (100,)})
    torch.save({"a": torch.ones(100)}, path)
    with pytest.raises(
        Gen3DError, match=r"w.safetensors' cannot be read: it is damaged, cut off or no safetensors file"
    ):
        load_weights(path)
