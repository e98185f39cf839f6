"""Builds the native kernels into wheels, installs and editable installs; everything else is in pyproject.toml.

Without a C++ compiler the installation still succeeds: rendering then falls back to PyTorch.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

ROOT = Path(__file__).resolve().parent
KERNELS = Path("gen3d") / "kernels" / "cpu"
CARRIED = ("prompts", "configs")


def load_build_module() -> ModuleType:
    """`gen3d.kernels.cpu.build` by path: the package and its dependencies are not importable here."""
    spec = importlib.util.spec_from_file_location("gen3d_kernels_build", ROOT / KERNELS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildWithKernels(build_py):
    """Compiles the kernels beside the Python files, in the build folder or in the checkout for `pip install -e`, and
    takes the prompt lists and batch files of the checkout's top level along into the package.
    """

    def run(self) -> None:
        root = ROOT if self.editable_mode else Path(self.build_lib).resolve()
        if not self.editable_mode:
            # What an earlier build left there would go into the wheel, modules that are gone included.
            shutil.rmtree(root / "gen3d", ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for name in CARRIED:
                shutil.copytree(ROOT / name, root / "gen3d" / name)
        kernels = load_build_module()
        try:
            libraries = kernels.build(root / KERNELS / "_lib")
        except (kernels.BuildError, OSError) as error:
            message = (
                f"gen3d: the native kernels were not built; rendering will use PyTorch, 20 to 50 times slower. {error}"
            )
            sys.stderr.write(message + "\n")
            return
        self.announce(f"gen3d: built {', '.join(path.name for path in libraries)}", level=2)


class PlatformDistribution(Distribution):
    """Marks the wheel as belonging to one platform, though no module is a CPython extension."""

    def has_ext_modules(self) -> bool:
        return True


class AnyPythonWheel(bdist_wheel):
    """Tags the wheel for every Python 3 of its platform: the kernels are called through ctypes, so that no ABI of
    CPython is used.
    """

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildWithKernels, "bdist_wheel": AnyPythonWheel}, distclass=PlatformDistribution)
