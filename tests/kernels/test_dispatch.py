"""Kernels are chosen by where tensors are, and a library that cannot be trusted is left alone."""

from __future__ import annotations

import logging
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from gen3d.config.schema import KernelsConfig
from gen3d.config.section import settings_of
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.kernels import dispatch
from gen3d.kernels import nvdiffrast as surface_nvdiffrast
from gen3d.kernels.cpu import library as native
from gen3d.kernels.reference import splats as reference
from gen3d.kernels.triton import checks
from gen3d.rendering.splats import rasterize_gaussians
from tests.kernels.test_nvdiffrast import ClipSpace

FUNCTIONS = {
    "splat": ["rasterize"],
    "surface": ["interpolate", "shade", "antialias"],
    "raster": ["rasterize"],
    "composite": ["composite"],
    "march": ["march"],
    "lattice": ["grid_encode", "triplane_encode"],
    "hash": ["hash_encode", "hash_encode_jacobian"],
}
needs_kernels = pytest.mark.skipif(native.library() is None, reason="no native kernels")


def some(device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(3, 3, device=device, dtype=dtype), torch.zeros(1, 3, 2, device=device, dtype=dtype)


@pytest.mark.parametrize("operation", dispatch.OPERATIONS)
def test_every_backend_has_the_functions_of_its_operation(operation: str) -> None:
    assert dispatch.OPERATIONS[operation][-1].usable(some())
    for backend in dispatch.OPERATIONS[operation]:
        if backend.name == "triton":
            pytest.importorskip("triton")
        module = backend.load()
        assert all(callable(getattr(module, name)) for name in FUNCTIONS[operation])
        if backend.name not in ("native", "torch"):
            assert callable(module.probe)


@needs_kernels
@pytest.mark.parametrize("operation", dispatch.OPERATIONS)
def test_the_cpu_computes_float32_natively(operation: str) -> None:
    assert dispatch.choose(operation, *some()).name == "native"
    assert dispatch.choose(operation, *some(dtype=torch.float64)).name == "torch"
    assert dispatch.choose(operation, *some(), backend="torch").name == "torch"
    troubles = dispatch.troubles(operation, "cpu")
    assert [name for name, trouble in troubles.items() if trouble is None] == ["native", "torch"]
    assert {trouble for trouble in troubles.values() if trouble} <= {"takes CUDA tensors only"}


@needs_kernels
def test_hash_grids_of_unusual_width_are_left_to_torch() -> None:
    assert dispatch.choose("hash", torch.zeros(3, 3), torch.zeros(1, 3, 5)).name == "torch"


@pytest.mark.parametrize("operation", dispatch.OPERATIONS)
def test_on_cuda_torch_stands_in_for_libraries_that_do_not_work(operation: str, pretended_cuda: None) -> None:
    assert dispatch.choose(operation, *some("cuda:0")).name == "torch"
    troubles = dispatch.troubles(operation, "cuda:1")
    assert troubles.popitem() == ("torch", None)
    assert troubles.pop("native") == "takes CPU tensors only"
    assert all(trouble.startswith("probe failed: RuntimeError: data_ptr() was asked") for trouble in troubles.values())


@pytest.mark.parametrize(
    ("operation", "name"), [("splat", "gsplat"), ("surface", "nvdiffrast"), ("composite", "nerfacc")]
)
def test_a_library_that_works_is_preferred_on_cuda(
    operation: str, name: str, pretended_cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(module: str, device: torch.device) -> str | None:
        return None if module == f"gen3d.kernels.{name}" and device == torch.device("cuda:1") else "broken"

    defect.cache_clear = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(dispatch, "defect", defect)
    assert dispatch.choose(operation, *some("cuda:1")).name == name
    assert dispatch.choose(operation, *some("cuda:0")).name == "torch"
    assert dispatch.choose(operation, *some("cuda:1", torch.float64)).name == "torch"


@pytest.mark.parametrize("kind", [ImportError, RuntimeError, AttributeError, OSError, AssertionError])
def test_whatever_a_probe_raises_is_an_answer(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[torch.device] = []

    def probe(device: torch.device) -> None:
        asked.append(device)
        raise kind("no nvcc\nand a long log")

    monkeypatch.setitem(sys.modules, "broken_kernels", SimpleNamespace(probe=probe))
    dispatch.defect.cache_clear()
    with caplog.at_level(logging.INFO, logger="gen3d"):
        found = {dispatch.defect("broken_kernels", torch.device("cpu")) for _ in range(3)}
    dispatch.defect.cache_clear()
    assert found == {f"probe failed: {kind.__name__}: no nvcc"}
    assert asked == [torch.device("cpu")]
    assert caplog.messages == [f"broken_kernels does not work on cpu ({kind.__name__}: no nvcc)."]


def test_a_probe_that_computes_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(device: torch.device) -> None:
        torch.ones(1, device=device, requires_grad=True).sum().backward()

    monkeypatch.setitem(sys.modules, "fine_kernels", SimpleNamespace(probe=probe))
    dispatch.defect.cache_clear()
    with torch.no_grad():
        assert dispatch.defect("fine_kernels", torch.device("cpu")) is None
    dispatch.defect.cache_clear()


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dispatch.defect("gen3d.kernels.no_such_kernels", torch.device("cpu")) == "not installed"

    def needs_another(device: torch.device) -> None:
        import no_such_package_of_gen3d.part  # noqa: F401

    monkeypatch.setitem(sys.modules, "kernels_that_need_another", SimpleNamespace(probe=needs_another))
    found = dispatch.defect("kernels_that_need_another", torch.device("cpu"))
    dispatch.defect.cache_clear()
    assert found == "needs the package no_such_package_of_gen3d"
    missing = dispatch.Backend("metal", "gen3d.kernels.no_such_kernels", dispatch.anywhere)
    with pytest.raises(UsageError, match="backend 'metal' needs the package"):
        missing.load()


def test_a_forced_backend_is_taken_where_it_can_be() -> None:
    cpu = torch.device("cpu")
    with dispatch.forcing("torch", cpu):
        assert {dispatch.choose(operation, *some()).name for operation in dispatch.OPERATIONS} == {"torch"}
        with dispatch.forcing("nerfacc", cpu):
            assert dispatch.choose("composite", *some()).name == "nerfacc"
            assert dispatch.choose("composite", *some(), backend="torch").name == "torch"
            assert dispatch.choose("composite", *some(dtype=torch.float64)).name == "torch"
            assert dispatch.choose("march", *some()).name != "nerfacc"
        assert dispatch.choose("composite", *some()).name == "torch"
        with dispatch.forcing("nerfacc", torch.device("cuda", 0)):
            assert dispatch.choose("composite", *some()).name != "nerfacc"
        with dispatch.forcing("auto", cpu):
            assert dispatch.choose("composite", *some()).usable(some())
    assert dispatch._forced.get() is None


def test_the_setting_names_all_backends() -> None:
    known = {backend.name for backends in dispatch.OPERATIONS.values() for backend in backends}
    assert set(settings_of(KernelsConfig)["backend"].choices) == known | {"auto"}


def test_forcing_is_for_one_thread() -> None:
    seen: list[object] = []
    with dispatch.forcing("torch", torch.device("cpu")):
        thread = threading.Thread(target=lambda: seen.append(dispatch._forced.get()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_a_backend_that_cannot_be_forced_is_refused_with_its_reason(pretended_cuda: None) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert dispatch.check_forced("auto", cuda) == []
    assert dispatch.check_forced("torch", cuda) == []
    with pytest.raises(UsageError, match=r"'native', which cannot compute .* on cuda:0 \(takes CPU tensors only\)"):
        dispatch.check_forced("native", cuda)
    with pytest.raises(UsageError, match=r"'nerfacc', which cannot compute the operation 'composite' on cuda:0 \("):
        dispatch.check_forced("nerfacc", cuda)
    for name in ("nerfacc", "triton"):
        with pytest.raises(UsageError, match=f"'{name}', which computes on CUDA and cannot compute on cpu: leave it"):
            dispatch.check_forced(name, cpu)


@needs_kernels
def test_operations_without_a_forced_backend_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dispatch.check_forced("native", torch.device("cpu")) == []
    monkeypatch.setattr(dispatch, "defect", lambda module, device: None)
    assert dispatch.check_forced("nerfacc", torch.device("cpu")) == [
        operation for operation in dispatch.OPERATIONS if operation != "composite"
    ]


@pytest.mark.parametrize(("operation", "module"), [("splat", "splats"), ("surface", "surface"), ("raster", "mesh")])
def test_triton_is_taken_on_cuda_where_it_works_and_no_library_does(
    operation: str, module: str, pretended_cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(name: str, device: torch.device) -> str | None:
        return None if name == f"gen3d.kernels.triton.{module}" else "broken"

    defect.cache_clear = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(dispatch, "defect", defect)
    assert dispatch.choose(operation, *some("cuda:0")).name == "triton"
    assert dispatch.choose(operation, *some("cuda:0", torch.float64)).name == "torch"


@pytest.mark.skipif(checks.INTERPRETED, reason="the interpreter is everywhere")
def test_triton_refuses_the_cpu() -> None:
    pytest.importorskip("triton")
    vertices, faces, projections = torch.zeros(3, 3), torch.zeros(1, 3).int(), torch.zeros(1, 3, 4).double()
    with pytest.raises(UsageError, match="Triton raster kernels take tensors on CUDA, not on cpu; use the raster"):
        dispatch.kernels("raster", backend="triton").rasterize(vertices, faces, projections, 4, 4, 1e-3)
    cameras = orbit(torch.tensor([0.0]), 10.0, 4)
    with pytest.raises(UsageError, match="Triton splat kernels take tensors on CUDA"):
        rasterize_gaussians(vertices, torch.zeros(3, 4), vertices, vertices[0], vertices, cameras, backend="triton")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UsageError, match="splat backend 'metal' is unknown; use auto, native, gsplat, triton or torch"):
        dispatch.choose("splat", *some(), backend="metal")
    with pytest.raises(UsageError, match="march backend 'gsplat' is unknown; use auto, native, triton or torch"):
        dispatch.choose("march", *some(), backend="gsplat")


def test_triton_takes_the_cpu_in_its_interpreter_only() -> None:
    pytest.importorskip("triton")
    rays, cells = torch.zeros(1, 3), torch.ones(4, 4, 4, dtype=torch.bool)
    kernels = dispatch.kernels("march", rays, backend="triton")
    with pytest.raises(UsageError, match="take tensors on CUDA, not on cpu; use the march backend 'auto'"):
        kernels.march(rays, rays, cells, cells, 0.1, torch.zeros(1))


def test_libraries_for_cuda_refuse_the_cpu() -> None:
    opacity, offsets = torch.zeros(2), torch.tensor([0, 2])
    kernels = dispatch.kernels("composite", opacity, backend="nerfacc")
    with pytest.raises(UsageError, match="nerfacc takes CUDA tensors only, not cpu"):
        kernels.composite(opacity, torch.zeros(2, 1), offsets, False)


class Gsplat(ModuleType):
    """gsplat's `rasterization` as its manual states it, by our own formulas."""

    @staticmethod
    def rasterization(**arguments: Any) -> Any:
        viewmats = arguments["viewmats"]
        flip = viewmats.new_tensor([1.0, -1.0, -1.0, 1.0])
        c2w = torch.linalg.inv(viewmats) * flip
        cameras = Cameras(c2w, arguments["Ks"], arguments["width"], arguments["height"])
        means = arguments["means"]
        grads, seen = torch.zeros_like(means[:, 0]), torch.zeros_like(means[:, 0]).int()
        gaussians = [arguments[name] for name in ("means", "quats", "scales", "opacities", "colors")]
        rgb, alpha, depth = reference.rasterize(*gaussians, cameras, grads, seen)
        radii = (seen[None, :, None] > 0).int().expand(len(viewmats), -1, 2)
        return torch.cat([rgb, depth], -1), alpha, {"means2d": means[None, :, :2] * 1.0, "radii": radii}


def test_gsplat_is_asked_for_what_torch_draws(pretended_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", Gsplat("gsplat"))
    generator = torch.Generator().manual_seed(0)
    means, quats, colors = (torch.rand(5, size, generator=generator).to("cuda:0") for size in (3, 4, 3))
    scales, opacities = 0.2 * torch.ones_like(means), 0.5 * torch.ones_like(means[:, 0])
    cameras = orbit(torch.tensor([0.0, 120.0]), 10.0, 12)
    drawn = [
        rasterize_gaussians(means.requires_grad_(), quats, scales, opacities, colors, cameras, backend=backend)
        for backend in ("gsplat", "torch")
    ]
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(drawn[0], name).cpu(), getattr(drawn[1], name).cpu())
    assert torch.equal(drawn[0].views_seen.cpu() > 0, drawn[1].views_seen.cpu() > 0)
    dispatch.OPERATIONS["splat"][1].load().probe(torch.device("cuda:1"))


def test_the_probe_of_nvdiffrast_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface_nvdiffrast, "load", lambda vertices: ClipSpace)
    surface_nvdiffrast.probe(torch.device("cpu"))
