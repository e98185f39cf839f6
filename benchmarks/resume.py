"""Kills runs with SIGKILL at random moments, resumes them, and compares the bytes with those of runs left alone.

    python benchmarks/resume.py --trials 20
    python benchmarks/resume.py --kinds splats vsd --trials 4

Every kind (the nine representations, VSD, two stages, candidates) is run once without interruption. Each trial takes
the next kind, kills the process at a random moment of its whole time, sampling and export included, resumes it (and
kills it once more in every other trial), and compares splats, mesh, video and contact sheet.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL = [
    "--steps", "40", "export.video_frames=4", "export.video_size=64", "export.image_size=64", "export.texture_size=64",
    "export.mesh_grid=48", "export.viewer=false", "checkpoints.seconds=1",
]  # fmt: skip
KINDS = {
    **{name: [f"representation={name}"] for name in (
        "splats", "dmtet", "mesh", "points", "primitives", "voxels", "nerf", "triplane", "sdf")},
    "vsd": ["code.rule=vsd", "field_views.follow=0.5"],
    "stages": ["--config", "dreamgaussian-mini"],
    "candidates": ["--candidates", "2"],
}  # fmt: skip
COMPARED = ("splats.ply", "mesh.glb", "preview.png", "turntable.mp4")


def command(kind: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "gen3d", "a red chair", *KINDS[kind], *SMALL, "--out", str(out)]


def run_folder(out: Path) -> Path | None:
    found = sorted(out.glob("*/*@*"))
    return found[-1] if found else None


def digest(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12] for name in COMPARED}


def whole(kind: str, out: Path) -> tuple[dict[str, str], float]:
    """Digests of an uninterrupted run, and its seconds."""
    began = time.monotonic()
    subprocess.run(command(kind, out), check=True, capture_output=True)
    folder = run_folder(out)
    assert folder is not None
    return digest(folder), time.monotonic() - began


def killed_after(arguments: list[str], seconds: float) -> bool:
    """Runs a command and kills it after so long; whether it was still running then."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the report, as JSON")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    expected: dict[str, tuple[dict[str, str], float]] = {}
    rows, failed = [], 0
    for trial in range(options.trials):
        kind = options.kinds[trial % len(options.kinds)]
        scratch = Path(tempfile.mkdtemp(prefix="gen3d-resume-"))
        if kind not in expected:
            expected[kind] = whole(kind, scratch / "whole")
        digests, seconds = expected[kind]
        moment = moments.uniform(0.05, 1.0) * seconds
        killed = killed_after(command(kind, scratch / "killed"), moment)
        folder = run_folder(scratch / "killed")
        if folder is None:
            state, equal = "killed before the folder was made", True
        else:
            again = [sys.executable, "-m", "gen3d", "--resume", str(folder)]
            if trial % 2:
                killed_after(again, moments.uniform(0.2, 0.8) * seconds)
            finish = subprocess.run(again, capture_output=True, text=True, check=False)
            state = "killed" if killed else "finished first"
            equal = finish.returncode == 0 and digest(folder) == digests
        failed += not equal
        rows.append({"kind": kind, "after": round(moment, 2), "of": round(seconds, 2), "state": state, "equal": equal})
        print(f"{kind:<12} {moment:6.2f} of {seconds:6.2f} s  {state:<34} {'same bytes' if equal else 'OTHER BYTES'}")
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{len(rows) - failed} of {len(rows)} ended in the same bytes.")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
