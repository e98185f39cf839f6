"""Splats and meshes in a PLY as other programs write them, and what is done to splats afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gen3d.assets.density import footprint, narrowed, widened
from gen3d.assets.drawing import drawer
from gen3d.assets.framing import frame
from gen3d.assets.read import read_splats
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.splat_motion import moved_splats, quats_of, turned_harmonics
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.errors import Gen3DError
from gen3d.geometry.cameras import Cameras, orbit, turntable
from gen3d.geometry.transforms import rotation_matrices
from gen3d.rendering.harmonics import SH_C0, sh_basis
from gen3d.representations.splats import GaussianSplats

_CODES = {"f4": "float", "f8": "double", "u1": "uchar", "u4": "uint", "i4": "int"}
Table = dict[str, np.ndarray]


def ply(**elements: Table) -> bytes:
    """A binary PLY of columns."""
    header, body = "ply\nformat binary_little_endian 1.0\n", b""
    for element, columns in elements.items():
        rows = np.zeros(len(next(iter(columns.values()))), [(name, column.dtype) for name, column in columns.items()])
        header += f"element {element} {len(rows)}\n"
        for name, column in columns.items():
            rows[name] = column
            header += f"property {_CODES[column.dtype.str[1:]]} {name}\n"
        body += rows.tobytes()
    return (header + "end_header\n").encode() + body


def columns_of(count: int, scales: int = 3) -> Table:
    """Splats of random values, as columns of float32."""
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", *[f"scale_{i}" for i in range(scales)]]
    names += [f"rot_{i}" for i in range(4)]
    values = np.random.default_rng(5).normal(size=(len(names), count)).astype("<f4")
    return dict(zip(names, values, strict=True))


def cloud_of(count: int, rest: int | None = None) -> SplatCloud:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return SplatCloud(
        0.4 * draw(count, 3), draw(count, 4), 0.5 * draw(count, 3) - 2, draw(count) + 1, 0.5 * draw(count, 3),
        0.3 * draw(count, rest, 3) if rest else None,
    )  # fmt: skip


def covariances(cloud: SplatCloud) -> np.ndarray:
    axes = rotation_matrices(cloud.quats.double()) * cloud.log_scales.double().exp()[:, None]
    return (axes @ axes.transpose(1, 2)).numpy()


def turn(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    """A rotation [4, 4] (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def test_infinite_opacity_is_opaque(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = columns_of(4)
    columns["opacity"] = np.array([np.inf, -np.inf, 0.5, np.nan], "<f4")
    columns["scale_1"][0] = -np.inf  # flat
    (tmp_path / "a.ply").write_bytes(ply(vertex=columns))
    cloud = read_splats(tmp_path / "a.ply", up="y")
    assert "without 1 splat that is not finite" in caplog.text
    assert torch.sigmoid(cloud.opacity_logits).tolist() == pytest.approx([1, 0, 0.62246], abs=1e-5)
    assert cloud.means.tolist() == np.stack([columns[name][:3] for name in "xyz"], 1).tolist()
    assert cloud.log_scales.isfinite().all()
    assert cloud.log_scales[0, 1] < -20


def test_two_scales_get_a_thin_axis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = columns_of(3, scales=2)
    (tmp_path / "a.ply").write_bytes(ply(vertex=columns))
    cloud = read_splats(tmp_path / "a.ply", up="y")
    assert "two scales, so they were given a thin third axis" in caplog.text
    both = np.stack([columns["scale_0"], columns["scale_1"]], 1)
    np.testing.assert_array_equal(cloud.log_scales[:, :2].numpy(), both)
    np.testing.assert_allclose(cloud.log_scales[:, 2].exp().numpy(), 0.01 * np.exp(both.min(1)), rtol=1e-5)


def test_order_of_elements_and_extra_properties_do_not_matter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = columns_of(3)
    (tmp_path / "plain.ply").write_bytes(ply(vertex=columns))
    extra = {"label": np.arange(3, dtype="<i4")}
    mixed = extra | dict(reversed(columns.items()))
    camera = {"fx": np.array([500.0], "<f8"), "tag": np.array([3], "u1")}
    (tmp_path / "mixed.ply").write_bytes(ply(camera=camera, vertex=mixed, extrinsic={"e": np.arange(16.0)}))
    plain, other = (read_splats(tmp_path / name) for name in ("plain.ply", "mixed.ply"))
    assert "without 1 property 'label'" in caplog.text
    for name, part in vars(plain).items():
        assert torch.equal(part, getattr(other, name)) if torch.is_tensor(part) else part == getattr(other, name)


def test_far_origins_keep_detail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """UTM metres in doubles: the grid of float32 has half a metre there."""
    local = np.random.default_rng(1).uniform(-1, 1, (501, 3))
    columns = columns_of(501)
    for name, column, origin in zip("xyz", local.T, (500_000.0, 4_649_776.0, 120.0), strict=True):
        columns[name] = column + origin
    (tmp_path / "a.ply").write_bytes(ply(vertex=columns))
    means = read_splats(tmp_path / "a.ply", up="y").means.numpy()
    assert "its splats were moved from (499999.9871, 4649775.994, 120.0" in caplog.text
    np.testing.assert_allclose(means, local - np.median(local, axis=0), atol=1e-6)
    turned = read_splats(tmp_path / "a.ply").means.numpy()
    np.testing.assert_allclose(turned, means * [-1, -1, 1], atol=1e-6)


@pytest.mark.parametrize("up", ["y", "-y"])
def test_a_single_splat_stays_where_it_is(tmp_path: Path, up: str) -> None:
    columns = columns_of(1)
    (tmp_path / "a.ply").write_bytes(ply(vertex=columns))
    place = np.array([columns[name][0] for name in "xyz"])
    means = read_splats(tmp_path / "a.ply", up=up).means.numpy()  # type: ignore[arg-type]
    np.testing.assert_array_equal(means[0], place * ([1, 1, 1] if up == "y" else [-1, -1, 1]))


def packed_ply(cloud: SplatCloud, sh: bool = False) -> bytes:
    """An encoder of SuperSplat's compressed PLY, with bounds of colours; cloud: unit quaternions."""
    count = len(cloud.means)
    colors = 0.5 + SH_C0 * cloud.sh_dc.double().numpy()
    parts = {"": cloud.means.double().numpy(), "scale_": cloud.log_scales.double().numpy(), "c": colors}
    chunk, shares = {}, {}
    starts = range(0, count, 256)
    for part, values in parts.items():
        low = np.array([values[i : i + 256].min(0) for i in starts])
        high = np.array([values[i : i + 256].max(0) for i in starts])
        shares[part] = (values - low.repeat(256, 0)[:count]) / (high - low).repeat(256, 0)[:count]
        for end, bound in (("min", low), ("max", high)):
            for axis, column in zip("rgb" if part == "c" else "xyz", bound.T, strict=True):
                chunk[f"{end}_{'' if part == 'c' else part}{axis}"] = column.astype("<f4")

    def words(values: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
        word = np.zeros(count, np.uint64)
        for column, width in zip(values.T, bits, strict=True):
            most = (1 << width) - 1
            word = (word << np.uint64(width)) | np.round(column * most).clip(0, most).astype(np.uint64)
        return word.astype("<u4")

    quats = cloud.quats.double().numpy()
    largest = np.abs(quats).argmax(1)
    quats = quats * np.sign(quats[np.arange(count), largest])[:, None]
    others = np.array([np.delete(quat, index) for quat, index in zip(quats, largest, strict=True)])
    rotation = np.column_stack([largest / 3, others / np.sqrt(2) + 0.5])
    rgba = np.column_stack([shares["c"], torch.sigmoid(cloud.opacity_logits).numpy()])
    vertex = {
        "packed_position": words(shares[""], (11, 10, 11)), "packed_rotation": words(rotation, (2, 10, 10, 10)),
        "packed_scale": words(shares["scale_"], (11, 10, 11)), "packed_color": words(rgba, (8, 8, 8, 8)),
    }  # fmt: skip
    if not sh:
        return ply(chunk=chunk, vertex=vertex)
    assert cloud.sh_rest is not None
    rest = cloud.sh_rest.numpy().transpose(0, 2, 1).reshape(count, -1)
    bytes_ = np.trunc((rest / 8 + 0.5) * 256).clip(0, 255).astype("u1")
    return ply(chunk=chunk, vertex=vertex, sh={f"f_rest_{i}": column for i, column in enumerate(bytes_.T)})


@pytest.mark.parametrize("sh", [False, True])
def test_compressed_ply_of_supersplat(tmp_path: Path, sh: bool) -> None:
    cloud = cloud_of(300, 3)  # two chunks
    cloud = replace(cloud, quats=torch.nn.functional.normalize(cloud.quats, dim=1))
    cloud.opacity_logits[:2] = torch.tensor([30.0, -30.0])
    (tmp_path / "a.ply").write_bytes(packed_ply(cloud, sh))
    read = read_splats(tmp_path / "a.ply", up="y")
    np.testing.assert_allclose(read.means, cloud.means, atol=3 / 1023)
    np.testing.assert_allclose(read.log_scales, cloud.log_scales, atol=4 / 1023)
    assert float((read.quats * cloud.quats).sum(1).abs().min()) > 1 - 1e-5
    np.testing.assert_allclose(torch.sigmoid(read.opacity_logits), torch.sigmoid(cloud.opacity_logits), atol=0.003)
    assert read.opacity_logits[:2].tolist() == [20, -20]
    np.testing.assert_allclose(read.sh_dc * SH_C0, cloud.sh_dc * SH_C0, atol=0.003)
    assert (read.sh_rest is not None) == sh
    if read.sh_rest is not None and cloud.sh_rest is not None:
        np.testing.assert_allclose(read.sh_rest, cloud.sh_rest, atol=1 / 64 + 1e-6)
    turned = read_splats(tmp_path / "a.ply")  # Y down, as SuperSplat has it
    np.testing.assert_allclose(turned.means, read.means * torch.tensor([-1.0, -1.0, 1.0]), atol=1e-6)


def test_compressed_ply_without_its_chunks_is_refused(tmp_path: Path) -> None:
    vertex = {f"packed_{name}": np.zeros(300, "<u4") for name in ("position", "rotation", "scale", "color")}
    (tmp_path / "a.ply").write_bytes(ply(vertex=vertex))
    with pytest.raises(Gen3DError, match="its packed splats lack their chunks"):
        read_splats(tmp_path / "a.ply")
    bounds = [f"{end}_{part}{axis}" for end in ("min", "max") for part in ("", "scale_") for axis in "xyz"]
    (tmp_path / "a.ply").write_bytes(ply(chunk={name: np.zeros(1, "<f4") for name in bounds}, vertex=vertex))
    with pytest.raises(Gen3DError, match="it has 1 chunks for 300 packed splats"):
        read_splats(tmp_path / "a.ply")


def test_a_ply_with_faces_is_a_mesh(
    tmp_path: Path, read: Callable[..., SurfaceMesh], color_at: Callable[[SurfaceMesh, float, float], list[int]]
) -> None:
    text = "ply\nformat ascii 1.0\nelement vertex 4\n"
    text += "".join(f"property float {name}\n" for name in "xyz")
    text += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    text += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    text += "0 0 0 230 40 40\n1 0 0 40 200 60\n1 1 0 40 60 220\n0 1 0 255 255 255\n4 0 1 2 3\n"
    mesh = read(text.encode(), "a.ply")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]  # meshes have Y up
    assert len(mesh.faces) == 2
    for (x, y), color in (((0, 0), [230, 40, 40]), ((1, 0), [40, 200, 60]), ((1, 1), [40, 60, 220])):
        np.testing.assert_allclose(color_at(mesh, x, y), color, atol=1)
    with pytest.raises(Gen3DError, match="holds a mesh and no splats"):
        read_splats(tmp_path / "a.ply")


def test_floaters_do_not_move_the_frame(caplog: pytest.LogCaptureFixture) -> None:
    cloud = cloud_of(3000)
    directions = torch.nn.functional.normalize(cloud.means, dim=1)
    body = replace(cloud, means=2 * directions + torch.tensor([5.0, 0.0, 1.0]), opacity_logits=torch.ones(3000))
    centre, scale = frame(body)
    np.testing.assert_allclose(centre, [5, 0, 1], atol=0.02)
    assert scale == pytest.approx(0.95 / 2, rel=0.01)
    assert not caplog.records
    means = body.means.clone()
    means[:5] = torch.tensor([[90.0, 0, 0], [0, -70, 0], [0, 0, 80], [-60, 60, 0], [50, 50, -50]])
    moved_centre, moved_scale = frame(replace(body, means=means))
    assert "What floats far from the rest may be out of sight: 5 splats." in caplog.text
    np.testing.assert_allclose(moved_centre, centre, atol=0.02)
    assert moved_scale == pytest.approx(scale, rel=0.01)


@pytest.mark.parametrize("rest", [None, 3, 8, 15])
def test_turned_splats_look_the_same_from_turned_cameras(rest: int | None) -> None:
    cloud, matrix = cloud_of(60, rest), turn(77, (1, 2, -1))
    cameras = orbit(torch.tensor([10.0, 200.0]), 20.0, 48)
    c2w = torch.from_numpy(matrix @ cameras.c2w.double().numpy()).float()
    turned = Cameras(c2w, cameras.intrinsics, cameras.width, cameras.height)
    before, after = drawer(cloud)(cameras), drawer(moved_splats(cloud, matrix))(turned)
    assert float(before.std()) > 0.05
    torch.testing.assert_close(after, before, atol=2e-3, rtol=0)
    unturned = drawer(cloud)(turned)
    assert float((unturned - before).abs().mean()) > 0.02


@pytest.mark.parametrize("count", [3, 8, 15])
@pytest.mark.parametrize("mirrored", [False, True])
def test_harmonics_turn_with_the_object(count: int, mirrored: bool) -> None:
    """What was seen from one direction is seen from the turned one."""
    matrix = turn(140, (3, -1, 1))[:3, :3] * (-1 if mirrored else 1)
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(4)), dim=1)
    degree = int(np.sqrt(count + 1)) - 1
    rest = torch.randn(count, generator=torch.Generator().manual_seed(5))
    before = sh_basis(directions, degree)[:, 1:] @ rest
    turned = directions @ torch.from_numpy(matrix.T).float()
    after = sh_basis(turned, degree)[:, 1:] @ (turned_harmonics(matrix, count) @ rest)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("uneven", [False, True])
def test_gaussians_follow_the_matrix(uneven: bool) -> None:
    cloud = replace(cloud_of(20, 3), widened=0.1, volume=2.0)
    matrix = turn(30, (0, 1, 1)) @ np.diag([2, 0.5, 3, 1] if uneven else [2, 2, 2, 1])
    matrix[:3, 3] = [1, 2, 3]
    linear = matrix[:3, :3]
    moved = moved_splats(cloud, matrix)
    np.testing.assert_allclose(moved.means, cloud.means.double().numpy() @ linear.T + [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(covariances(moved), linear @ covariances(cloud) @ linear.T, rtol=1e-4, atol=1e-5)
    assert moved.volume == pytest.approx(6 if uneven else 16)
    assert moved.widened == pytest.approx(0.55 / 3 if uneven else 0.2)


def test_quaternions_of_rotations() -> None:
    quats = torch.nn.functional.normalize(cloud_of(50).quats.double(), dim=1)
    found = quats_of(rotation_matrices(quats).numpy())
    np.testing.assert_allclose(np.abs((found * quats.numpy()).sum(1)), 1, atol=1e-12)


@pytest.mark.parametrize("rest", [None, 3, 24])
def test_no_splats_at_all_can_be_moved(rest: int | None) -> None:
    moved = moved_splats(cloud_of(0, rest), turn(50, (1, 0, 1)))
    assert (moved.means.shape, moved.quats.shape, moved.log_scales.shape) == ((0, 3), (0, 4), (0, 3))
    shape = None if moved.sh_rest is None else tuple(moved.sh_rest.shape)
    assert shape == (None if rest is None else (0, min(rest, 15), 3))


def test_narrowed_undoes_widened() -> None:
    by = footprint(256)
    assert by == pytest.approx(np.sqrt(0.3) * 1.25 / np.sin(np.radians(20)) * np.tan(np.radians(20)) / 128)
    cloud = cloud_of(500)
    cloud = replace(cloud, log_scales=np.log(by) + 2 * torch.rand(500, 3) - 1)
    wide = widened(cloud, by)
    assert wide.widened == pytest.approx(by)
    variances = (2 * cloud.log_scales.double()).exp() + by**2
    torch.testing.assert_close((2 * wide.log_scales.double()).exp(), variances, rtol=1e-5, atol=0)
    back = narrowed(wide)
    assert back.widened == 0
    torch.testing.assert_close(back.log_scales, cloud.log_scales, atol=1e-3, rtol=0)
    twice = widened(widened(cloud, 0.03), 0.04)  # variances add up
    assert twice.widened == pytest.approx(0.05)
    torch.testing.assert_close(twice.log_scales, widened(cloud, 0.05).log_scales, atol=1e-5, rtol=0)
    assert narrowed(cloud) is cloud


@torch.no_grad()
def test_what_is_dense_where_it_was_optimised_is_dense_in_finer_pictures() -> None:
    """Of 3,000 splats over a ball, made for 128 pixels a side, in a rasteriser with a filter of .3 pixels squared."""
    along = torch.arange(3000) + 0.5
    down, around = torch.acos(1 - 2 * along / 3000), np.pi * (1 + 5**0.5) * along
    points = 0.6 * torch.stack([around.cos() * down.sin(), down.cos(), around.sin() * down.sin()], 1)
    quats, scales = torch.tensor([1.0, 0, 0, 0]).expand(3000, 4), torch.full((3000, 3), np.log(0.016))
    cloud = SplatCloud(points, quats, scales, torch.full((3000,), 4.0), torch.zeros(3000, 3), None)

    def clear(some: SplatCloud, size: int) -> float:
        """The share of the pixels inside of the outline through which more than 2 % of the background is seen."""
        columns = some.means, some.log_scales, some.quats, some.opacity_logits, some.sh_dc[:, None], None
        alpha = GaussianSplats(*columns).render(turntable(1, size)).alpha[0, ..., 0]
        middles = torch.arange(size) + 0.5 - size / 2
        distances = torch.hypot(middles[:, None], middles)
        return float((alpha[distances < 0.9 * distances[alpha > 0.5].max()] < 0.98).float().mean())

    assert clear(cloud, 128) == 0
    assert clear(cloud, 768) > 0.2
    assert clear(widened(cloud, footprint(128)), 768) == 0
