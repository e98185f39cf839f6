"""Memory to draw one view and take its gradients, for every representation: a process each, of a prior's sample.

    python benchmarks/memory.py [--size 512] [--prompt "a red chair"] [--only nerf sdf] [--markdown FILE]
        [KEY=VALUE ...]

Each process loads the packaged prior, samples it, builds the representation, and then draws one view of `--size` pixels
a side and back-propagates to all parameters. "baseline" is what it held before the view, "peak" the most it held
meanwhile: both of the whole process, libraries and weights included, and with the memory that sampling the prior had
freed, which the process keeps. "above" is their difference. The limit is 4 GB. Linux only, as it resets the kernel's
own mark of the peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

LIMIT_GB = 4.0


def resident(field: str) -> float:
    """Megabytes that /proc gives as `field`: VmRSS, what is held now, or VmHWM, the most since the last reset."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"This system does not report {field} of a process; run the benchmark on Linux.")


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def measure(representation: str, size: int, prompt: str, overrides: list[str]) -> dict[str, float]:
    """Megabytes before and at the peak, and the seconds that the view and its gradients took."""
    import torch

    from gen3d.config.load import load_config
    from gen3d.geometry.cameras import orbit
    from gen3d.pipeline.models import Models
    from gen3d.pipeline.stages import first_scene
    from gen3d.runtime.allocator import keep_freed_memory

    keep_freed_memory()  # as the command line does
    config = load_config(None, overrides, prompt=prompt, representation=representation)
    torch.manual_seed(config.seed)
    models = Models()
    generator = torch.Generator().manual_seed(config.seed)
    scene = first_scene(models, models.features(prompt), config, generator).representation
    cameras = orbit(torch.tensor([30.0]), 20.0, size)
    baseline = resident("VmRSS")
    reset_peak()
    began = time.perf_counter()
    render = scene.render(cameras)
    loss = (render.rgb - 0.3).abs().mean() + render.alpha.mean() + scene.regularization(render, 0.5)
    loss.backward()
    seconds = time.perf_counter() - began
    touched = sum(p.grad is not None for group in scene.param_groups() for p in group["params"])
    assert touched, "no parameter has a gradient"
    return {"baseline": baseline, "peak": resident("VmHWM"), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="pixels a side of the view")
    parser.add_argument("--prompt", default="a red chair")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="representations to measure, all by default")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="settings as of the command line, such as voxels.samples=128")
    options = parser.parse_intermixed_args()
    if options.child:
        print(json.dumps(measure(options.child, options.size, options.prompt, options.overrides)))
        return

    from gen3d.config.representations import REPRESENTATIONS

    lines = [
        f"One view of {options.size} x {options.size}, forward + backward, '{options.prompt}'.",
        "",
        f"| representation | baseline MB | above MB | peak MB | within {LIMIT_GB:g} GB | seconds |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in options.only or REPRESENTATIONS:
        command = [sys.executable, __file__, "--child", name, "--size", str(options.size), "--prompt", options.prompt]
        answer = subprocess.run([*command, *options.overrides], capture_output=True, text=True, check=False)
        if answer.returncode:
            parser.exit(1, f"{name} failed:\n{answer.stderr}")
        found = json.loads(answer.stdout.splitlines()[-1])
        fits = "yes" if found["peak"] <= 1000 * LIMIT_GB else "NO"
        above = found["peak"] - found["baseline"]
        lines.append(
            f"| {name} | {found['baseline']:.0f} | {above:.0f} | {found['peak']:.0f} | {fits} "
            f"| {found['seconds']:.1f} |"
        )
        print(lines[-1], flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
