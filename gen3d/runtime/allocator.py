"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = -1
_LARGEST_KEPT = 1 << 30  # bytes
_LARGEST_OLD = 32 << 20  # what older releases of glibc accept


def keep_freed_memory() -> bool:
    """Has this process reuse the memory of freed tensors up to a gigabyte; whether its C library could be told.

    By default glibc hands every large block back when it is freed. An optimisation allocates the same images and
    gradients in every step, and the kernel would have to clear their pages each time: at 512 pixels that is half of the
    time a mesh takes (`benchmarks/surface.py --allocator default`). Most peaks grow by a tenth.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no such call
        return False
    accepted = mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) or mallopt(_MMAP_THRESHOLD, _LARGEST_OLD)
    return bool(accepted and mallopt(_TRIM_THRESHOLD, _NEVER))
