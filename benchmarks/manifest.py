"""How long a manifest of many jobs takes to plan, list, resume and claim from, and the memory that takes.

Run it as: python benchmarks/manifest.py [--jobs 100000]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gen3d.batch.file import load_batch
from gen3d.batch.manifest import Manifest, Spec


@contextmanager
def timed(name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    print(f"{name:<44} {time.perf_counter() - begin:8.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    count = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder, Manifest(Path(folder) / "m.sqlite") as manifest:
        prompts = Path(folder) / "prompts.txt"
        prompts.write_text("".join(f"a wooden chair with {n} legs\n" for n in range(count)))
        with timed(f"reading a list of {count:,} and planning it"):
            manifest.plan(load_batch(prompts).resolve().specs(), 1)
        with timed(f"planning {count:,} jobs"):
            plan = manifest.plan((Spec("steps: 3\n", f"chair {n // 10}", n % 10) for n in range(count)), 1)
        with timed("claiming and finishing 1,000"):
            for _ in range(min(1000, count)):
                job = manifest.claim(plan)
                assert job is not None
                manifest.finish(job, 1.0, 1.0, "made")
        with timed("planning them again (resume)"):
            manifest.plan((Spec("steps: 3\n", f"chair {n // 10}", n % 10) for n in range(count)), 1)
        with timed("listing all"):
            assert sum(1 for _ in manifest.jobs(plan)) == count
        with timed("counting by state"):
            print(manifest.counts(plan))
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
