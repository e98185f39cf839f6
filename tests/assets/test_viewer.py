from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import trimesh

from gen3d.assets.ply import SplatCloud
from gen3d.assets.viewer import SH_C0, write_viewer
from gen3d.rendering.lighting import studio_shading

HOSTILE = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \" ' & </title> @DATA@ @SCRIPT@"


def splats(count: int) -> SplatCloud:
    generator = torch.Generator().manual_seed(5)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return SplatCloud(
        means=randn(count, 3) * 0.5,
        quats=torch.nn.functional.normalize(randn(count, 4), dim=-1),
        log_scales=randn(count, 3) * 0.3 - 4,
        opacity_logits=randn(count),
        sh_dc=randn(count, 3) * 0.5,
        sh_rest=None,
    )


class Page(HTMLParser):
    """The elements of a page, and the text directly inside each."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.append((self._open[-1], data))

    def text(self, tag: str) -> list[str]:
        return [text for kind, text in self.texts if kind == tag]

    def data(self) -> dict:
        return json.loads(self.text("script")[0])


def unpack(packed: dict, width: int) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(packed["data"]), "<u2").reshape(-1, width)
    low, high = np.array(packed["low"]), np.array(packed["high"])
    return low + steps / 65535 * (high - low)


def test_page_is_self_contained_and_small(tmp_path: Path) -> None:
    write_viewer(tmp_path / "a.html", "a red chair", splats(20_000))
    assert (tmp_path / "a.html").stat().st_size < 1_000_000
    page = Page(tmp_path / "a.html")
    addresses = [(tag, attrs.get("src") or attrs.get("href")) for tag, attrs in page.elements]
    assert [pair for pair in addresses if pair[1]] == [("link", "data:,")]
    assert not any(
        name in page.text("script")[1] for name in ("fetch(", "XMLHttpRequest", "import(", "http://", "https://")
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_data_decodes_to_the_splats(tmp_path: Path) -> None:
    cloud = splats(500)
    write_viewer(tmp_path / "a.html", "x", cloud)
    packed = Page(tmp_path / "a.html").data()["splats"]
    assert packed["count"] == 500
    np.testing.assert_allclose(unpack(packed["means"], 3), cloud.means, atol=1e-4)
    np.testing.assert_allclose(unpack(packed["log_scales"], 3), cloud.log_scales, atol=1e-4)
    rgba = np.frombuffer(base64.b64decode(packed["rgba"]), "u1").reshape(-1, 4) / 255
    np.testing.assert_allclose(rgba[:, :3], (0.5 + SH_C0 * cloud.sh_dc).clamp(0, 1), atol=0.003)
    np.testing.assert_allclose(rgba[:, 3], cloud.opacity_logits.sigmoid(), atol=0.003)
    quats = np.frombuffer(base64.b64decode(packed["quats"]), "i1").reshape(-1, 4).astype(float)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    assert (quats * cloud.quats.numpy()).sum(1).min() > 0.9999


@pytest.mark.parametrize("wide", [False, True])
def test_data_decodes_to_the_mesh(tmp_path: Path, wide: bool) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.6)
    if wide:  # more vertices than 16 bits can number
        mesh = trimesh.Trimesh(np.concatenate([mesh.vertices, np.zeros((65536, 3))]), mesh.faces, process=False)
    colors = np.random.default_rng(0).integers(0, 256, (len(mesh.vertices), 4)).astype(np.uint8)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colors)
    write_viewer(tmp_path / "a.html", "x", splats(3), mesh)
    packed = Page(tmp_path / "a.html").data()["mesh"]
    assert packed["wide"] is wide
    faces = np.frombuffer(base64.b64decode(packed["faces"]), "<u4" if wide else "<u2").reshape(-1, 3)
    np.testing.assert_array_equal(faces, mesh.faces)
    np.testing.assert_allclose(unpack(packed["vertices"], 3), mesh.vertices, atol=1e-4)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(packed["rgb"]), "u1").reshape(-1, 3), colors[:, :3])
    normals = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    lights = torch.tensor(packed["lights"]).view(-1, 4)  # what the page computes of them is the studio lighting
    shaded = packed["ambient"] + ((normals @ lights[:, :3].T).clamp(min=0) * lights[:, 3]).sum(1, keepdim=True)
    torch.testing.assert_close(shaded, studio_shading(normals))


def test_prompt_is_text_and_never_markup(tmp_path: Path) -> None:
    write_viewer(tmp_path / "plain.html", "plain", splats(3))
    write_viewer(tmp_path / "hostile.html", HOSTILE, splats(3))
    plain, hostile = Page(tmp_path / "plain.html"), Page(tmp_path / "hostile.html")
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(attrs) for _, attrs in hostile.elements] == [sorted(attrs) for _, attrs in plain.elements]
    assert hostile.text("script") == plain.text("script")
    assert hostile.text("h1") == [HOSTILE]
    assert hostile.text("title") == [f"{HOSTILE} · gen3d"]


def test_policy_admits_the_one_script(tmp_path: Path) -> None:
    write_viewer(tmp_path / "a.html", HOSTILE, splats(3))
    page = Page(tmp_path / "a.html")
    (policy,) = [attrs["content"] for tag, attrs in page.elements if "http-equiv" in attrs]
    digest = base64.b64encode(hashlib.sha256(page.text("script")[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)


def test_page_is_made_for_schemes_fingers_and_screen_readers(tmp_path: Path) -> None:
    write_viewer(tmp_path / "a.html", "x", splats(3))
    page = Page(tmp_path / "a.html")
    (style,) = page.text("style")
    assert all(f"@media ({name}" in style for name in ("prefers-color-scheme: dark", "pointer: coarse"))
    names = [tag for tag, _ in page.elements]
    assert names.count("main") == 1
    assert names.index("body") + 1 == names.index("main") < names.index("canvas")
    assert page.text("button") == ["Turn", "Reset", "Show mesh"]
    assert not any(" key" in text or "R to" in text for text in page.text("p"))


def test_broken_and_missing_splats(tmp_path: Path) -> None:
    cloud = splats(4)
    cloud.means[1, 0] = float("nan")
    cloud.log_scales[2, 1] = float("inf")
    write_viewer(tmp_path / "a.html", "", cloud)
    page = Page(tmp_path / "a.html")
    assert page.data()["splats"]["count"] == 2
    assert page.text("h1") == ["untitled"]
    write_viewer(tmp_path / "b.html", "empty", splats(0))
    assert Page(tmp_path / "b.html").data()["splats"]["count"] == 0
    with pytest.raises(ValueError, match="'quats' has the shape"):
        write_viewer(tmp_path / "c.html", "x", SplatCloud(**{**vars(cloud), "quats": torch.zeros(4, 3)}))
    assert not (tmp_path / "c.html").exists()


def test_same_input_same_bytes(tmp_path: Path) -> None:
    write_viewer(tmp_path / "a.html", "a", splats(50))
    write_viewer(tmp_path / "b.html", "a", splats(50))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "viewer.py"
    spec = importlib.util.spec_from_file_location("viewer_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None or sys.platform == "win32", reason="no chromium on PATH or in CHROMIUM")
def test_it_works_in_a_browser(tmp_path: Path) -> None:
    """A lump of splats on a mesh of its shape: drawn, turned, zoomed, switched and drawn again after its context was
    lost, by day, by night and on a phone; and a page that fails is noticed.
    """
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    mesh.vertices *= [1.0, 0.6, 0.8]
    colors = np.where(mesh.vertices[:, :1] > 0, [[200, 40, 30, 255]], [[40, 60, 200, 255]]).astype(np.uint8)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colors)
    points = torch.from_numpy(np.array(mesh.vertices)).float()
    cloud = SplatCloud(
        means=points,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(len(points), 1),
        log_scales=torch.full((len(points), 3), -4.1),
        opacity_logits=torch.full((len(points),), 3.0),
        sh_dc=(torch.from_numpy(colors[:, :3]).float() / 255 - 0.5) / SH_C0,
        sh_rest=None,
    )
    write_viewer(tmp_path / "good.html", HOSTILE, cloud, mesh, trained_size=512)
    write_viewer(
        tmp_path / "empty.html", "empty", SplatCloud(*(part[:0] for part in list(vars(cloud).values())[:5]), None)
    )
    broken = (tmp_path / "good.html").read_text("utf-8").replace("WebGL2", "WebGL 2")  # the policy then refuses it
    (tmp_path / "broken.html").write_text(broken, "utf-8")
    module = benchmark()
    assert CHROMIUM is not None
    found = {}
    for name in ("good", "empty", "broken"):
        with module.Browser(CHROMIUM) as browser:
            try:
                found[name], _ = module.check(browser, tmp_path / f"{name}.html", None)
            except RuntimeError as error:
                found[name] = [str(error)]
    assert found["good"] == []
    assert any("cover 0.0%" in reason for reason in found["empty"])
    assert any("Security Policy" in reason for reason in found["broken"])
