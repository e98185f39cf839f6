"""Finds, or builds once, the compiled kernels that suit this processor, and loads them with ctypes.

The libraries come with the package. Where they are missing, or older than the sources beside them, they are built into
the user's cache; nothing is ever written into the package. `GEN3D_KERNELS` forces a choice: `torch` (no native
kernels), `baseline`, `avx2` or `avx512`. `GEN3D_KERNELS_FOLDER` names a folder of libraries to load instead, such as
sanitised ones.
"""

from __future__ import annotations

import ctypes
import logging
import os
import warnings
from functools import lru_cache
from pathlib import Path

from gen3d.errors import UsageError
from gen3d.kernels.cpu import build

logger = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "GEN3D_KERNELS"
CHOICES = ("torch", *build.ISA_FLAGS)

ABI_VERSION = 1
"""The interface that this package calls: `gen3d_abi_version()` of src/cpu.cpp, which grows with every change of it."""

_CPU_LEVELS = ("baseline", "avx2", "avx512")  # what gen3d_cpu_level() returns counts from here


class SplatCamera(ctypes.Structure):
    """The C++ struct `SplatCamera` of src/splats.h."""

    _fields_ = (
        ("world_to_camera", ctypes.c_float * 12),
        ("fx", ctypes.c_float),
        ("fy", ctypes.c_float),
        ("cx", ctypes.c_float),
        ("cy", ctypes.c_float),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
    )


def library() -> ctypes.CDLL | None:
    """The loaded kernels, or None (after one warning) when rendering has to fall back to PyTorch.

    Raises UsageError when `GEN3D_KERNELS` names something unknown, not built, or beyond this processor.
    """
    return _load()[0]


def instruction_set() -> str | None:
    """Which build `library()` loaded: `baseline`, `avx2`, `avx512`, or None."""
    return _load()[1]


@lru_cache(maxsize=1)
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    forced = os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower()
    if forced and forced not in CHOICES:
        raise UsageError(f"{ENVIRONMENT_VARIABLE} is {forced!r}; use one of {', '.join(CHOICES)}, or unset it.")
    if forced == "torch":
        return None, None
    try:
        folder = _library_folder()
        baseline = _open(folder / build.library_name("baseline"))
    except (build.BuildError, OSError) as error:
        if forced:
            raise UsageError(f"{ENVIRONMENT_VARIABLE} asks for {forced!r}, which did not load: {error}") from error
        warnings.warn(
            f"The native kernels are not available, so rendering falls back to PyTorch, which is 20 to 50 times "
            f"slower: {error}. With g++ or clang++ installed, `python -m gen3d.kernels.cpu.build` builds them.",
            RuntimeWarning,
            stacklevel=3,
        )
        return None, None
    usable = _CPU_LEVELS[: baseline.gen3d_cpu_level() + 1]
    if forced and forced not in usable:
        raise UsageError(
            f"{ENVIRONMENT_VARIABLE} asks for {forced!r}, which this processor cannot run; use {usable[-1]!r}."
        )
    for isa in [forced] if forced else reversed(usable):
        path = folder / build.library_name(isa)
        if not path.is_file():
            continue
        try:
            loaded = _open(path)
        except OSError as error:
            logger.warning("The %s kernels did not load, a simpler build is used instead: %s", isa, error)
            continue
        _declare_splats(loaded)
        return loaded, isa
    raise UsageError(
        f"{ENVIRONMENT_VARIABLE} asks for {forced!r}, which was not built in {folder}; "
        f"run `python -m gen3d.kernels.cpu.build`, or unset the variable."
    )


def _open(path: Path) -> ctypes.CDLL:
    """Opens a library. Raises OSError for a file that is no library, or one with another interface than this package
    calls.
    """
    kernels = ctypes.CDLL(str(path))
    try:
        version = int(kernels.gen3d_abi_version())
    except AttributeError:
        version = 0  # the first ones did not say
    if version != ABI_VERSION:
        raise OSError(
            f"{path} has version {version} of the kernels' interface and this package calls version {ABI_VERSION}: "
            f"it was built from other sources, so build it again, or reinstall gen3d"
        )
    return kernels


def _library_folder() -> Path:
    """A folder with libraries of the present sources: the package's own, or one in the user's cache, built now where
    there is none; or the one that the environment names, whatever it holds.
    """
    named = os.environ.get(build.FOLDER_VARIABLE)
    if named:
        return Path(named)
    if build.is_current(build.PACKAGE_LIBRARY_DIR):
        return build.PACKAGE_LIBRARY_DIR
    cache = build.cache_folder()
    if not build.is_current(cache):
        logger.info("Compiling the native kernels, which takes a few seconds and happens once.")
        build.build(cache)
    return cache


def _declare_splats(kernels: ctypes.CDLL) -> None:
    pointer, count, size, camera = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.POINTER(SplatCamera)
    signatures: dict[str, tuple[type | None, list[type]]] = {
        # count, means, quats, scales, opacities, colors, camera, splats, tiles_touched, threads -> intersections
        "project": (count, [count, *[pointer] * 5, camera, *[pointer] * 2, size]),
        # count, splats, tiles_touched, width, height, slots, tile_starts, entries
        "bin": (None, [count, *[pointer] * 2, size, size, *[pointer] * 3]),
        # splats, tile_starts, entries, width, height, rgb, alpha, depth, row_ends, threads
        "forward": (None, [*[pointer] * 3, size, size, *[pointer] * 4, size]),
        # splats, tile_starts, entries, width, height, rgb, alpha, depth, row_ends, 3 gradients, slot_grads, threads
        "backward": (None, [*[pointer] * 3, size, size, *[pointer] * 8, size]),
        # count, means, quats, scales, opacities, camera, slots, slot_grads, 5 gradients, screen_grads, threads
        "project_backward": (None, [count, *[pointer] * 4, camera, *[pointer] * 8, size]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(kernels, f"gen3d_splats_{name}")
        function.restype = result
        function.argtypes = arguments
