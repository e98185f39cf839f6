"""Seconds of each asset of one `gen3d.Pipeline`: from the call to the first optimisation step, and to the last.

    python benchmarks/second_asset.py [--preset draft] [settings …]

The first asset pays for imports and weights; the others show what is left when nothing is loaded again. What read
weights meanwhile is printed beside each.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import time
from typing import Any

import gen3d

PROMPTS = ("a wooden chair", "a blue sofa", "a red car")

LOADERS = (
    ("gen3d.priors.shape_prior", "ShapePrior", "load"),
    ("gen3d.priors.view_prior", "ViewPrior", "load"),
    ("gen3d.encoders.clip_mini", None, "load_clip"),
    ("gen3d.encoders.minilm", "TextEncoder", "__init__"),
)
"""What reads weights: module, class and function."""


def count_loads() -> list[str]:
    """The list to which every later reading of weights adds its name."""
    seen: list[str] = []

    def counted(function: Any, name: str) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return function(*args, **kwargs)

        return call

    for module, owner, name in LOADERS:
        place = importlib.import_module(module)
        place = getattr(place, owner) if owner else place
        function = counted(getattr(place, name), f"{owner or module}.{name}")
        setattr(place, name, function if name == "__init__" or owner is None else staticmethod(function))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("settings", nargs="*")
    args = parser.parse_args()
    began = time.monotonic()
    pipe = gen3d.Pipeline(preset=args.preset, settings=args.settings)
    loads = None
    print("| asset | to its first step | to its last | weights read |\n|---|---|---|---|")
    for prompt in PROMPTS:
        first, before = None, len(loads or ())
        for event in pipe.steps(prompt, seed=0):
            if isinstance(event, gen3d.StepEvent) and first is None:
                first = time.monotonic() - began
        loads = loads if loads is not None else count_loads()
        assert first is not None
        read = "all" if before == 0 and prompt == PROMPTS[0] else ", ".join(loads[before:]) or "none"
        print(f"| {prompt} | {first:.2f} s | {time.monotonic() - began:.2f} s | {read} |", flush=True)
        began = time.monotonic()


if __name__ == "__main__":
    main()
