from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from gen3d.retrieval import store as store_module
from gen3d.retrieval.store import EmbeddingStore
from gen3d.runtime.tensors import save_tensors


def rows(count: int, dimension: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dimension, generator=generator), dim=-1)


def filled(folder: Path, count: int, part: int) -> tuple[EmbeddingStore, dict[str, torch.Tensor]]:
    store, held = EmbeddingStore(folder, 8), {f"key {i:04}": row for i, row in enumerate(rows(count))}
    keys = list(held)
    for start in range(0, count, part):
        some = keys[start : start + part]
        store.add(some, torch.stack([held[key] for key in some]))
    return store, held


def test_the_nearest_are_those_of_a_plain_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "ROWS", 7)  # blocks that end inside of parts
    store, held = filled(tmp_path, 60, part=25)
    wanted = set(list(held)[::2])
    queries = rows(3, seed=1)
    for query, found in zip(queries, store.nearest(queries, 5, wanted), strict=True):
        scores = {
            key: float(sum(a * b for a, b in zip(query.tolist(), held[key].tolist(), strict=True))) for key in wanted
        }
        expected = sorted(scores, key=lambda key: -scores[key])[:5]
        assert [key for key, _ in found] == expected
        assert [score for _, score in found] == pytest.approx([scores[key] for key in expected], abs=1e-6)
    assert store.nearest(queries[:1], 100, wanted)[0][-1][1] < 1
    assert len(store.nearest(queries[:1], 100, wanted)[0]) == len(wanted)


def test_small_parts_are_merged_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MOST_SMALL_PARTS", 3)
    store, held = filled(tmp_path, 40, part=4)
    assert len(list(tmp_path.iterdir())) <= 4
    assert store.keys() == set(held)
    read = {key: row for keys, block in store.blocks() for key, row in zip(keys, block, strict=True)}
    assert all(torch.equal(read[key], row) for key, row in held.items())


def test_a_full_part_is_not_rewritten(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MOST_SMALL_PARTS", 1)
    monkeypatch.setattr(store_module, "ROWS", 10)
    store, _ = filled(tmp_path, 10, part=10)
    [full] = tmp_path.iterdir()
    written = full.stat().st_mtime_ns
    for i in range(4):
        store.add([f"small {i}"], rows(1))
    assert full.stat().st_mtime_ns == written
    assert len(store.keys()) == 14


def test_two_writers_and_a_reader_at_once_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MOST_SMALL_PARTS", 2)
    values, errors, sizes = rows(60), [], []

    def write(first: int) -> None:
        try:
            store = EmbeddingStore(tmp_path, 8)
            for start in range(first, 60, 6):
                # Both writers know a third of the keys: what they add of these is the same.
                some = range(start, min(start + 4, 60))
                store.add([f"key {i}" for i in some], values[list(some)])
        except Exception as error:
            errors.append(error)

    def read() -> None:
        try:
            while any(writer.is_alive() for writer in writers):
                sizes.append(len(EmbeddingStore(tmp_path, 8).keys()))
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 2)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in (*writers, reader):
        thread.join()
    assert errors == []
    assert sizes == sorted(sizes)  # what was once there stays there
    assert EmbeddingStore(tmp_path, 8).keys() == {f"key {i}" for i in range(60)}


def test_what_is_no_part_of_ours_is_left_out_and_said(tmp_path, caplog):
    store, _ = filled(tmp_path, 3, part=3)
    (tmp_path / "part-cut.safetensors").write_bytes(b"\x08\0\0\0")
    metadata = {"keys": '["x"]'}
    save_tensors(tmp_path / "part-nan.safetensors", {"embeddings": torch.full((1, 8), torch.nan)}, metadata)
    save_tensors(tmp_path / "part-wide.safetensors", {"embeddings": torch.ones(1, 9)}, metadata)
    save_tensors(tmp_path / "part-bare.safetensors", {"embeddings": torch.ones(1, 8)})
    assert store.keys() == {"key 0000", "key 0001", "key 0002"}
    assert sum("is left out and made again" in message for message in caplog.messages) == 4
