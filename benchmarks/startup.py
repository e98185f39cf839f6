"""Seconds from Enter to the first optimisation step of `gen3d "a wooden chair"`, and what they go to.

    python benchmarks/startup.py [--repeats 5] [--against ../before] [--prompt "a wooden chair"] [-- --preset draft]

Whole processes of this checkout and of another take turns, after one of each that is not counted: it warms the disk's
cache and builds the native kernels where that is still to be done. A process ends at its first step. What comes after
`--` is handed to gen3d. Read the ratio on a machine that others use, too, and CPU seconds before wall seconds.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import functools
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

HEAVY = (
    "torch", "torch._dynamo", "sympy", "networkx", "torchvision", "timm", "open_clip", "transformers", "diffusers",
    "huggingface_hub", "sentence_transformers", "sklearn", "scipy", "skimage", "trimesh", "pandas", "matplotlib",
)  # fmt: skip
"""Packages whose modules are counted at the first step."""

LOADERS = (
    ("gen3d.priors.shape_prior", "ShapePrior.load"),
    ("gen3d.priors.view_prior", "ViewPrior.load"),
    ("gen3d.encoders.clip_mini", "load_clip"),
    ("gen3d.encoders.evaluator", "Evaluator.load"),
    ("gen3d.encoders.minilm", "TextEncoder.__init__"),
)
"""What reads weights, by module and name."""

COLUMNS = {
    "optimising": "begins to optimise",
    "first step": "first step",
    "cpu": "CPU",
    "imports": "imports",
    "weights": "weights",
    "sampling": "sampling",
    "stepping": "first step's own",
    "modules": "modules",
}
"""What a process reports, and its heading. Imports and weights are left out of the others."""


class Clock:
    """Wall seconds that belong to each of several kinds of work, what is nested in one to the inner kind alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack = ["rest"]
        self._since = time.monotonic()

    def lap(self) -> None:
        """Adds the time since the last call to the kind at work."""
        now = time.monotonic()
        kind = self._stack[-1]
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self._since
        self._since = now

    def turn(self, kind: str) -> None:
        """What is at work from now on, outside of everything nested."""
        self.lap()
        self._stack[0] = kind

    @contextlib.contextmanager
    def within(self, kind: str) -> Iterator[None]:
        self.lap()
        self._stack.append(kind)
        try:
            yield
        finally:
            self.lap()
            self._stack.pop()

    def timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.within(kind):
                return function(*args, **kwargs)

        return timed


class FirstStep:
    """A reporter that prints what was measured, and ends the process, when the first step is done."""

    def __init__(self, clock: Clock, began: float) -> None:
        self.clock, self.began, self.optimising = clock, began, 0.0

    def stage(self, name: str) -> None:
        if name.startswith("sampling"):
            self.clock.turn("sampling")
        elif name.startswith("optimising"):
            self.optimising = time.monotonic() - self.began
            self.clock.turn("stepping")

    def step(self, *_: object) -> None:
        self.clock.lap()
        times = os.times()
        report = {
            **{kind: self.clock.seconds.get(kind, 0.0) for kind in ("imports", "weights", "sampling", "stepping")},
            "optimising": self.optimising,
            "first step": time.monotonic() - self.began,
            "cpu": times.user + times.system,
            "modules": len(sys.modules),
            "heavy": {name: count for name in HEAVY if (count := modules_of(name))},
        }
        print(json.dumps(report), flush=True)
        os._exit(0)

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        print(message, file=sys.stderr)


def modules_of(package: str) -> int:
    """How many modules of a package are imported."""
    return sum(name == package or name.startswith(f"{package}.") for name in sys.modules)


def child(began: float, arguments: list[str]) -> None:
    """Runs gen3d up to its first step. began: when the process was started, by `time.monotonic`."""
    clock = Clock()
    _time_imports(clock)
    from gen3d.cli import main

    for parent in ("gen3d.runtime", "gen3d"):  # where older checkouts have it
        with contextlib.suppress(ImportError):
            progress = importlib.import_module(f"{parent}.progress")
            break
    progress.open_reporter = lambda *_: contextlib.nullcontext(FirstStep(clock, began))
    raise SystemExit(f"gen3d ended with {main(arguments)} before its first step.")


def _time_imports(clock: Clock) -> None:
    """Has `clock` count what imports take, and times the loaders of `LOADERS` once their modules are there."""
    plain = {"__import__": builtins.__import__, "import_module": importlib.import_module}
    waiting = dict(LOADERS)

    def switch(on: bool) -> None:
        builtins.__import__ = outermost["__import__"] if on else plain["__import__"]
        importlib.import_module = outermost["import_module"] if on else plain["import_module"]

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        def imported(*args: Any, **kwargs: Any) -> Any:
            switch(False)  # what an import imports is its own affair, and would only be slowed down
            try:
                with clock.within("imports"):
                    return function(*args, **kwargs)
            finally:
                for name in [name for name in waiting if name in sys.modules]:
                    _time_loader(clock, sys.modules[name], waiting.pop(name))
                switch(True)

        return imported

    outermost = {name: through(function) for name, function in plain.items()}
    switch(True)


def _time_loader(clock: Clock, module: Any, name: str) -> None:
    *owners, last = name.split(".")
    owner = functools.reduce(getattr, owners, module)
    timed = clock.timed("weights", getattr(owner, last))
    setattr(owner, last, staticmethod(timed) if owners and last != "__init__" else timed)


def measure(checkout: Path, arguments: list[str]) -> dict[str, Any]:
    """The report of one process of the code in `checkout`."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "--child", repr(time.monotonic()), "--", *arguments, "--out", out]
        answer = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=False
        )
    lines = answer.stdout.splitlines()
    if answer.returncode or not lines:
        raise SystemExit(f"The process of {checkout} failed:\n{answer.stdout}{answer.stderr}")
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def main() -> None:
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    rest = sys.argv[len(own) + 2 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompt", default="a wooden chair")
    parser.add_argument("--against", type=Path, help="another checkout of gen3d, such as that of the commit before")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args(own)
    if args.child is not None:
        child(args.child, rest)
    checkouts = {"this checkout": ROOT}
    if args.against:
        if not (args.against / "gen3d" / "cli").is_dir():
            parser.error(f"'{args.against}' is no checkout of gen3d: it has no folder gen3d/cli.")
        checkouts[str(args.against)] = args.against.resolve()
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    for repeat in range(args.repeats + 1):
        for name, checkout in checkouts.items():
            report = measure(checkout, [args.prompt, *rest])
            if repeat:
                reports[name].append(report)

    print(f"| median of {args.repeats}, in s | {' | '.join(COLUMNS.values())} |\n|{'---|' * (len(COLUMNS) + 1)}")
    medians = {
        name: {column: statistics.median(report[column] for report in found) for column in COLUMNS}
        for name, found in reports.items()
    }
    for name, values in medians.items():
        cells = [f"{values[column]:.0f}" if column == "modules" else f"{values[column]:.2f}" for column in COLUMNS]
        print(f"| {name} | {' | '.join(cells)} |")
    if len(medians) == 2:
        this, other = medians.values()
        for column in ("first step", "cpu"):
            print(f"{COLUMNS[column]}: {this[column] / other[column]:.2f} of the other's")
    for name, found in reports.items():
        first = [report["first step"] for report in found]
        heavy = ", ".join(f"{package} {count}" for package, count in found[-1]["heavy"].items())
        print(f"{name}: first step after {min(first):.2f} to {max(first):.2f} s; modules at the first step: {heavy}.")


if __name__ == "__main__":
    main()
