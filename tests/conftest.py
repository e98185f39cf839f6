"""A tiny shape prior of the real classes: its codes are spheres of several sizes and colours."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job ignores interrupts and hands that on; the tests of Ctrl-C need them.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers of pytest-xdist share the cores: each, and each process that it starts, computes with one thread.
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from gen3d.encoders.minilm import FEATURES
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.priors.concepts import Concepts
from gen3d.priors.decoder import FieldDecoder
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.priors.linear_code import COLOR_GRID, DISTANCE_GRID, DISTANCE_RANGE, LinearCode, surface_grids
from gen3d.priors.shape_prior import ShapePrior, TrainingObjects
from tests.pretended_device import PretendedCuda


class FixedText:
    """A text encoder that knows two words; everything else is noise made of the letters."""

    def encode(self, texts: list[str], batch_size: int = 128) -> torch.Tensor:
        rows = []
        for text in texts:
            generator = torch.Generator().manual_seed(sum(text.encode()) + 1000 * ("red" in text))
            rows.append(torch.nn.functional.normalize(torch.randn(FEATURES, generator=generator), dim=0))
        return torch.stack(rows)


def sphere_distances(radius: float) -> torch.Tensor:
    axis = (torch.arange(DISTANCE_GRID) + 0.5) * (2 / DISTANCE_GRID) - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return ((x**2 + y**2 + z**2).sqrt() - radius).clamp(-DISTANCE_RANGE, DISTANCE_RANGE).flatten()


def sphere_cloud(radius: float, points: int = 1500) -> SurfaceCloud:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(1, points, 3, generator=generator), dim=-1)
    area = 4 * torch.pi * radius**2
    colors = torch.tensor([0.8, 0.3, 0.2]).expand(1, points, 3)
    return SurfaceCloud(directions * radius, torch.full((1, points), area / points), colors)


@pytest.fixture(scope="session")
def tiny_prior() -> ShapePrior:
    """A prior of spheres, shared: leave it as it is, on the CPU."""
    return build_prior()


@pytest.fixture
def make_prior() -> Callable[[], ShapePrior]:
    """Makes priors like `tiny_prior`, which may be moved."""
    return build_prior


def build_prior() -> ShapePrior:
    radii = [0.4, 0.5, 0.6, 0.7]
    distances = torch.stack([sphere_distances(radius) for radius in radii])
    base = torch.tensor([0.8, 0.3, 0.2])[:, None].expand(3, COLOR_GRID**3).flatten()
    shades = torch.stack([base * shade for shade in (0.6, 0.8, 1.0, 1.1)])
    code = LinearCode(3, 2)
    code.fit(distances, shades)
    surfaces = torch.cat([surface_grids(sphere_cloud(radius))[0] for radius in radii])
    code.fit_surface_map(surfaces, code.encode_distance(distances), ridge=1e-3)
    torch.manual_seed(0)
    decoder = FieldDecoder(code, widths=(4, 4, 4, 2), hidden=8)
    denoiser = CodeDenoiser(5, width=16, depth=1, condition=8)
    torch.nn.init.zeros_(denoiser.output.weight)  # every sample ends at the mean code: a sphere
    torch.nn.init.zeros_(denoiser.output.bias)
    codes = torch.cat([code.encode_distance(distances), code.encode_color(shades)], 1)
    text = FixedText()
    concepts = Concepts(["red", "ball", "a"], ["ball", "planet"], text.encode(["ball", "planet"]))
    return ShapePrior(code, decoder, denoiser, concepts, TrainingObjects(codes, ["a", "b", "c", "d"], 1.0), text)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """The command line sets levels of logging for its whole process; a test that calls it leaves them as they were."""
    loggers = [logging.getLogger(name) for name in (None, "gen3d", "py.warnings")]
    levels = [one.level for one in loggers]
    yield
    for one, level in zip(loggers, levels, strict=True):
        one.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def pretended_cuda() -> Iterator[None]:
    """The test runs with two CUDA devices that do not exist, see `tests.pretended_device`."""
    with PretendedCuda():
        yield
