from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from gen3d.assets.axes import Up
from gen3d.assets.ply import SplatCloud, write_splats
from gen3d.assets.read import read_splats
from gen3d.errors import Gen3DError


def random_splats(count: int, rest: int | None) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = [(count, 3), (count, 4), (count, 3), (count,), (count, 3)] + ([(count, rest, 3)] if rest else [])
    return [torch.randn(shape, generator=generator) for shape in shapes]


def cloud_of(splats: list[torch.Tensor], **more: Any) -> SplatCloud:
    return SplatCloud(*splats[:5], splats[5] if len(splats) > 5 else None, **{"lit": True, **more})


def half_turn(quats: torch.Tensor) -> torch.Tensor:
    """Rotations wxyz followed by half a turn about Z."""
    w, x, y, z = quats.unbind(1)
    return torch.stack([-z, -y, x, w], 1)


def assert_close(cloud: SplatCloud, splats: list[torch.Tensor]) -> None:
    """Asserts that splats are the same to 1e-5; a quaternion and its negative are one rotation."""
    sign = torch.where((cloud.quats * splats[1]).sum(1, keepdim=True) < 0, -1.0, 1.0)
    parts = [cloud.means, cloud.quats * sign, cloud.log_scales, cloud.opacity_logits, cloud.sh_dc, cloud.sh_rest]
    for part, expected in zip(parts, [*splats, None][:6], strict=True):
        assert (part is None) == (expected is None)
        if part is not None and expected is not None:
            torch.testing.assert_close(part, expected, atol=1e-5, rtol=1e-5)


def table_of(content: bytes) -> dict[str, np.ndarray]:
    """The columns of one of our files, in their order, read without our reader."""
    header, body = content.split(b"end_header\n")
    names = re.findall(r"property float (\S+)", header.decode())
    rows = np.frombuffer(body, "<f4").reshape(-1, len(names))
    return {name: rows[:, index] for index, name in enumerate(names)}


@pytest.mark.parametrize("up", ["y", "-y", "z"])
@pytest.mark.parametrize("rest", [None, 3, 8, 15])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_round_trip(tmp_path: Path, rest: int | None, count: int, up: Up) -> None:
    splats = random_splats(count, rest)
    write_splats(tmp_path / "a.ply", cloud_of(splats), up=up)
    write_splats(tmp_path / "b.ply", cloud_of(splats), up=up)
    assert_close(read_splats(tmp_path / "a.ply"), splats)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ply", "b.ply"]


@pytest.mark.parametrize("up", ["y", "-y"])
@pytest.mark.parametrize("count", [0, 7])
def test_harmonics_above_degree_3_are_dropped(
    tmp_path: Path, count: int, up: Up, caplog: pytest.LogCaptureFixture
) -> None:
    *splats, rest = random_splats(count, 24)
    write_splats(tmp_path / "a.ply", cloud_of([*splats, rest]), up=up)
    assert_close(read_splats(tmp_path / "a.ply"), [*splats, rest[:, :15]])
    # What is turned loses them when it is written.
    assert ("harmonics above degree 3 (of 4) were dropped" in caplog.text) == (up == "y")


def test_the_header_tells_what_the_format_leaves_open(tmp_path: Path) -> None:
    splats = random_splats(2, None)
    cloud = cloud_of(splats, lit=False, widened=0.0125, volume=0.25)
    write_splats(tmp_path / "a.ply", cloud, up="z")
    comment = b"\ncomment gen3d up=z light=none widened=0.0125 volume=0.25\n"
    assert comment in (tmp_path / "a.ply").read_bytes()
    cloud = read_splats(tmp_path / "a.ply")
    assert (cloud.lit, cloud.widened, cloud.volume) == (False, pytest.approx(0.0125), pytest.approx(0.25))
    # What the caller says goes before what the file says.
    x, y, z = splats[0].unbind(1)
    torch.testing.assert_close(cloud.means, splats[0])
    torch.testing.assert_close(read_splats(tmp_path / "a.ply", up="y").means, torch.stack([x, -z, y], 1))


def test_layout_is_that_of_3dgs(tmp_path: Path) -> None:
    splats = random_splats(2, 3)
    write_splats(tmp_path / "a.ply", cloud_of(splats))
    content = (tmp_path / "a.ply").read_bytes()
    assert content.startswith(
        b"ply\nformat binary_little_endian 1.0\ncomment gen3d up=-y light=studio\nelement vertex 2\n"
    )
    table = table_of(content)
    assert " ".join(table) == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 f_rest_0 f_rest_1 f_rest_2 f_rest_3 f_rest_4 f_rest_5 f_rest_6 f_rest_7 "
        "f_rest_8 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    )
    rows = np.stack(list(table.values()), 1)
    np.testing.assert_array_equal(rows[:, :3], splats[0].numpy() * [-1, -1, 1])  # Y points down
    # Channel-major: the three coefficients of red, those of -y, z and -x, come first.
    np.testing.assert_allclose(rows[:, 9:12], splats[5][:, :, 0].numpy() * [-1, 1, -1], atol=1e-6)
    np.testing.assert_array_equal(rows[:, 18], splats[3].numpy())
    np.testing.assert_array_equal(rows[:, 22:26], half_turn(splats[1]).numpy())


@pytest.mark.parametrize("rest", [0, 3, 15])
def test_gsplat_writes_the_same_values(tmp_path: Path, rest: int) -> None:
    """gsplat's exporter, column by column by name; it leaves out the normals, which are zero here."""
    exporter = pytest.importorskip("gsplat.exporter")
    written = random_splats(9, rest)
    means, quats, scales, logits, dc, *more = written
    sh_rest = more[0] if rest else torch.zeros(9, 0, 3)
    content = exporter.export_splats(means, scales, quats, logits, dc[:, None], sh_rest, format="ply")
    (tmp_path / "theirs.ply").write_bytes(content)
    write_splats(tmp_path / "ours.ply", cloud_of(written), up="y")
    ours, theirs = table_of((tmp_path / "ours.ply").read_bytes()), table_of(content)
    assert [name for name in ours if name not in ("nx", "ny", "nz")] == list(theirs)
    for name, column in theirs.items():
        np.testing.assert_array_equal(ours[name], column, err_msg=name)
    # It does not turn what it is given, and says nothing of it: such files are taken to have Y down.
    assert_close(read_splats(tmp_path / "theirs.ply", up="y"), written)
    read = read_splats(tmp_path / "theirs.ply")
    torch.testing.assert_close(read.means, means * torch.tensor([-1.0, -1.0, 1.0]))
    write_splats(tmp_path / "back.ply", read)
    assert_close(read_splats(tmp_path / "back.ply", up="y"), written)


def test_trimesh_reads_the_columns(tmp_path: Path) -> None:
    means, quats, scales, logits, _, rest = splats = random_splats(5, 8)
    write_splats(tmp_path / "a.ply", cloud_of(splats))
    foreign = trimesh.load(tmp_path / "a.ply")
    np.testing.assert_allclose(foreign.vertices, means.numpy() * [-1, -1, 1], atol=1e-6)
    columns = foreign.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(np.ravel(columns["opacity"]), logits.numpy())
    for i in range(3):
        np.testing.assert_array_equal(np.ravel(columns[f"scale_{i}"]), scales[:, i].numpy())
        np.testing.assert_allclose(np.ravel(columns[f"f_rest_{8 * i + 2}"]), -rest[:, 2, i].numpy(), atol=1e-6)
    for i in range(4):
        np.testing.assert_array_equal(np.ravel(columns[f"rot_{i}"]), half_turn(quats)[:, i].numpy())


def test_reads_other_layouts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The layouts have no normals, doubles, a comment, a foreign property or another order."""
    names = ["rot_3", "rot_0", "rot_1", "rot_2", "opacity", "scale_0", "scale_1", "scale_2", "extra"]
    names += ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2"]
    kinds = {name: "uchar" if name == "extra" else "double" if name == "x" else "float" for name in names}
    codes = {"uchar": "u1", "double": "<f8", "float": "<f4"}
    table = np.zeros(3, dtype=[(name, codes[kinds[name]]) for name in names])
    for index, name in enumerate(names):
        table[name] = index + np.arange(3) * 8
    header = "ply\nformat binary_little_endian 1.0\ncomment made by hand\nelement vertex 3\n"
    header += "".join(f"property {kinds[name]} {name}\n" for name in names) + "end_header\n"
    (tmp_path / "a.ply").write_bytes(header.encode() + table.tobytes())
    cloud = read_splats(tmp_path / "a.ply", up="y")
    assert "it was read without 1 property 'extra'." in caplog.text
    assert cloud.quats[1].tolist() == [9, 10, 11, 8]
    assert cloud.means[2].tolist() == [25, 26, 27]
    assert cloud.opacity_logits.tolist() == [4, 12, 20]
    assert cloud.log_scales[0].tolist() == [5, 6, 7]
    assert cloud.sh_rest is None
    assert not cloud.lit
    caplog.clear()
    turned = read_splats(tmp_path / "a.ply")
    assert "taken to have Y down, as in 3D Gaussian Splatting (--from-up y if they have not)" in caplog.text
    assert turned.means[2].tolist() == [-25, -26, 27]
    assert turned.quats[1].tolist() == [8, 11, -10, -9]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_reads_text_and_big_endian(tmp_path: Path, end: str) -> None:
    splats = random_splats(4, 3)
    write_splats(tmp_path / "a.ply", cloud_of(splats))
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    rows = np.frombuffer(body, "<f4").reshape(4, -1)
    text = header.decode().replace("binary_little_endian", "ascii").replace("\n", end) + "end_header" + end
    text += "".join(" ".join(f"{value:.9g}" for value in row) + end for row in rows)
    (tmp_path / "text.ply").write_bytes(text.encode())
    assert_close(read_splats(tmp_path / "text.ply"), splats)
    big = header.replace(b"binary_little", b"binary_big") + b"end_header\n" + rows.astype(">f4").tobytes()
    (tmp_path / "big.ply").write_bytes(big)
    assert_close(read_splats(tmp_path / "big.ply"), splats)


def test_splats_that_are_not_finite_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    splats = random_splats(5, 3)
    good = splats[0].isfinite().all(1)
    for row, part in ((1, 0), (3, 5)):
        splats[part][row].fill_(float("nan"))
        good[row] = False
    splats[1][4] = 0  # no rotation at all
    good[4] = False
    write_splats(tmp_path / "a.ply", cloud_of(splats), up="y")
    assert_close(read_splats(tmp_path / "a.ply"), [part[good] for part in splats])
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "it was read without 3 splats that are not finite."
    ]


def good_bytes(tmp_path: Path) -> bytes:
    write_splats(tmp_path / "good.ply", cloud_of(random_splats(4, 3)))
    return (tmp_path / "good.ply").read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "cut short"),
        (lambda data: b"", "does not begin"),
        (lambda data: b"PK" + data, "does not begin"),
        (lambda data: data.replace(b"binary_little_endian", b"ascii"), "its rows hold something that is no number"),
        (lambda data: data.replace(b"binary_little", b"binary_mid"), "'binary_mid_endian 1.0', which is none of"),
        (lambda data: data.replace(b"vertex 4", b"vertex 999999999999"), "cut short"),
        (lambda data: data.replace(b"vertex 4", b"vertex -4"), "its number of 'vertex' is '-4'"),
        (lambda data: data.replace(b"vertex 4", b"vertex 9999999999999999999"), "its number of 'vertex'"),
        (lambda data: data.replace(b"float rot_3", b"float rot_9"), "lacks the properties rot_3"),
        (lambda data: data.replace(b"f_rest_8", b"unknown!"), "8 values of f_rest fit no degree"),
        (lambda data: data.replace(b"property float ny", b"property float nx"), "named twice"),
        (lambda data: data.replace(b"float nx", b"list uchar int nx"), "cut short"),
        (lambda data: data.replace(b"float nx", b"list float int nx"), "unsupported property 'list float int nx'"),
        (lambda data: data.replace(b"float nx", b"half nx"), "unsupported property 'half nx'"),
        (lambda data: data.replace(b"end_header", b"wrong_word"), "header"),
        (lambda data: data.replace(b"\nelement", b"\ncomment " + b"a" * 100_000 + b"\nelement"), "no end within"),
        (lambda data: data[:-416] + np.full(104, np.nan, "<f4").tobytes(), "none of its 4 splats is finite"),
    ],
)
def test_refuses_malformed_files(tmp_path: Path, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    data = change(good_bytes(tmp_path))
    (tmp_path / "bad.ply").write_bytes(data)
    with pytest.raises(Gen3DError, match=reason) as error:
        read_splats(tmp_path / "bad.ply")
    assert len(str(error.value)) < 600 + len(str(tmp_path))


def test_refuses_missing_files_and_wrong_shapes(tmp_path: Path) -> None:
    with pytest.raises(Gen3DError, match=r"There is no file .*none\.ply: check the path"):
        read_splats(tmp_path / "none.ply")
    means, quats, scales, opacities, dc = random_splats(3, None)
    with pytest.raises(ValueError, match="'quats' has the shape"):
        write_splats(tmp_path / "x.ply", cloud_of([means, quats[:2], scales, opacities, dc]))
    with pytest.raises(ValueError, match="12 values of f_rest fit no degree of spherical harmonics"):
        write_splats(tmp_path / "x.ply", cloud_of([means, quats, scales, opacities, dc, torch.zeros(3, 4, 3)]))
    assert not list(tmp_path.iterdir())
