from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from gen3d.assets.ply import SplatCloud
from gen3d.assets.read import read_asset
from gen3d.assets.splat_glb import splat_glb_bytes, write_splat_glb
from gen3d.errors import Gen3DError


def some_splats(degree: int = 0, count: int = 7) -> SplatCloud:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rest = draw(count, (degree + 1) ** 2 - 1, 3) if degree else None
    return SplatCloud(draw(count, 3), draw(count, 4), draw(count, 3) - 4, draw(count), draw(count, 3), rest)


def parsed(content: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def values(content: bytes, semantic: str, width: int) -> np.ndarray:
    document, binary = parsed(content)
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][semantic]]
    start = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    return np.frombuffer(binary, "<f4", accessor["count"] * width, start).reshape(-1, width)


def test_attributes_are_the_opposite_of_the_ply() -> None:
    """Linear scales, opacities in 0..1 and rotations xyzw of unit length, where the PLY has logs, logits and wxyz."""
    cloud = some_splats()
    content = splat_glb_bytes(cloud, "x")
    prefix = "KHR_gaussian_splatting:"
    np.testing.assert_allclose(values(content, prefix + "SCALE", 3), cloud.log_scales.exp(), rtol=1e-5)
    np.testing.assert_allclose(values(content, prefix + "OPACITY", 1)[:, 0], cloud.opacity_logits.sigmoid(), rtol=1e-5)
    unit = torch.nn.functional.normalize(cloud.quats, dim=-1)
    np.testing.assert_allclose(values(content, prefix + "ROTATION", 4), unit[:, [1, 2, 3, 0]], atol=1e-6)
    np.testing.assert_allclose(values(content, prefix + "SH_DEGREE_0_COEF_0", 3), cloud.sh_dc, rtol=1e-6)


def test_document_follows_the_extension() -> None:
    document, _ = parsed(splat_glb_bytes(some_splats(1), "x"))
    assert document["extensionsUsed"] == ["KHR_gaussian_splatting"]
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    assert primitive["extensions"]["KHR_gaussian_splatting"] == {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
    }
    assert {name for name in primitive["attributes"] if "DEGREE_1" in name} == {
        f"KHR_gaussian_splatting:SH_DEGREE_1_COEF_{n}" for n in range(3)
    }
    color = document["accessors"][primitive["attributes"]["COLOR_0"]]
    assert (color["type"], color["normalized"]) == ("VEC4", True)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_splats_come_back(tmp_path: Path, degree: int) -> None:
    cloud = some_splats(degree)
    write_splat_glb(tmp_path / "a.glb", cloud, "x")
    back = read_asset(tmp_path / "a.glb")
    assert isinstance(back, SplatCloud)
    torch.testing.assert_close(back.means, cloud.means)
    torch.testing.assert_close(back.quats, torch.nn.functional.normalize(cloud.quats, dim=-1))
    torch.testing.assert_close(back.log_scales, cloud.log_scales, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back.opacity_logits, cloud.opacity_logits, atol=1e-4, rtol=1e-4)
    assert (back.sh_rest is None) == (degree == 0)
    if back.sh_rest is not None:
        torch.testing.assert_close(back.sh_rest, cloud.sh_rest)
    assert splat_glb_bytes(cloud, "x") == (tmp_path / "a.glb").read_bytes()


def test_incomplete_splats_are_refused(tmp_path: Path) -> None:
    for broken, message in (
        (b"SH_DEGREE_1_COEF_1", "harmonics are not complete"),
        (b"splatting:OPACITY", "refers to number None"),
    ):
        content = splat_glb_bytes(some_splats(1), "x").replace(broken, broken[:-1] + b"9")
        (tmp_path / "a.glb").write_bytes(content)
        with pytest.raises(Gen3DError, match=message):
            read_asset(tmp_path / "a.glb")
    with pytest.raises(ValueError, match="No splats"):
        splat_glb_bytes(some_splats(0, 0), "x")
