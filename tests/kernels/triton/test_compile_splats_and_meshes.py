"""Every launch of the Triton kernels compiles for an H100, without one: that they are interpreted does not say so."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gen3d.geometry.cameras import Cameras, orbit

pytest.importorskip("triton")

MODULES = ("splats_project", "splats_composite", "mesh_raster", "surface_points", "surface_edges")
TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64"}


def launch_all() -> None:
    """Launches each kernel: with ordinary sizes, and with those of one, which Triton compiles apart as constants."""
    from gen3d.kernels.triton import mesh, surface
    from gen3d.rendering.splats import rasterize_gaussians

    for count, views, width, height in ((3, 2, 20, 18), (1, 1, 1, 1)):
        cameras = orbit(torch.zeros(views), 10.0, 18)
        cameras = Cameras(cameras.c2w, cameras.intrinsics, width, height)
        parameters = [torch.full((count, size), 0.5).requires_grad_() for size in (3, 4, 3, 3)]
        for shape in ((count, 3), (views, count, 3)):
            colors = parameters[3].expand(shape)
            image = rasterize_gaussians(*parameters[:3], parameters[0][:, 0], colors, cameras, backend="triton").rgb
            image.sum().backward()
        mesh.probe(torch.device("cpu"))
        surface.probe(torch.device("cpu"))


def record(file: str) -> None:
    """Writes the launches of `launch_all`: what each argument is for the compiler. It runs in the interpreter."""
    from triton.runtime.interpreter import InterpretedFunction

    launches: list[dict[str, Any]] = []
    run = InterpretedFunction.run

    def noted(self: Any, *args: Any, grid: Any, warmup: Any, **kwargs: Any) -> Any:
        constants = {name for name, kind in self.fn.__annotations__.items() if "constexpr" in str(kind)}
        values = dict(zip(self.arg_names, args, strict=False)) | {
            k: v for k, v in kwargs.items() if k in self.arg_names
        }
        any_size = self.kwargs.get("do_not_specialize") or ()
        arguments = {}
        for name in self.arg_names:
            value = values[name]
            if isinstance(value, torch.Tensor):
                arguments[name] = TYPES[value.dtype]
            elif name in constants or (type(value) is int and value == 1 and name not in any_size):
                arguments[name] = value
            else:
                arguments[name] = "fp32" if isinstance(value, float) else "i32"
        module = self.fn.__module__.rpartition(".")[2]
        launch = {
            "module": module,
            "name": self.fn.__name__,
            "arguments": arguments,
            "warps": kwargs.get("num_warps", 4),
        }
        if launch not in launches:
            launches.append(launch)
        return run(self, *args, grid=grid, warmup=warmup, **kwargs)

    InterpretedFunction.run = noted
    try:
        launch_all()
    finally:
        InterpretedFunction.run = run
    Path(file).write_text(json.dumps(launches))


@pytest.mark.slow
@pytest.mark.skipif(
    torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1", reason="compiled, or interpreted, anyway"
)
def test_every_launch_compiles_for_an_h100(interpreter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    assert interpreter.ask(Path(__file__), "record", {"file": str(tmp_path / "launches.json")}) == ""
    launches = json.loads((tmp_path / "launches.json").read_text())
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    compiled = set()
    for launch in launches:
        module = importlib.import_module(f"gen3d.kernels.triton.{launch['module']}")
        kernel, arguments = getattr(module, launch["name"]), launch["arguments"]
        signature = {name: kind if isinstance(kind, str) else "constexpr" for name, kind in arguments.items()}
        constants = {
            (place,): value for place, value in enumerate(arguments.values()) if not isinstance(value, str)
        }  # fmt: skip
        binary = triton.compile(
            ASTSource(fn=kernel, signature=signature, constexprs=constants),
            target=GPUTarget("cuda", 90, 32),
            options={"num_warps": launch["warps"]},
        )
        assert binary.asm["cubin"]
        compiled.add((launch["module"], launch["name"]))
    for name in MODULES:
        module = importlib.import_module(f"gen3d.kernels.triton.{name}")
        own = {key for key, value in vars(module).items() if isinstance(value, triton.JITFunction)}
        kernels = {key for key in own if getattr(module, key).__module__ == module.__name__ and key[0] != "_"}
        assert kernels == {key for part, key in compiled if part == name}
