"""Damaged files of every kind that gen3d reads: what they are made from, how they are damaged, and who reads them.

`OMP_WAIT_POLICY=passive python -m tests.fuzzing KIND COUNT SEED FOLDER` reads damaged files within limits, and prints
what became of them. Without that policy, which `gen3d` sets for itself, threads that spin take most of the time.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import struct
import sys
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image
from safetensors.torch import save_file

from gen3d.assets.glb import glb_bytes
from gen3d.assets.ply import SplatCloud, write_splats
from gen3d.assets.read import read_asset, read_splats
from gen3d.assets.splat_glb import splat_glb_bytes
from gen3d.batch.file import load_batch
from gen3d.batch.manifest import Manifest, Spec
from gen3d.config.load import load_stages
from gen3d.corpus.sh3f import FurnitureLibrary, find_libraries
from gen3d.corpus.store import Corpus
from gen3d.encoders.evaluator import load_gallery
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.errors import Gen3DError
from gen3d.guidance.reference import load_reference
from gen3d.language.prompts import load_prompt_list
from gen3d.runtime.tensors import load_state, load_weights, save_state
from tests import fuzzing_game as game
from tests import fuzzing_models as models

MAX_SECONDS = 10.0
MAX_BYTES = 2 << 30
"""Memory that the process may hold at most, its libraries included."""


@dataclass(frozen=True)
class Kind:
    """make: a valid file's content, in a folder where more may be put beside it. read: what is tried, with the file's
    path. name: of the file. wrap: puts damaged content into the container that the file is.
    """

    name: str
    make: Callable[[Path], bytes]
    read: Callable[[Path], Any]
    wrap: Callable[[bytes], bytes] = bytes
    is_read: bool = True
    """Whether the valid file is read: points alone are recognised and refused."""


def picture_bytes(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, format=kind)
    return stream.getvalue()


def a_glb(folder: Path) -> bytes:
    """A box with a texture, by trimesh's writer and by ours in turn."""
    box = trimesh.creation.box()
    picture = Image.open(io.BytesIO(picture_bytes()))
    box.visual = trimesh.visual.TextureVisuals(uv=box.vertices[:, :2] + 0.5, image=picture)
    (folder / "valid.glb").write_bytes(trimesh.Scene(box).export(file_type="glb"))
    mesh = read_asset(folder / "valid.glb")
    return glb_bytes(mesh, "box")  # type: ignore[arg-type]


def an_obj(folder: Path) -> bytes:
    lines = ["mtllib a.mtl", *(f"v {x} {y} {z} 1 0 0.5" for x in (0, 1) for y in (0, 1) for z in (0, 1))]
    lines += ["vt 0 0", "vt 1 0", "vn 0 0 1", "usemtl one", "f 1/1/1 2/2/1 4/1/1 3/2/1", "f -1 -2 -3 \\", " -4"]
    return "\n".join([*lines, "s off", "g x", "l 1 2", "f 1//1 2//1 5//1 # end", ""]).encode()


def an_mtl(folder: Path) -> bytes:
    (folder / "a.obj").write_bytes(an_obj(folder))
    (folder / "a.png").write_bytes(picture_bytes())
    return b"newmtl one\nKa 0 0 0\nKd 0.8 0.2 0.1\nNs 10\nd 0.5\nTr 0.5\nPr 0.3\nPm 0\nmap_Kd -s 1 1 1 -o 0 0 0 a.png\n"


def a_picture_beside(folder: Path) -> bytes:
    (folder / "a.mtl").write_bytes(an_mtl(folder))
    return picture_bytes()


def splats_of(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    sizes = {"means": (20, 3), "quats": (20, 4), "log_scales": (20, 3), "opacity_logits": (20,), "sh_dc": (20, 3)}
    columns = {name: torch.randn(*shape, generator=generator) for name, shape in sizes.items()}
    cloud = SplatCloud(**columns, sh_rest=torch.randn(20, 3, 3, generator=generator))
    write_splats(folder / "valid.ply", cloud)
    return folder / "valid.ply"


def a_ply(folder: Path) -> bytes:
    return splats_of(folder).read_bytes()


def a_splat_glb(folder: Path) -> bytes:
    return splat_glb_bytes(read_splats(splats_of(folder)), "a")


def a_mesh_ply(folder: Path) -> bytes:
    return bytes(trimesh.creation.box().export(file_type="ply", encoding="ascii"))


def a_point_ply(folder: Path) -> bytes:
    names = "".join(f"property float {name}\n" for name in "xyz") + "".join(
        f"property uchar {name}\n" for name in ("red", "green", "blue")
    )
    rows = b"".join(struct.pack("<3f3B", *(number / 20, 0.5, 1), 9, 200, 3) for number in range(20))
    return f"ply\nformat binary_little_endian 1.0\nelement vertex 20\n{names}end_header\n".encode() + rows


def a_packed_ply(folder: Path) -> bytes:
    bounds = [f"{end}_{name}" for end in ("min", "max") for name in ("x", "y", "z", "scale_x", "scale_y", "scale_z")]
    words = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
    header = ["ply", "format binary_little_endian 1.0", "element chunk 1", *(f"property float {b}" for b in bounds)]
    header += ["element vertex 20", *(f"property uint {word}" for word in words), "end_header", ""]
    chunk = struct.pack("<12f", *[-1.0] * 6, *[1.0] * 6)
    rng = np.random.default_rng(0)
    return "\n".join(header).encode() + chunk + rng.integers(0, 2**32, 80, np.uint32).tobytes()


def some_parts(folder: Path) -> bytes:
    part = {
        "center": [0, 0.1, 0], "rotation": [1, 0, 0, 0], "half_size": [0.5, 0.2, 0.3],
        "exponents": [0.5, 1.0], "taper": 0.1, "color": [0.2, 0.5, 0.7],
    }  # fmt: skip
    return json.dumps([part, part]).encode()


def a_config(folder: Path) -> bytes:
    return (
        b"recipe: mini\nseed: 3\nrepresentation: splats\noptimization: {steps: 30, resolution: 64}\n"
        b"splats:\n  count: 500\n  prune_opacity: 0.1\nout: outputs\nclip: {weight: 1, model: mini}\n"
    )


def a_batch(folder: Path) -> bytes:
    return (
        b"prompts:\n- a chair\n- 'a red vase'\nconfig: default\npreset: draft\noverrides: {seed: 3, splats.count: 9}\n"
    )


def some_tokens(folder: Path) -> bytes:
    WordTokenizer.build(["a red chair", "a red vase"], 16).save(folder / "valid.json")
    return (folder / "valid.json").read_bytes()


def weights(folder: Path) -> bytes:
    path = folder / "valid.safetensors"
    save_file({"a": torch.ones(4, 3), "b": torch.ones(5, dtype=torch.float16)}, path, {"config": "{}"})
    return path.read_bytes()


def a_state(folder: Path) -> bytes:
    path = folder / "valid.safetensors"
    save_state(
        path, {"version": 1, "a": [torch.ones(3), (1.5, float("inf"), None)], 3: {"b": torch.eye(2).T, "c": "x"}}
    )
    return path.read_bytes()


def a_library(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("PluginFurnitureCatalog.properties", a_catalogue(folder))
        archive.writestr("a/a.obj", a_model(folder))
        archive.writestr("a/a.mtl", "newmtl one\nKd 1 0 0\nmap_Kd a.png\n")
        archive.writestr("a/a.png", picture_bytes())
    return stream.getvalue()


def a_model(folder: Path) -> bytes:
    return an_obj(folder).replace(b"# end", b"").replace(b"\\\n", b"")  # as trimesh takes it


def a_catalogue(folder: Path) -> bytes:
    lines = ["license=CC0", "id#1=x", "name#1=Chair \\u00e9", "model#1=/a/a.obj", "creator#1=me"]
    return "\n".join([*lines, "modelRotation#1=0 0 1 0 1 0 -1 0 0", ""]).encode()


def library_with(member: str) -> Callable[[bytes], bytes]:
    """Puts content in the place of a member of the library, so that it is reached past the checks of the zip file."""

    def wrap(content: bytes) -> bytes:
        stream, whole = io.BytesIO(), a_library(Path())
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in old.namelist():
                archive.writestr(name, content if name == member else old.read(name))
        return stream.getvalue()

    return wrap


def a_tar(folder: Path) -> bytes:
    stream, content = io.BytesIO(), a_library(folder)
    with tarfile.open(fileobj=stream, mode="w") as archive:
        header = tarfile.TarInfo("usr/share/../x/a.sh3f")
        header.size = len(content)
        archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


def packaged(content: bytes, name: str = "data.tar") -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return b"!<arch>\n" + header + content + b"\n" * (len(content) & 1)


def a_package(folder: Path) -> bytes:
    return packaged(b"2.0\n", "debian-binary") + packaged(a_tar(folder))[8:]


def a_manifest(folder: Path) -> bytes:
    """The file of a batch of two jobs, of which one was begun."""
    path = folder / "valid.sqlite"
    path.unlink(missing_ok=True)
    with Manifest(path) as manifest:
        plan = manifest.plan([Spec("recipe: mini", "a chair", 1), Spec("recipe: mini", "a vase", 2)], 1)
        manifest.claim(plan)
    return path.read_bytes()


def read_manifest(path: Path) -> None:
    for left in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        left.unlink(missing_ok=True)
    with Manifest(path) as manifest:
        plan = manifest.plan([Spec("recipe: mini", "a chair", 1), Spec("recipe: mini", "a vase", 2)], 1)
        job = manifest.claim(plan)
        if job is not None:
            manifest.finish(job, 1.0, 1.0, "done")
        list(manifest.jobs())


def records(folder: Path) -> bytes:
    record = {
        "id": "a", "name": "a", "nouns": ["a"], "category": "x", "captions": ["a"], "source": "s", "license": "l",
        "creator": "c", "held_out": False, "evaluate": True, "area": 1.0, "colors": [["red", 0.5]], "materials": [],
    }  # fmt: skip
    return json.dumps([record]).encode()


def read_library(path: Path) -> None:
    with FurnitureLibrary(path) as library:
        for item in library.items():
            library.fingerprint(item)
            library.load(item)
            library.material_names(item)


def read_package(path: Path) -> None:
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    for library in find_libraries(path, scratch):
        read_library(library)


def read_records(path: Path) -> None:
    Corpus(path.parent)


def read_stages(path: Path) -> None:
    load_stages(str(path), [])


def read_weights(path: Path) -> None:
    load_weights(path)
    load_weights(path, {"a": (4, 3), "b": (5,)})


def read_beside(path: Path) -> None:
    read_asset(path.with_name("a.obj"))


def reference(path: Path) -> None:
    load_reference(str(path))


KINDS: dict[str, Kind] = {
    "glb": Kind("a.glb", a_glb, read_asset),
    "glb-splats": Kind("a.glb", a_splat_glb, read_asset),
    "obj": Kind("a.obj", an_obj, read_asset),
    "mtl": Kind("a.mtl", an_mtl, read_beside),
    "mtl-picture": Kind("a.png", a_picture_beside, read_beside),
    "ply-splats": Kind("a.ply", a_ply, read_asset),
    "ply-mesh": Kind("a.ply", a_mesh_ply, read_asset),
    "ply-points": Kind("a.ply", a_point_ply, read_asset, is_read=False),
    "ply-packed": Kind("a.ply", a_packed_ply, read_asset),
    "parts": Kind("a.json", some_parts, read_asset),
    "png": Kind("a.png", lambda folder: picture_bytes(), reference),
    "jpeg": Kind("a.jpg", lambda folder: picture_bytes("JPEG"), reference),
    "webp": Kind("a.webp", lambda folder: picture_bytes("WEBP"), reference),
    "config": Kind("a.yaml", a_config, read_stages),
    "batch": Kind("a.yaml", a_batch, lambda path: load_batch(path).jobs()),
    "prompts-txt": Kind("a.txt", lambda folder: "a chair\n# no\nein Stuhl é\n椅子\n".encode(), load_prompt_list),
    "prompts-json": Kind("a.json", lambda folder: b'{"a": ["a chair", {"prompt": "a vase"}]}', load_prompt_list),
    "prompts-jsonl": Kind("a.jsonl", lambda folder: b'"a chair"\n{"prompt": "a vase"}\n', load_prompt_list),
    "prompts-csv": Kind("a.csv", lambda folder: b'id,prompt\n1,"a chair, red"\n2,a vase\n', load_prompt_list),
    "weights": Kind("a.safetensors", weights, read_weights),
    "state": Kind("a.safetensors", a_state, load_state),
    "tokens": Kind("a.json", some_tokens, WordTokenizer.load),
    "clip": Kind("clip.safetensors", models.a_clip, models.read_clip),
    "clip-folder": Kind("open_clip_config.json", models.a_clip_folder, models.read_clip_folder),
    "text-encoder": Kind("config.json", models.a_text_encoder, models.read_text_encoder),
    "view-prior": Kind("prior_view.safetensors", models.a_view_prior, models.read_view_prior),
    "prior-objects": Kind("prior_training.safetensors", models.the_objects_of_a_prior, models.read_prior),
    "prior-concepts": Kind("prior_concepts.json", models.the_concepts_of_a_prior, models.read_prior),
    "diffusion": Kind("model_index.json", models.a_diffusion_model, models.read_diffusion_model),
    "diffusion-shards": Kind("index.json", models.the_shards_of_a_model, models.read_shards),
    "gallery": Kind("a.json", lambda folder: b'["chair", "vase", "red box"]', load_gallery),
    "sh3f": Kind("a.sh3f", a_library, read_library),
    "sh3f-catalogue": Kind(
        "a.sh3f", a_catalogue, read_library, library_with("PluginFurnitureCatalog.properties")
    ),
    "sh3f-model": Kind("a.sh3f", a_model, read_library, library_with("a/a.obj")),
    "sh3f-picture": Kind("a.sh3f", lambda folder: picture_bytes(), read_library, library_with("a/a.png")),
    "deb": Kind("a.deb", a_package, read_package),
    "deb-tar": Kind("a.deb", a_tar, read_package, packaged),
    "game": Kind("public.zip", game.a_game, game.read_game),
    "game-mesh": Kind("public.zip", game.content_of(game.MESH), game.read_game, game.game_with(game.MESH)),
    "game-texture": Kind("public.zip", game.content_of(game.TEXTURE), game.read_game, game.game_with(game.TEXTURE)),
    "game-actor": Kind("public.zip", game.content_of(game.ACTOR), game.read_game, game.game_with(game.ACTOR)),
    "game-template": Kind("public.zip", game.content_of(game.TEMPLATE), game.read_game, game.game_with(game.TEMPLATE)),
    "manifest": Kind("jobs.sqlite", a_manifest, read_manifest),
    "corpus": Kind("objects.json", records, read_records),
}  # fmt: skip


def head_of(content: bytes, name: str) -> tuple[int, int]:
    """Where the text of the file begins and ends."""
    if name.endswith(".glb"):
        return 20, 20 + struct.unpack_from("<I", content, 12)[0]
    if name.endswith(".safetensors"):
        return 8, 8 + struct.unpack_from("<Q", content)[0]
    return 0, content.index(b"end_header") if name.endswith(".ply") else len(content)


NUMBERS = (b"-1", b"0", b"2147483648", b"99999999999", b"18446744073709551616", b"1e400", b"nan")
VALUES = (b"[]", b"{}", b"null", b'"x"', b"-1", b"true", b"[[]]", b"0.5")
_VALUE = re.compile(rb"""("[^"]*"|\[[^][{}]*\]|-?\d[\d.]*|true|false|null)(\s*:)?""")
"""A value in the text of a file, as JSON and YAML have them, or a name with its colon."""


def mutated(content: bytes, name: str, rng: random.Random) -> bytes:
    """The content with bits turned, cut short, with another number or a value of another type in its text, or with a
    piece twice or gone.
    """
    how = rng.randrange(6)
    changed = bytearray(content)
    start, end = head_of(content, name)
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content[start:end])) if how == 3 else []
    values = [found for found in _VALUE.finditer(content, start, end) if not found[2]] if how == 5 else []
    if how == 1:
        del changed[rng.randrange(len(changed)) :]
    elif how == 2:
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    elif numbers:
        number = rng.choice(numbers)
        changed[slice(start + number.start(), start + number.end())] = rng.choice(
            [n for n in NUMBERS if n != number[0]]
        )
    elif values:
        value = rng.choice(values)
        changed[slice(*value.span())] = rng.choice([other for other in VALUES if other != value[0]])
    elif how == 4:
        at, size = rng.randrange(len(changed)), rng.randint(1, 40)
        changed[at : at + size] = changed[at : at + size] * rng.choice([0, 2, 50])
    else:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    if how >= 3 and name.endswith((".glb", ".safetensors")):
        changed = bytearray(with_lengths(bytes(changed), start, end + len(changed) - len(content)))
    return bytes(changed)


def with_lengths(content: bytes, start: int, end: int) -> bytes:
    """The file whose text ends at `end`, with lengths that are right, so that the reader gets past them."""
    text, rest = content[start:end], content[end:]
    if start == 8:
        return struct.pack("<Q", len(text)) + text + rest
    text += b" " * (-len(text) % 4)
    return struct.pack("<5I", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def outcomes(kind: str, count: int, seed: int, folder: Path) -> dict[str, int]:
    """How many of `count` damaged files were read and refused. Raises AssertionError for any other end, with the file
    left in the folder.
    """
    rng, entry = random.Random(seed), KINDS[kind]
    content = entry.make(folder)
    found = {"read": 0, "refused": 0}
    path = folder / entry.name
    for number in range(count):
        what = f"{kind} {number} of seed {seed}"
        path.write_bytes(entry.wrap(mutated(content, entry.name, rng)))
        began = time.monotonic()
        try:
            entry.read(path)
            found["read"] += 1
        except Gen3DError as error:
            if not str(error).rstrip("'\")").endswith((".", "?", "…")):
                raise AssertionError(f"{what} ends in no sentence: {error}") from error
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        seconds = time.monotonic() - began
        if seconds > MAX_SECONDS:
            raise AssertionError(f"{what} took {seconds:.1f} s")
    return found


def guard(folder: Path) -> None:
    """From now on, this process may not take much memory, start others, or write outside of `folder`."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
    inside = str(folder.resolve())
    written = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.system", "socket.connect", "pickle.find_class", "os.exec"):
            raise AssertionError(f"{event} {arguments}")
        if event == "open":
            touched = isinstance(arguments[0], str | bytes) and bool((arguments[2] or 0) & written)
        else:
            touched = event in ("os.mkdir", "os.remove", "os.rename", "os.symlink", "os.link", "os.chmod")
        if touched:
            place = os.path.realpath(os.fsdecode(arguments[0]))
            if place != os.devnull and not place.startswith(inside):
                raise AssertionError(f"{event} of {place}")

    sys.dont_write_bytecode = True
    sys.addaudithook(watch)


def main(kind: str, count: str, seed: str, folder: str) -> None:
    import resource

    warnings.simplefilter("error", RuntimeWarning)
    KINDS[kind].make(Path(folder))  # imports what readers import
    guard(Path(folder))
    signal.alarm(590)
    found = outcomes(kind, int(count), int(seed), Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({**found, "peak": peak}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
