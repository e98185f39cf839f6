from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gen3d.assets.ply import read_splats, write_splats
from gen3d.errors import Gen3DError


def random_splats(count: int, rest: int | None) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = [(count, 3), (count, 4), (count, 3), (count,), (count, 3)] + ([(count, rest, 3)] if rest else [])
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("rest", [None, 3, 8, 15, 24])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_round_trip(tmp_path: Path, rest: int | None, count: int) -> None:
    splats = random_splats(count, rest)
    write_splats(tmp_path / "a.ply", *splats)
    cloud = read_splats(tmp_path / "a.ply")
    parts = [cloud.means, cloud.quats, cloud.log_scales, cloud.opacity_logits, cloud.sh_dc]
    for part, expected in zip([*parts, cloud.sh_rest], [*splats, None][:6], strict=True):
        assert part is expected is None or torch.equal(part, expected)
    write_splats(tmp_path / "b.ply", *parts, cloud.sh_rest)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ply", "b.ply"]


def test_layout_is_that_of_3dgs(tmp_path: Path) -> None:
    splats = random_splats(2, 3)
    write_splats(tmp_path / "a.ply", *splats)
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    names = re.findall(r"property float (\S+)", header.decode())
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 2\n")
    assert " ".join(names) == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 f_rest_0 f_rest_1 f_rest_2 f_rest_3 f_rest_4 f_rest_5 f_rest_6 f_rest_7 "
        "f_rest_8 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    )
    rows = np.frombuffer(body, "<f4").reshape(2, len(names))
    # Channel-major: the three coefficients of red come first.
    np.testing.assert_array_equal(rows[:, 9:12], splats[5][:, :, 0].numpy())
    np.testing.assert_array_equal(rows[:, 18], splats[3].numpy())
    np.testing.assert_array_equal(rows[:, 22:26], splats[1].numpy())


@pytest.mark.parametrize("rest", [0, 3, 15])
def test_gsplat_writes_the_same_values(tmp_path: Path, rest: int) -> None:
    """gsplat's exporter, column by column by name; it leaves out the normals, which are zero here."""
    exporter = pytest.importorskip("gsplat.exporter")
    means, quats, scales, logits, dc, *more = random_splats(9, rest)
    sh_rest = more[0] if rest else torch.zeros(9, 0, 3)
    content = exporter.export_splats(means, scales, quats, logits, dc[:, None], sh_rest, format="ply")
    (tmp_path / "theirs.ply").write_bytes(content)
    theirs = read_splats(tmp_path / "theirs.ply")
    write_splats(tmp_path / "ours.ply", means, quats, scales, logits, dc, sh_rest if rest else None)
    ours = read_splats(tmp_path / "ours.ply")
    for name, part in vars(ours).items():
        other = getattr(theirs, name)
        assert part is other is None or torch.equal(part, other), name
    header, body = (tmp_path / "ours.ply").read_bytes().split(b"end_header\n")
    names = re.findall(r"property float (\S+)", header.decode())
    their_names = re.findall(r"property float (\S+)", content.split(b"end_header\n")[0].decode())
    assert [name for name in names if name not in ("nx", "ny", "nz")] == their_names
    assert len(body) == 9 * 4 * len(names)


def test_trimesh_reads_the_columns(tmp_path: Path) -> None:
    means, quats, scales, logits, dc, rest = random_splats(5, 8)
    write_splats(tmp_path / "a.ply", means, quats, scales, logits, dc, rest)
    foreign = trimesh.load(tmp_path / "a.ply")
    np.testing.assert_allclose(foreign.vertices, means.numpy(), atol=1e-6)
    columns = foreign.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(np.ravel(columns["opacity"]), logits.numpy())
    for i in range(3):
        np.testing.assert_array_equal(np.ravel(columns[f"scale_{i}"]), scales[:, i].numpy())
        np.testing.assert_array_equal(np.ravel(columns[f"f_rest_{8 * i + 2}"]), rest[:, 2, i].numpy())
    for i in range(4):
        np.testing.assert_array_equal(np.ravel(columns[f"rot_{i}"]), quats[:, i].numpy())


def test_reads_other_layouts(tmp_path: Path) -> None:
    """No normals, doubles, a comment, a foreign property and another order."""
    names = ["rot_3", "rot_0", "rot_1", "rot_2", "opacity", "scale_0", "scale_1", "scale_2", "extra"]
    names += ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2"]
    kinds = {name: "uchar" if name == "extra" else "double" if name == "x" else "float" for name in names}
    codes = {"uchar": "u1", "double": "<f8", "float": "<f4"}
    table = np.zeros(3, dtype=[(name, codes[kinds[name]]) for name in names])
    for index, name in enumerate(names):
        table[name] = index + np.arange(3) * 20
    header = "ply\nformat binary_little_endian 1.0\ncomment made by hand\nelement vertex 3\n"
    header += "".join(f"property {kinds[name]} {name}\n" for name in names) + "end_header\n"
    (tmp_path / "a.ply").write_bytes(header.encode() + table.tobytes())
    cloud = read_splats(tmp_path / "a.ply")
    assert cloud.quats[1].tolist() == [21, 22, 23, 20]
    assert cloud.means[2].tolist() == [49, 50, 51]
    assert cloud.opacity_logits.tolist() == [4, 24, 44]
    assert cloud.sh_rest is None


def good_bytes(tmp_path: Path) -> bytes:
    write_splats(tmp_path / "good.ply", *random_splats(4, 3))
    return (tmp_path / "good.ply").read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "cut short"),
        (lambda data: b"", "does not begin"),
        (lambda data: b"PK" + data, "does not begin"),
        (lambda data: data.replace(b"binary_little_endian", b"ascii"), "its format is 'ascii 1.0'"),
        (lambda data: data.replace(b"binary_little", b"binary_big"), "binary_big_endian"),
        (lambda data: data.replace(b"vertex 4", b"vertex 999999999999"), "cut short"),
        (lambda data: data.replace(b"vertex 4", b"vertex -4"), "number of vertices is '-4'"),
        (lambda data: data.replace(b"vertex 4", b"vertex 9999999999999999999"), "number of vertices"),
        (lambda data: data.replace(b"float rot_3", b"float rot_9"), "lacks the properties rot_3"),
        (lambda data: data.replace(b"f_rest_8", b"unknown!"), "fit no spherical-harmonics degree"),
        (lambda data: data.replace(b"property float ny", b"property float nx"), "named twice"),
        (lambda data: data.replace(b"float nx", b"list uchar int nx"), "unsupported property"),
        (lambda data: data.replace(b"end_header", b"wrong_word"), "header"),
        (lambda data: data.replace(b"\nelement", b"\ncomment " + b"a" * 100_000 + b"\nelement"), "no end within"),
        (lambda data: data[:-4] + np.float32("nan").tobytes(), "not finite"),
    ],
)
def test_refuses_malformed_files(tmp_path: Path, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    data = change(good_bytes(tmp_path))
    (tmp_path / "bad.ply").write_bytes(data)
    with pytest.raises(Gen3DError, match=reason) as error:
        read_splats(tmp_path / "bad.ply")
    assert len(str(error.value)) < 600 + len(str(tmp_path))


def test_refuses_missing_files_and_wrong_shapes(tmp_path: Path) -> None:
    with pytest.raises(Gen3DError, match="cannot be read"):
        read_splats(tmp_path / "none.ply")
    means, quats, scales, opacities, dc = random_splats(3, None)
    with pytest.raises(ValueError, match="'quats' has the shape"):
        write_splats(tmp_path / "x.ply", means, quats[:2], scales, opacities, dc)
    with pytest.raises(ValueError, match="fit no spherical-harmonics degree"):
        write_splats(tmp_path / "x.ply", means, quats, scales, opacities, dc, torch.zeros(3, 4, 3))
    assert not list(tmp_path.iterdir())
