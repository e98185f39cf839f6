"""Damaged files: each is read, or refused in a sentence, and nothing else happens."""

from __future__ import annotations

import io
import json
import random
import re
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from gen3d.assets.glb import glb_bytes
from gen3d.assets.ply import SplatCloud, write_splats
from gen3d.assets.read import read_asset
from gen3d.errors import Gen3DError, UsageError

MEMORY = 12 << 30
"""Address space of the long test, of which PyTorch's libraries alone take some."""


def a_glb(folder: Path) -> bytes:
    """A box with a texture, by trimesh's writer and by ours in turn."""
    box = trimesh.creation.box()
    stream = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, format="PNG")
    picture = Image.open(io.BytesIO(stream.getvalue()))
    box.visual = trimesh.visual.TextureVisuals(uv=box.vertices[:, :2] + 0.5, image=picture)
    (folder / "valid.glb").write_bytes(trimesh.Scene(box).export(file_type="glb"))
    mesh = read_asset(folder / "valid.glb")
    return glb_bytes(mesh, "box")  # type: ignore[arg-type]


def an_obj(folder: Path) -> bytes:
    lines = ["mtllib a.mtl", *(f"v {x} {y} {z} 1 0 0.5" for x in (0, 1) for y in (0, 1) for z in (0, 1))]
    lines += ["vt 0 0", "vt 1 0", "vn 0 0 1", "usemtl one", "f 1/1/1 2/2/1 4/1/1 3/2/1", "f -1 -2 -3 \\", " -4"]
    return "\n".join([*lines, "s off", "g x", "l 1 2", "f 1//1 2//1 5//1 # end", ""]).encode()


def a_ply(folder: Path) -> bytes:
    generator = torch.Generator().manual_seed(0)
    sizes = {"means": (20, 3), "quats": (20, 4), "log_scales": (20, 3), "opacity_logits": (20,), "sh_dc": (20, 3)}
    columns = {name: torch.randn(*shape, generator=generator) for name, shape in sizes.items()}
    cloud = SplatCloud(**columns, sh_rest=torch.randn(20, 3, 3, generator=generator), lit=True)
    write_splats(folder / "valid.ply", cloud)
    return (folder / "valid.ply").read_bytes()


VALID: dict[str, Callable[[Path], bytes]] = {".glb": a_glb, ".obj": an_obj, ".ply": a_ply}


def head_of(content: bytes, suffix: str) -> tuple[int, int]:
    """Where the text of the file begins and ends."""
    if suffix == ".glb":
        return 20, 20 + struct.unpack_from("<I", content, 12)[0]
    return 0, content.index(b"end_header") if suffix == ".ply" else len(content)


def mutated(content: bytes, suffix: str, rng: random.Random) -> bytes:
    """The content with bits turned, cut short, with another number in its text, or with a piece twice or gone."""
    kind = rng.randrange(5)
    changed = bytearray(content)
    start, end = head_of(content, suffix)
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(changed)) :]
    elif kind == 2:
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    elif kind == 3:
        number = rng.choice(list(re.finditer(rb"-?\d+(\.\d+)?", content[start:end])))
        value = rng.choice([b"-1", b"0", b"2147483648", b"99999999999", b"18446744073709551616", b"1e400", b"nan"])
        changed[start + number.start() : start + number.end()] = value
    else:
        at, size = rng.randrange(len(changed)), rng.randint(1, 40)
        changed[at : at + size] = changed[at : at + size] * rng.choice([0, 2, 50])
    if suffix == ".glb" and kind >= 3:
        changed = bytearray(with_lengths(bytes(changed), end + len(changed) - len(content)))
    return bytes(changed)


def with_lengths(content: bytes, end: int) -> bytes:
    """A GLB whose JSON ends at `end`, with lengths that are right, so that the reader gets past them."""
    text, rest = content[20:end], content[end:]
    text += b" " * (-len(text) % 4)
    return struct.pack("<5I", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def outcomes(suffix: str, count: int, seed: int, folder: Path) -> dict[str, int]:
    """How many of `count` damaged files were read and refused. Raises AssertionError for any other end."""
    rng = random.Random(seed)
    content = VALID[suffix](folder)
    found = {"read": 0, "refused": 0}
    path = folder / f"a{suffix}"
    for number in range(count):
        path.write_bytes(mutated(content, suffix, rng))
        try:
            read_asset(path)
            found["read"] += 1
        except (Gen3DError, UsageError) as error:
            if not str(error).endswith("."):
                raise AssertionError(f"{suffix} {number} of seed {seed} ends in no sentence: {error}") from error
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{suffix} {number} of seed {seed}: {type(error).__name__}: {error}") from error
    return found


@pytest.mark.parametrize("suffix", list(VALID))
def test_what_is_not_damaged_is_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(VALID[suffix](tmp_path))
    read_asset(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", list(VALID))
def test_damaged_files_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    found = outcomes(suffix, 60, 1, tmp_path)
    assert found["refused"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("suffix", list(VALID))
def test_many_damaged_files_within_bounds_of_memory(tmp_path: Path, suffix: str) -> None:
    run = subprocess.run(
        [sys.executable, __file__, suffix, str(tmp_path)], capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert sum(json.loads(run.stdout.splitlines()[-1]).values()) == 500


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stdout.write(json.dumps(outcomes(sys.argv[1], 500, 2, Path(sys.argv[2]))) + "\n")
