"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from gen3d.runtime.allocator import keep_freed_memory

def faults(elements):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(elements, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory()
for elements in (100_000_000, 100_000_000, 50_000_000):
    print(faults(elements))
"""


def faults_of_three_blocks() -> list[int]:
    """Page faults of a fresh process that allocates and frees 100, 100 and 50 MB."""
    run = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=60, check=True)
    return [int(line) for line in run.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_block_freed_is_the_next_one_allocated() -> None:
    first, again, smaller = faults_of_three_blocks()
    assert first > 20  # huge pages, where the kernel uses them
    assert again < first / 10
    assert smaller < first / 10
