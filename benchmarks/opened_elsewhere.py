"""gen3d's files in the programs of its users: `python benchmarks/opened_elsewhere.py RUN... --out DIR`.

A run is a folder with mesh.glb and splats.ply; the OBJ and the GLB of splats are made of them. In its place may stand
a mesh (GLB, OBJ), which gen3d converts to its formats first. Each file is opened in
every program that is found, and what that says and shows is held against gen3d's own numbers and pictures: silhouettes
(intersection over union), whether it stands upright, and the mean colour. Exit code 1 where something differs.

Programs: Khronos' gltf-validator, three.js, <model-viewer>, Spark and PlayCanvas' splat-transform
(`npm install gltf-validator three @google/model-viewer @sparkjsdev/spark @playcanvas/splat-transform`, then `--node
FOLDER/node_modules`, and Chromium); trimesh, Open3D, MeshLab and Blender as modules of the Python that `--python`
names (`pip install trimesh open3d pymeshlab bpy`, best in an environment of its own); PrusaSlicer and ADMesh.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from elsewhere.served import HOSTS, served
from PIL import Image
from scipy import ndimage
from validate_glb import issues
from viewer import Browser

from gen3d.assets.convert import ConvertOptions, convert
from gen3d.assets.drawing import MeshViews, scene_of
from gen3d.assets.framing import framed
from gen3d.assets.glb import write_glb
from gen3d.assets.load import connected
from gen3d.assets.read import read_asset
from gen3d.assets.splat_cloud import SplatCloud
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.geometry.cameras import DEFAULT_FOV, Cameras, orbit
from gen3d.representations.pictures import views_of

SIZE = 512
BACKGROUND = np.array([255, 0, 255], np.uint8)
NOTICEABLE = 40  # steps of 255 from the background
EDGE = 3  # pixels inside of an outline that colours are compared from
MIN_AGREEMENT, MAX_COLOR, MAX_LIT_COLOR = 0.95, 3.0, 40.0
SETTLING = 6.0  # seconds until SuperSplat's viewer has sorted and drawn
REPAIRS = ("Degenerate facets", "Facets removed", "Facets added", "Facets reversed", "Backwards edges")
WITHOUT_CONTROLS = """
document.querySelectorAll('body > *:not(canvas):not(script)').forEach(e => e.querySelector('canvas') || e.remove())
"""
SHOWN = ("triangles", "extents", "splats", "textures")
HERE = Path(__file__).parent


@dataclass
class Line:
    """What one program makes of one file."""

    file: str
    program: str
    said: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = [f"{name} {_short(value)}" for name, value in self.said.items() if value is not None]
        return f"| {self.file} | {self.program} | {', '.join(words)} | {'; '.join(self.wrong) or 'right'} |"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return " × ".join(_short(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


class Truth:
    """Numbers and pictures of the file by gen3d itself."""

    def __init__(self, path: Path, camera: Cameras) -> None:
        self.path, self.asset = path, read_asset(path)
        if isinstance(self.asset, SplatCloud):
            views = views_of(scene_of(self.asset, SIZE), camera)
            self.rgba = torch.cat([views.rgb, views.alpha], -1)[0].numpy()
        else:
            unlit = tuple(replace(material, unlit=True) for material in self.asset.materials)
            self.rgba = MeshViews(replace(self.asset, materials=unlit))(camera)[0].numpy()
            self.whole: trimesh.Trimesh = connected(self.asset)

    @property
    def picture(self) -> np.ndarray:
        """[H, W, 3] uint8, before the background."""
        over = self.rgba[..., :3] + (1 - self.rgba[..., 3:]) * (BACKGROUND / 255)
        return np.round(over.clip(0, 1) * 255).astype(np.uint8)

    def against_numbers(self, line: Line) -> None:
        """Notes which numbers of a program are not those of the mesh. Programs count parts and triangles without area
        of a mesh that is not closed in ways of their own.
        """
        mesh, said, exact = self.whole, line.said, bool(self.whole.is_volume)
        wanted = {
            "triangles": len(mesh.faces), "closed": bool(mesh.is_watertight), "euler": int(mesh.euler_number),
            "parts": int(mesh.body_count),
        }  # fmt: skip
        for name, value in wanted.items():
            if exact and said.get(name) is not None and said[name] != value:
                line.wrong.append(f"{name} {_short(said[name])} instead of {_short(value)}")
        if said.get("extents") is not None and not np.allclose(said["extents"], mesh.extents, atol=1e-4):
            line.wrong.append(f"extents {_short(said['extents'])} instead of {_short(mesh.extents.tolist())}")

    def against_picture(self, line: Line, shown: np.ndarray, most: float = MAX_COLOR) -> None:
        """Compares outlines and colours [H, W, 3] uint8."""
        own, other = _outline(self.picture), _outline(shown)
        agreement, upset = _overlap(own, other), _overlap(own[::-1], other)
        inner = ndimage.binary_erosion(own & other, iterations=EDGE)
        colors = [picture[inner].astype(float) for picture in (self.picture, shown)]
        away = float(np.abs(colors[0].mean(0) - colors[1].mean(0)).max()) if inner.any() else float("inf")
        line.said |= {"IoU": round(agreement, 3), "upright": agreement > upset, "mean colour off by": round(away, 1)}
        if agreement < MIN_AGREEMENT or agreement <= upset:
            line.wrong.append(f"IoU {agreement:.3f}, upside down {upset:.3f}")
        if away > most:
            line.wrong.append(f"mean colour off by {away:.1f} of 255")


def _outline(picture: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.abs(picture.astype(int) - BACKGROUND).max(-1) > NOTICEABLE
    return found


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


class Elsewhere:
    """The programs that are there."""

    def __init__(self, node: Path | None, python: Path | None, out: Path) -> None:
        self.node, self.python, self.out = node, python, out
        self.chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        self.camera = orbit(torch.tensor([30.0]), 20.0, SIZE)
        self.view = {"position": self.camera.positions[0].tolist(), "fov": DEFAULT_FOV, "size": SIZE}

    def module(self, name: str) -> Path | None:
        """The folder of a package of node."""
        found = None if self.node is None or shutil.which("node") is None else self.node / name
        return found if found is not None and found.is_dir() else None

    def version(self, name: str) -> str:
        folder = self.module(name)
        assert folder is not None
        return str(json.loads((folder / "package.json").read_text())["version"])

    def missing(self) -> list[str]:
        names = ["gltf-validator", "three", "@google/model-viewer", "@sparkjsdev/spark", "@playcanvas/splat-transform"]
        missing = [name for name in names if self.module(name) is None]
        missing += [] if self.chromium else ["chromium"]
        missing += [name for name in ("prusa-slicer", "admesh") if shutil.which(name) is None]
        return missing + ([] if self.python else ["a Python with trimesh, open3d, pymeshlab and bpy"])

    def save(self, truth: Truth, program: str, picture: np.ndarray) -> None:
        pair = np.concatenate([truth.picture, picture], 1)
        Image.fromarray(pair).save(self.out / f"{truth.path.stem}-{truth.path.suffix[1:]}-{program}.png")

    def validated(self, truth: Truth) -> Iterator[Line]:
        if (folder := self.module("gltf-validator")) is None:
            return
        report = issues(truth.path, folder)
        line = Line(truth.path.name, f"glTF validator {self.version('gltf-validator')}")
        line.said = {"errors": report["numErrors"], "warnings": report["numWarnings"]}
        if report["numErrors"] or report["numWarnings"]:
            line.wrong = sorted({message["code"] for message in report["messages"]})
        if report["unknown"]:
            line.said["attributes of splats that it does not know"] = report["unknown"]
        yield line

    def in_browser(self, truth: Truth, names: dict[str, str]) -> Iterator[Line]:
        """names: which of the page's programs, and which package each is of."""
        wanted = {name: package for name, package in names.items() if self.module(package)}
        if self.chromium is None or not wanted:
            return
        assert self.node is not None
        with served(node=self.node, page=HERE / "elsewhere", files=truth.path.parent) as address:
            for name, package in wanted.items():
                line = Line(truth.path.name, f"{package} {self.version(package)}")
                with Browser(self.chromium, HOSTS) as browser:
                    size = {"width": SIZE, "height": SIZE, "deviceScaleFactor": 1, "mobile": False}
                    browser.call("Emulation.setDeviceMetricsOverride", **size)
                    browser.open(f"{address}/page/page.html")
                    words = f"'{name}', '/files/{truth.path.name}', {json.dumps(self.view)}"
                    try:
                        answer = browser.call(
                            "Runtime.evaluate", expression=f"show({words})", awaitPromise=True, returnByValue=True
                        )
                    except TimeoutError as error:
                        line.wrong.append(str(error))
                        yield line
                        continue
                    if "exceptionDetails" in answer:
                        line.wrong.append(_reason(answer["exceptionDetails"]))
                        yield line
                        continue
                    said = answer["result"]["value"]
                    line.said = {name: said[name] for name in SHOWN if name in said}
                    picture = browser.picture()
                self.save(truth, name, picture)
                if isinstance(truth.asset, SplatCloud):
                    if line.said.get("splats") not in (None, len(truth.asset.means)):
                        line.wrong.append(f"it has {len(truth.asset.means)} splats")
                else:
                    truth.against_numbers(line)
                truth.against_picture(line, picture, MAX_LIT_COLOR if name == "model-viewer" else MAX_COLOR)
                yield line

    def in_python(self, truth: Truth) -> Iterator[Line]:
        if self.python is None:
            return
        for program in ("trimesh", "open3d", "pymeshlab", "blender"):
            picture = self.out / "blender.png"
            more = [str(picture), json.dumps(self.view)] if program == "blender" else []
            run = subprocess.run(
                [self.python, HERE / "elsewhere" / "in_python.py", program, truth.path, *more],
                capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": ""},
            )  # fmt: skip
            line = Line(truth.path.name, program)
            if run.returncode:
                line.wrong.append((run.stderr.strip().splitlines() or ["it died"])[-1][:120])
                yield line
                continue
            line.said = json.loads(run.stdout.strip().splitlines()[-1])
            line.program = f"{program} {line.said.pop('version')}".strip()
            truth.against_numbers(line)
            if program == "blender":
                rgba = np.asarray(Image.open(picture).convert("RGBA")).astype(float)
                alpha = rgba[..., 3:] / 255
                shown = np.round(rgba[..., :3] * alpha + (1 - alpha) * BACKGROUND).astype(np.uint8)
                picture.unlink()
                self.save(truth, program, shown)
                truth.against_picture(line, shown)
            yield line

    def sliced(self, truth: Truth) -> Iterator[Line]:
        if shutil.which("prusa-slicer") is None:
            return
        text = _output("prusa-slicer", "--info", truth.path)
        found = dict(re.findall(r"(\w+) = +(\S+)", text))
        version = re.search(r"PrusaSlicer-([\d.]+)", _output("prusa-slicer", "--help"))
        line = Line(truth.path.name, f"PrusaSlicer {version[1] if version else ''}")
        line.said = {
            "triangles": int(found["number_of_facets"]), "closed": found["manifold"] == "yes",
            "parts": int(found["number_of_parts"]), "extents": [float(found[f"size_{axis}"]) for axis in "xyz"],
            "open edges": int(found.get("open_edges", 0)), "volume": float(found["volume"]),
        }  # fmt: skip
        truth.against_numbers(line)
        yield line
        if shutil.which("admesh") is None:
            return
        stl = self.out / f"{truth.path.stem}.stl"
        _output("prusa-slicer", "--export-stl", "--output", stl, truth.path)
        text = _output("admesh", stl)
        stl.unlink(missing_ok=True)
        checked = {name: int(re.findall(rf"{name} +: +(\d+)", text)[0]) for name in REPAIRS}
        parts = int(re.findall(r"Number of parts +: +(\d+)", text)[0])
        version = re.search(r"version ([\d.]+)", text)
        line = Line(truth.path.name, f"ADMesh {version[1] if version else ''} (of PrusaSlicer's STL)")
        line.said = {"parts": parts, **{name.lower(): value for name, value in checked.items()}}
        if truth.whole.is_volume:  # others have gaps of their own
            line.wrong = [f"{value} {name.lower()}" for name, value in checked.items() if value]
        yield line

    def transformed(self, truth: Truth) -> Iterator[Line]:
        """The splats after splat-transform has read and written them, read by gen3d again."""
        if (folder := self.module("@playcanvas/splat-transform")) is None:
            return
        for ending in (".ply", ".compressed.ply", ".glb"):
            there = self.out / f"transformed{ending}"
            _output("node", folder / "bin" / "cli.mjs", "-w", truth.path, there)
            back = Truth(there, self.camera)
            there.unlink()
            assert isinstance(back.asset, SplatCloud)
            line = Line(truth.path.name, f"splat-transform {self.version('@playcanvas/splat-transform')} → {ending}")
            line.said = {"splats": len(back.asset.means)}
            self.save(truth, f"transformed{ending.replace('.', '-')}", back.picture)
            truth.against_picture(line, back.picture)
            yield line

    def in_supersplat(self, truth: Truth) -> Iterator[Line]:
        """The splats in SuperSplat's viewer, which splat-transform writes as a page."""
        folder = self.module("@playcanvas/splat-transform")
        if folder is None or self.chromium is None:
            return
        settings, page = self.out / "supersplat.json", self.out / "supersplat.html"
        camera = {"fov": DEFAULT_FOV, "position": self.view["position"], "target": [0, 0, 0], "startAnim": "none"}
        color = (BACKGROUND / 255).tolist()
        settings.write_text(json.dumps({"camera": camera, "background": {"color": color}}))
        _output("node", folder / "bin" / "cli.mjs", "-w", truth.path, "-E", settings, page)
        version = self.version("@playcanvas/splat-transform")
        line = Line(truth.path.name, f"SuperSplat's viewer (splat-transform {version})")
        with Browser(self.chromium) as browser:
            size = {"width": SIZE, "height": SIZE, "deviceScaleFactor": 1, "mobile": False}
            browser.call("Emulation.setDeviceMetricsOverride", **size)
            browser.open(f"{page.resolve().as_uri()}?noanim")  # it would turn the splats round
            time.sleep(SETTLING)
            browser.value(WITHOUT_CONTROLS)
            picture = browser.picture()
        settings.unlink()
        page.unlink()
        self.save(truth, "supersplat", picture)
        truth.against_picture(line, picture)
        yield line


def _reason(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description", details["text"])).splitlines()[0]


def _output(*words: object) -> str:
    run = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300)
    return run.stdout + run.stderr


def files_of(run: Path, out: Path) -> dict[str, Path]:
    """A run's files, or a mesh's in gen3d's formats, each under its name, in `out`."""
    name = run.stem if run.is_file() else run.resolve().name.partition("@")[0]
    files = {ending: out / f"{name}{ending}" for ending in (".glb", ".ply", ".obj", ".splats.glb")}
    if run.is_file():
        surface = framed(read_asset(run))[0]  # into the views
        assert isinstance(surface, SurfaceMesh)
        write_glb(files[".glb"], surface, name)
        convert(files[".glb"], files[".ply"], ConvertOptions(count=6000))
    else:
        shutil.copy(run / "mesh.glb", files[".glb"])
        shutil.copy(run / "splats.ply", files[".ply"])
    convert(files[".glb"], files[".obj"], ConvertOptions())
    convert(files[".ply"], files[".splats.glb"], ConvertOptions(splats=True))
    return files


def lines_of(run: Path, programs: Elsewhere) -> Iterator[Line]:
    files = files_of(run, programs.out)
    mesh = Truth(files[".glb"], programs.camera)
    yield from programs.validated(mesh)
    yield from programs.in_browser(mesh, {"gltf": "three", "model-viewer": "@google/model-viewer"})
    yield from programs.in_python(mesh)
    model = Truth(files[".obj"], programs.camera)
    yield from programs.in_browser(model, {"obj": "three"})
    yield from programs.in_python(model)
    yield from programs.sliced(model)
    splats = Truth(files[".ply"], programs.camera)
    yield from programs.in_browser(splats, {"spark": "@sparkjsdev/spark"})
    yield from programs.in_supersplat(splats)
    yield from programs.transformed(splats)
    yield from programs.validated(Truth(files[".splats.glb"], programs.camera))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders with mesh.glb and splats.ply, or meshes"
    )
    parser.add_argument("--out", type=Path, default=Path("opened_elsewhere"), help="folder for files and pictures")
    parser.add_argument("--node", type=Path, help="the folder node_modules")
    parser.add_argument("--python", type=Path, help="the interpreter of an environment with the modules")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    programs = Elsewhere(options.node, options.python, options.out)
    if missing := programs.missing():
        print(f"Not found: {', '.join(missing)}.")
    print("| File | Program | What it says and shows | |\n|---|---|---|---|")
    failed = 0
    for run in options.runs:
        for line in lines_of(run, programs):
            print(line, flush=True)
            failed += bool(line.wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
