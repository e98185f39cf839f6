"""What every part of the benchmark uses: the machine, clocks, comparisons with a reference, and rows of a table."""

from __future__ import annotations

import datetime
import gc
import itertools
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]

VALUES_WITHIN, GRADIENTS_WITHIN = 1e-4, 1e-3
"""Relative errors, against float64, up to which kernels count as right."""


@dataclass
class Row:
    """One line of the table. section, item: which measurement. by: what was measured of it, such as a backend. figures:
    by name. status: "ok", "wrong" (outside of an error bound), "skipped" or "failed"; note: why, as a sentence.
    """

    section: str
    item: str
    by: str = ""
    figures: dict[str, float | int | str] = field(default_factory=dict)
    status: str = "ok"
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which has no infinity."""
        figures = {name: x if isinstance(x, str) or math.isfinite(x) else str(x) for name, x in self.figures.items()}
        return {**asdict(self), "figures": figures}


@dataclass(frozen=True)
class Settings:
    """device: where everything is measured. quick: toy sizes, to see that the script runs. seconds: about how long one
    timing may take.
    """

    device: torch.device
    quick: bool = False
    seconds: float = 1.5

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def size(self, full: int, toy: int) -> int:
        """The size of a measurement."""
        return toy if self.quick else full


class Skipped(Exception):
    """Raised with a sentence by a measurement that cannot be made on this machine."""


def reason_of(error: BaseException) -> str:
    """One line of an exception."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no reason given'}"


def generator(seed: int = 0) -> torch.Generator:
    """On the CPU, as all draws of gen3d."""
    return torch.Generator().manual_seed(seed)


def wait(device: torch.device) -> None:
    """Returns when the device has done all that it was asked for; raises what went wrong there."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(work: Callable[[], object], settings: Settings, least: int = 5, most: int = 200) -> float:
    """Median time of one call of `work`, in ms of the device, after calls that warm it up.

    On CUDA each call lies between two events of the stream, and nothing waits before the last. `work` is called at
    least `least` times and at most `most` times, within about `settings.seconds`.
    """
    begin = time.perf_counter()
    work()
    wait(settings.device)
    first = time.perf_counter() - begin  # compiling included
    begin = time.perf_counter()
    work()
    wait(settings.device)
    once = max(time.perf_counter() - begin, 1e-6)
    if settings.quick or first > 20 * settings.seconds:
        least = 1
    calls = int(min(max(settings.seconds / once, least), 3 if settings.quick else most))
    if not settings.on_cuda:
        times = []
        for _ in range(calls):
            begin = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - begin))
        return statistics.median(times)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    wait(settings.device)
    return statistics.median(before.elapsed_time(after) for before, after in itertools.pairwise(marks))


def reset_peak(device: torch.device) -> None:
    """Begins to watch the device's memory anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: torch.device) -> dict[str, float]:
    """The most memory that tensors took on the device since `reset_peak`, in MiB; nothing on the CPU."""
    if device.type != "cuda":
        return {}
    return {"peak_mb": round(torch.cuda.max_memory_allocated(device) / 2**20)}


def relative_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest |found - wanted| / |wanted| of the tensors, in Euclidean norms of float64; infinite where anything is
    not a number or has another shape.
    """
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape:
            return float("inf")
        one, other = one.detach().cpu().double(), other.detach().cpu().double()
        norm = max(float(other.norm()), 1e-12)
        error = float((one - other).norm()) / norm
        worst = max(worst, error if error == error else float("inf"))
    return worst


def significant(value: float, digits: int = 3) -> float:
    """A figure with so many significant digits."""
    return float(f"{value:.{digits}g}")


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on: card, driver, versions, commit and time."""
    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "device": str(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    for package in ("triton", "gsplat", "nerfacc", "nvdiffrast", "diffusers", "transformers"):
        facts[package] = _version(package)
    if device.type == "cuda":
        facts["card"] = torch.cuda.get_device_name(device)
        facts["driver"] = _said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return facts


def commit() -> str:
    """The commit of this checkout; what the variable GEN3D_COMMIT says where there is no git."""
    found = _said(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    changed = _said(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]) if found else ""
    return os.environ.get("GEN3D_COMMIT") or (f"{found} and changes" if changed else found) or "unknown"


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    lines = ["| section | item | by | status | figures |", "|---|---|---|---|---|"]
    for row in rows:
        figures = ", ".join(f"{name} {value}" for name, value in row["figures"].items())
        text = "; ".join(part for part in (figures, row["note"]) if part)
        lines.append(f"| {row['section']} | {row['item']} | {row['by']} | {row['status']} | {text} |")
    return "\n".join(lines)


def say(text: str) -> None:
    """Progress for whoever looks on; the results alone go to the standard output."""
    print(text, file=sys.stderr, flush=True)
