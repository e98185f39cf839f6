"""`gen3d convert` and `gen3d render` on a small asset, and Khronos' opinion of what they write."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from gen3d.assets.axes import Up, from_y_up
from gen3d.assets.convert import ConvertOptions, convert, drawer, framed, render
from gen3d.assets.glb import write_glb
from gen3d.assets.ply import SplatCloud, write_splats
from gen3d.assets.read import SurfaceMesh, read_asset
from gen3d.assets.sizes import size_of
from gen3d.cli import main
from gen3d.cli.convert import add_convert_arguments
from gen3d.cli.parsing import Parser
from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import turntable

OPTIONS = ConvertOptions(count=6000, faces=3000, texture_size=128)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball and a box, red on the right and green on the left, as mesh.glb, splats.ply, splats.glb and back.glb."""
    folder = tmp_path_factory.mktemp("assets")
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    box = trimesh.creation.box(extents=(1.4, 0.3, 0.3)).subdivide().subdivide().subdivide().subdivide()
    mesh = trimesh.util.concatenate([ball, box])
    mesh.visual.vertex_colors = np.where(mesh.vertices[:, :1] > 0, [[180, 40, 30, 255]], [[30, 140, 60, 255]])
    write_glb(folder / "mesh.glb", mesh, "ball")
    convert(folder / "mesh.glb", folder / "splats.ply", OPTIONS)
    convert(folder / "splats.ply", folder / "splats.glb", ConvertOptions(splats=True))
    convert(folder / "splats.ply", folder / "back.glb", OPTIONS)
    return folder


def views(path: Path) -> torch.Tensor:
    return drawer(framed(read_asset(path))[0])(turntable(4, 256))


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * (one - other).square().mean().log10())


def test_every_conversion_looks_like_the_mesh(files: Path) -> None:
    truth = views(files / "mesh.glb")
    # Gaussians are widened by a pixel when they are drawn, as everywhere in 3DGS: a halo around the outline.
    assert psnr(views(files / "splats.ply"), truth) > 22
    assert psnr(views(files / "splats.glb"), views(files / "splats.ply")) > 45
    assert psnr(views(files / "back.glb"), truth) > 22


def test_the_mesh_of_splats_is_closed_and_textured(files: Path) -> None:
    back = read_asset(files / "back.glb")
    assert isinstance(back, SurfaceMesh)
    (material,) = back.materials
    assert material.base_texture is not None
    assert material.base_texture.picture.pixels.shape == (128, 128, 3)
    merged = trimesh.Trimesh(back.vertices, back.faces, process=True)
    assert merged.is_volume
    assert merged.euler_number == 2
    outlines = [(views(files / name) < 0.99).any(-1) for name in ("back.glb", "mesh.glb")]
    assert float((outlines[0] & outlines[1]).sum() / (outlines[0] | outlines[1]).sum()) > 0.94
    # The box sticks out of the ball on both sides; splats on a surface make it a little thicker.
    assert merged.volume == pytest.approx(4 / 3 * np.pi * 0.6**3 + 2 * 0.11 * 0.09, rel=0.15)


def test_meshes_and_splats_keep_what_they_hold(files: Path, tmp_path: Path) -> None:
    convert(files / "mesh.glb", tmp_path / "a.obj", OPTIONS)
    convert(tmp_path / "a.obj", tmp_path / "a.glb", OPTIONS)
    first, second = read_asset(files / "mesh.glb"), read_asset(tmp_path / "a.glb")
    assert isinstance(first, SurfaceMesh)
    assert isinstance(second, SurfaceMesh)
    np.testing.assert_allclose(second.vertices, first.vertices, atol=1e-6)
    np.testing.assert_array_equal(second.faces, first.faces)
    np.testing.assert_allclose(second.colors, first.colors, atol=0.003)
    convert(files / "splats.ply", tmp_path / "a.ply", OPTIONS)
    one, two = read_asset(files / "splats.ply"), read_asset(tmp_path / "a.ply")
    assert isinstance(one, SplatCloud)
    assert isinstance(two, SplatCloud)
    for name in ("means", "log_scales", "opacity_logits", "sh_dc"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), atol=1e-6)
    # A quaternion and its negative are one rotation.
    np.testing.assert_allclose((two.quats * one.quats).sum(1).abs(), 1, atol=1e-5)
    convert(files / "back.glb", tmp_path / "again.glb", OPTIONS)
    assert psnr(views(tmp_path / "again.glb"), views(files / "back.glb")) > 45


def test_far_away_assets_are_framed_and_come_back_to_their_place(files: Path, tmp_path: Path) -> None:
    near = read_asset(files / "splats.ply")
    assert isinstance(near, SplatCloud)
    assert framed(near)[2] == 1.0
    moved = SplatCloud(
        near.means * 30 + torch.tensor([100.0, 0, -7]), near.quats, near.log_scales + np.log(30),
        near.opacity_logits, near.sh_dc, None,
    )  # fmt: skip
    from gen3d.assets.ply import write_splats

    write_splats(tmp_path / "far.ply", moved)
    image = views(tmp_path / "far.ply")
    assert 0.1 < float((image.amin(-1) < 0.9).float().mean()) < 0.6
    convert(tmp_path / "far.ply", tmp_path / "far.glb", ConvertOptions(faces=1000, texture_size=0))
    far = read_asset(tmp_path / "far.glb")
    assert isinstance(far, SurfaceMesh)
    np.testing.assert_allclose(far.vertices.mean(0), [100, 0, -7], atol=1.5)
    np.testing.assert_allclose(np.ptp(far.vertices, axis=0), [42, 36, 36], atol=3)


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_size_and_ground_in_every_format(files: Path, tmp_path: Path, suffix: str) -> None:
    """--scale is of the largest extent, --ground stands on y = 0 with the middle above the origin."""
    source = files / ("splats.ply" if suffix == ".ply" else "mesh.glb")
    convert(source, tmp_path / f"a{suffix}", ConvertOptions(scale=0.9, ground=True))
    low, high = size_of(read_asset(tmp_path / f"a{suffix}"))
    np.testing.assert_allclose((high - low).max(), 0.9, rtol=1e-5)
    np.testing.assert_allclose([low[1], *(low + high)[[0, 2]]], 0, atol=1e-5)


@pytest.mark.parametrize("up", ["y", "-y", "z"])
def test_splats_say_which_way_is_up_and_come_back(files: Path, tmp_path: Path, up: Up) -> None:
    convert(files / "splats.ply", tmp_path / "a.ply", ConvertOptions(up=up))
    one, two = read_asset(files / "splats.ply"), read_asset(tmp_path / "a.ply")
    assert isinstance(one, SplatCloud)
    assert isinstance(two, SplatCloud)
    np.testing.assert_allclose(two.means, one.means, atol=1e-6)
    turned = read_asset(tmp_path / "a.ply", "y")
    assert isinstance(turned, SplatCloud)
    np.testing.assert_allclose(turned.means, one.means.numpy() @ from_y_up(up)[:3, :3].T, atol=1e-6)


def test_small_assets_fill_the_view(files: Path, tmp_path: Path) -> None:
    """A thing of a hand's size in metres, as glTF has it, is no dot in the middle, and no lump when it is meshed."""
    convert(files / "mesh.glb", tmp_path / "small.glb", ConvertOptions(scale=0.1))
    covered = [
        float((views(path).amin(-1) < 0.9).float().mean()) for path in (files / "mesh.glb", tmp_path / "small.glb")
    ]
    assert covered[1] > covered[0] > 0.1
    assert framed(read_asset(tmp_path / "small.glb"))[2] == pytest.approx(0.95 / 0.05)


def test_render_writes_a_sheet_and_a_video(files: Path, tmp_path: Path) -> None:
    sheet, video = render(files / "back.glb", tmp_path / "new" / "folder", 64, 6, 4)
    assert Image.open(sheet).size == (4 * 68 + 4, 2 * 86 + 4)
    assert video.stat().st_size > 500
    assert sorted(path.name for path in video.parent.iterdir()) == ["back.mp4", "back.png"]
    assert render(files / "mesh.glb", tmp_path, 32, 1, 0) == [tmp_path / "mesh.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert", "{files}/mesh.glb", "{out}/a.stl"], 2, "is written as .obj, which slicers read too"),
        (["convert", "{files}/mesh.glb", "{out}/a.compressed.ply"], 2, "compressed splats are read, but not written"),
        (["convert", "{files}/mesh.glb", "{out}/a.txt"], 2, "has to end in .ply, .glb, .obj"),
        (["convert", "{files}/mesh.glb", "{out}/none/a.ply"], 2, "There is no folder"),
        (["convert", "{files}/none.glb", "{out}/a.ply"], 2, "There is no file"),
        (["convert", "{files}/mesh.glb", "{files}/mesh.glb"], 2, "over itself"),
        (["convert", "{files}/mesh.glb", "{out}/a.obj", "--splats"], 2, "An OBJ holds no splats"),
        (["convert", "{files}/mesh.glb", "{out}/a.ply", "--count", "0"], 2, "'--count' is 0"),
        (["convert", "{files}/mesh.glb"], 2, "the following arguments are required"),
        (["convert", "{files}/broken.glb", "{out}/a.ply"], 1, "does not begin as binary glTF"),
        (["render", "{files}/broken.ply", "--out", "{out}"], 1, "does not begin with 'ply'"),
        (["render", "{files}/mesh.glb", "--size", "5"], 2, "'--size' is 5"),
    ],
)
def test_refusals_are_sentences_and_leave_nothing(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (files / "broken.glb").write_bytes(b"nothing of the kind, but long enough")
    (files / "broken.ply").write_bytes(b"nothing of the kind\n")
    assert main([word.format(files=files, out=tmp_path) for word in arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message.lower() in error.lower()
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home_folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(files / "mesh.glb", tmp_path / "a.glb")
    assert main(["convert", "~/a.glb", "~/b.obj"]) == 0
    assert main(["render", "~/b.obj", "--out", "~/pictures", "--size", "32", "--azimuths", "1", "--frames", "0"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.glb", "b.obj", "pictures"]


@pytest.mark.slow
def test_far_splats_do_not_shrink_the_mesh(files: Path, tmp_path: Path) -> None:
    cloud = read_asset(files / "splats.ply")
    assert isinstance(cloud, SplatCloud)
    means = cloud.means.clone()
    means[:3] = torch.tensor([[9.0, 0, 0], [0, -8, 0], [0, 0, 7]])
    write_splats(tmp_path / "far.ply", replace(cloud, means=means))
    convert(tmp_path / "far.ply", tmp_path / "far.glb", OPTIONS)
    extents = [np.ptp(read_asset(path).vertices, axis=0) for path in (tmp_path / "far.glb", files / "back.glb")]
    np.testing.assert_allclose(extents[0], extents[1], atol=0.03)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak of memory")
@pytest.mark.parametrize("target", ["b.ply", "b.obj", "b.glb"])
def test_a_small_file_with_a_large_texture_takes_less_than_two_gigabytes(tmp_path: Path, target: str) -> None:
    box = trimesh.creation.box()
    white = Image.new("RGB", (8192, 8192), (255, 255, 255))
    box.visual = trimesh.visual.TextureVisuals(uv=box.vertices[:, :2] + 0.5, image=white)
    (tmp_path / "a.glb").write_bytes(trimesh.Scene(box).export(file_type="glb"))
    assert (tmp_path / "a.glb").stat().st_size < 1 << 20
    code = (
        "import re, sys; from gen3d.cli import main; code = main(sys.argv[1:]);"
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "convert", str(tmp_path / "a.glb"), str(tmp_path / target)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 1024 * int(run.stdout.splitlines()[-1]) < 2 << 30


def test_a_failed_write_leaves_the_old_file(files: Path, tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"old")
    with pytest.raises(Gen3DError):
        convert(files / "broken.glb", tmp_path / "a.ply", OPTIONS)
    with pytest.raises(UsageError):
        convert(files / "none.glb", tmp_path / "a.ply", OPTIONS)
    assert (tmp_path / "a.ply").read_bytes() == b"old"


def test_arguments_are_light() -> None:
    parser = Parser("gen3d convert", "x")
    add_convert_arguments(parser)
    assert parser.parse_args(["a.ply", "b.glb"]).texture_size == 512
    report = "from gen3d.cli import main; main(['convert', '--help']); import sys; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "False"


def validator() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "validate_glb.py"
    spec = importlib.util.spec_from_file_location("validate_glb", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    validator().find_validator() is None, reason="no gltf-validator in GEN3D_GLTF_VALIDATOR or NODE_PATH, or no node"
)
@pytest.mark.parametrize("name", ["mesh.glb", "back.glb", "splats.glb"])
def test_khronos_finds_no_errors(files: Path, name: str) -> None:
    """Vertex colours, textures and splats. The attributes of splats, which the validator does not know, are counted."""
    module = validator()
    report = module.issues(files / name, module.find_validator())
    assert report["numErrors"] == report["numWarnings"] == 0, report["messages"]
    assert report["unknown"] == (4 if name == "splats.glb" else 0)
