"""Compiles `src/*.cpp` into one shared library per instruction set: `python -m gen3d.kernels.cpu.build`.

A wheel and an editable install bring their libraries: setup.py builds them. In a checkout the command builds them
anew, beside the sources; elsewhere it builds where the loader does when they are missing, in the user's cache, as an
installed package is nobody's to write to. With `--sanitize` a checkout gets, beside those, libraries that end the
process at the first access outside of an array or undefined operation, and the command says how to run the tests with
them.

Uses the standard library alone and imports nothing of gen3d, so that setup.py can load it by path.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCE_DIR = Path(__file__).resolve().parent / "src"
PACKAGE_LIBRARY_DIR = Path(__file__).resolve().parent / "_lib"
DIGEST_FILE = "sources.sha256"
"""The file beside the libraries that says which sources they were built from."""

# Not -ffast-math: it may fold the additions that round in the exponential. Not -march=native: wheels travel.
COMMON_FLAGS = shlex.split(
    "-std=c++17 -O3 -shared -fPIC -fvisibility=hidden -Wall -Wno-unknown-pragmas "
    "-fno-math-errno -fno-trapping-math -fno-signed-zeros -ffp-contract=fast"
)
ISA_FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mbmi2"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mbmi2"],
}
# Beside what "undefined" means to the compilers, conversions of numbers that no integer can hold.
SANITIZER_FLAGS = shlex.split(
    "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all"
)
SANITIZED_DIR = PACKAGE_LIBRARY_DIR / "sanitized"
FOLDER_VARIABLE = "GEN3D_KERNELS_FOLDER"
"""The environment variable that names a folder of libraries to load instead of the package's and the cache's."""

COMPILE_TIMEOUT = 300  # seconds


class BuildError(Exception):
    """No compiler was found, or it refused the sources."""


def instruction_sets() -> list[str]:
    """The builds that make sense on this machine's architecture, simplest first."""
    return list(ISA_FLAGS) if platform.machine().lower() in {"x86_64", "amd64"} else ["baseline"]


def library_name(isa: str) -> str:
    return f"libgen3d_{isa}{'.dylib' if sys.platform == 'darwin' else '.so'}"


def sources_digest() -> str:
    """A digest that changes whenever a source file or a flag does."""
    digest = hashlib.sha256(repr((COMMON_FLAGS, ISA_FLAGS)).encode())
    for path in sorted(SOURCE_DIR.glob("*")):
        if path.suffix in {".cpp", ".h"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_checkout() -> bool:
    """Whether this is the source tree, and not an installed package."""
    return (SOURCE_DIR.parents[3] / "setup.py").is_file()


def cache_folder() -> Path:
    """The folder in the user's cache for libraries of the present sources.

    Raises BuildError where the user has no cache: no home folder and no `XDG_CACHE_HOME`.
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        if sys.platform == "darwin":
            root = Path.home() / "Library" / "Caches"
        else:
            root = chosen if chosen.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise BuildError("this user has no home folder to keep them in; set XDG_CACHE_HOME to a folder") from error
    # Checkouts at different paths do not overwrite one another's libraries.
    place = hashlib.sha256(str(SOURCE_DIR).encode()).hexdigest()[:8]
    return root / "gen3d" / f"kernels-{place}" / sources_digest()[:16]


def is_current(folder: Path) -> bool:
    """Whether `folder` holds libraries built from the present sources."""
    stamp = folder / DIGEST_FILE
    present = stamp.is_file() and (folder / library_name("baseline")).is_file()
    return present and stamp.read_text().strip() == sources_digest()


def find_compiler() -> list[str]:
    """The C++ compiler's command: `$CXX` if set, else the first of g++, clang++ and c++ that is on the path.

    Raises BuildError when there is none, and on Windows, whose compiler lacks the vector extensions.
    """
    if sys.platform == "win32":
        raise BuildError("the native kernels need GCC or Clang, which this build does not look for on Windows")
    candidates = [shlex.split(os.environ.get("CXX", "")), ["g++"], ["clang++"], ["c++"]]
    for command in candidates:
        if command and shutil.which(command[0]):
            return command
    raise BuildError("no C++ compiler was found (tried $CXX, g++, clang++ and c++)")


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_TIMEOUT)
    except subprocess.CalledProcessError as error:
        raise BuildError(f"`{shlex.join(command)}` failed:\n{error.stderr.strip()[-4000:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"`{shlex.join(command)}` could not run: {error}") from error


def openmp_flags(compiler: list[str]) -> list[str]:
    """The flags with which this compiler builds OpenMP libraries; none when it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.cpp"
        probe.write_text("#include <omp.h>\nint threads() { return omp_get_max_threads(); }\n")
        for flags in (["-fopenmp"], ["-Xpreprocessor", "-fopenmp", "-lomp"]):
            try:
                _run([*compiler, "-shared", "-fPIC", str(probe), *flags, "-o", str(probe.with_suffix(".so"))])
            except BuildError:
                continue
            return flags
    return []


def build(folder: Path, extra_flags: Sequence[str] = ()) -> list[Path]:
    """Compiles a library per instruction set into `folder`, in parallel, and returns their paths.

    Each appears complete or not at all. An instruction set that the compiler does not know is left out with a warning.
    Raises BuildError when there is no compiler or it refuses the baseline, and OSError when `folder` is read-only.
    """
    compiler = find_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    digest = sources_digest()
    openmp = openmp_flags(compiler)
    if not openmp:
        logger.warning("The C++ compiler has no OpenMP: the native kernels will use one thread.")
    sources = [str(path) for path in sorted(SOURCE_DIR.glob("*.cpp"))]

    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:

        def compile_one(isa: str) -> BuildError | None:
            output = Path(scratch) / library_name(isa)
            try:
                _run([*compiler, *COMMON_FLAGS, *ISA_FLAGS[isa], *extra_flags, *sources, *openmp, "-o", str(output)])
            except BuildError as error:
                return error
            return None

        isas = instruction_sets()
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            errors = dict(zip(isas, pool.map(compile_one, isas), strict=True))
        if errors["baseline"]:
            raise errors["baseline"]
        built = []
        for isa, error in errors.items():
            target = folder / library_name(isa)
            if error:
                logger.warning("The %s kernels were left out: %s", isa, error)
                target.unlink(missing_ok=True)  # it is that of older sources
                continue
            os.replace(Path(scratch) / target.name, target)
            built.append(target)
        stamp = Path(scratch) / DIGEST_FILE
        stamp.write_text(digest + "\n")
        os.replace(stamp, folder / DIGEST_FILE)
    return built


def sanitizer_environment(folder: Path) -> dict[str, str]:
    """The environment variables with which a Python process loads the sanitised libraries in `folder`.

    The runtime of the sanitiser has to be there before Python allocates anything. Python and PyTorch keep memory until
    they end, which is no leak.
    """
    compiler = find_compiler()
    runtimes = []
    for name in ("libasan.so", "libstdc++.so"):
        found = subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        runtimes.append(str(Path(found.stdout.strip()).resolve()))
    return {
        FOLDER_VARIABLE: str(folder),
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Compiles the native kernels.")
    parser.add_argument("--sanitize", action="store_true", help="build what stops at the first access out of bounds")
    options = parser.parse_args()
    if options.sanitize and not is_checkout():
        parser.error("sanitised kernels are built in a checkout of gen3d, not in an installed package")
    try:
        if options.sanitize:
            built = build(SANITIZED_DIR, SANITIZER_FLAGS)
        else:
            built = build(PACKAGE_LIBRARY_DIR if is_checkout() else cache_folder())
        for path in built:
            logger.info("built %s", path)
        if options.sanitize:
            variables = " ".join(
                f"{name}={shlex.quote(value)}" for name, value in sanitizer_environment(SANITIZED_DIR).items()
            )
            logger.info("run the tests with: %s python -m pytest tests/kernels tests/rendering", variables)
    except (BuildError, OSError) as error:
        logger.error("The native kernels were not built: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
