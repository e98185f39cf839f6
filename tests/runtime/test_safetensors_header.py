"""The header of a safetensors file, read without the library, against the library itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gen3d.errors import Gen3DError
from gen3d.runtime.safetensors_header import problem, tensor_names


def test_whole_files_have_no_problem_and_the_names_that_the_library_finds(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for tensors in (
        {},
        {"a": torch.zeros(0)},
        {"a": torch.zeros(3), "b/c": torch.ones(2, 5, dtype=torch.float16), "é": torch.tensor(True)},
    ):
        save_file(tensors, path, {"config": "{}"})
        assert problem(path) == ""
        with safe_open(path, framework="pt") as file:
            assert sorted(tensor_names(path)) == sorted(file.keys())


def test_a_file_that_was_cut_anywhere_is_told(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.arange(7), "b": torch.ones(3)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert problem(path), length
        with pytest.raises(Gen3DError, match=r"w.safetensors' cannot be read: it (is|has) "):
            tensor_names(path)
    path.write_bytes(whole[:-1])
    assert problem(path) == f"is cut off: {len(whole) - 1} of {len(whole)} bytes are there"


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 100,
        (200).to_bytes(8, "little") + b"[" * 200,
        (4).to_bytes(8, "little") + b"null",
        (14).to_bytes(8, "little") + b'{"a": {"b":1}}',
        (28).to_bytes(8, "little") + b'{"a": {"data_offsets": "x"}}',
        (2).to_bytes(8, "little") + b"\xff\xfe",
    ],
)
def test_headers_that_make_no_sense_are_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    assert problem(tmp_path / "w.safetensors") in ("has a damaged header", "is no safetensors file")


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    assert problem(tmp_path / "gone") == "cannot be opened (No such file or directory)"
    assert problem(tmp_path) == "cannot be opened (Is a directory)"
