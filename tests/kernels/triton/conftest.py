"""Tests marked `triton` run in a process of their own: without a GPU in Triton's interpreter, on a GPU natively there.

The interpreter has to be asked for before `triton` is imported, and a process that has it compiles nothing any more:
hence one server for all of these tests, which fail here as others do. In the interpreter every access of a kernel is
compared with where its arguments lie, so that one out of bounds fails, too. The tests' parameters have to be plain
(strings, numbers, lists), and their modules say on which device, by
`DEVICE = "cuda" if torch.cuda.is_available() else "cpu"`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "triton: runs in the process that has Triton's interpreter")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("triton") is None:
        return None
    if importlib.util.find_spec("triton") is None:
        pytest.skip("no Triton for this system")
    parameters = pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
    answer = _server().ask(pyfuncitem.path, pyfuncitem.originalname, parameters)
    if answer:
        pytest.fail(answer, pytrace=False)
    return True


@pytest.fixture
def interpreter() -> Server:
    """The process that the tests marked `triton` run in, for others to ask."""
    return _server()


def pytest_unconfigure() -> None:
    if _server.cache_info().currsize:
        _server().process.communicate()  # the end of its input ends it


@lru_cache(maxsize=1)
def _server() -> Server:
    return Server()


class Server:
    """A process that runs one test after another."""

    def __init__(self) -> None:
        import torch

        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        environment.pop("TRITON_INTERPRET", None)
        if not torch.cuda.is_available():
            environment["TRITON_INTERPRET"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, path: Path, name: str, parameters: dict[str, object]) -> str:
        """What went wrong in a function of a file: nothing where it returned."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([str(path), name, parameters]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return str(json.loads(line))
        _server.cache_clear()  # the next test starts another
        return f"the server ended with the status {self.process.wait()}"


def serve() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what the tests print
    if os.environ.get("TRITON_INTERPRET") == "1":
        Guard.install()
        patch_once()
    for line in sys.stdin:
        path, name, parameters = json.loads(line)
        try:
            getattr(_load(path), name)(**parameters)
            problem = ""
        except BaseException:
            problem = traceback.format_exc()[-60_000:]
        os.write(answers, (json.dumps(problem) + "\n").encode())


@lru_cache(maxsize=16)
def _load(path: str) -> object:
    """The module of a file of tests."""
    spec = importlib.util.spec_from_file_location("triton_" + Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def patch_once() -> None:
    """Lets the interpreter change Triton's language once for each launch; by itself it does so at each call of a
    function by a kernel, `tl.sum` included, which takes most of its time.
    """
    from triton import language
    from triton.runtime import interpreter

    change, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    modules = SimpleNamespace(__globals__={"language": language, "core": language.core})

    def launched(self: Any, *args: Any, **kwargs: Any) -> Any:
        scope = change(modules)
        interpreter._patch_lang = lambda function: interpreter._LangPatchScope()  # nothing more to change or restore
        try:
            return launch(self, *args, **kwargs)
        finally:
            interpreter._patch_lang = change
            scope.restore()

    interpreter.GridExecutor.__call__ = launched


class Guard:
    """Where the arguments of the kernel that runs in the interpreter lie; accesses outside of them raise."""

    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def install(cls) -> None:
        from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

        to_host = GridExecutor._init_args_hst

        def noted(self: Any, args: Any, kwargs: Any) -> Any:
            held = to_host(self, args, kwargs)
            cls.note([*held[0], *held[1].values()])
            return held

        GridExecutor._init_args_hst = noted
        # The places of the pointers and of the mask among the arguments.
        for name, pointers, mask in (
            ("create_masked_load", 0, 1),
            ("create_masked_store", 0, 2),
            ("create_atomic_rmw", 1, 3),
        ):
            setattr(InterpreterBuilder, name, cls.guarded(getattr(InterpreterBuilder, name), pointers, mask))

    @staticmethod
    def guarded(access: Any, pointers: int, mask: int) -> Any:
        def call(self: Any, *args: Any) -> Any:
            Guard.check(args[pointers], args[mask])
            return access(self, *args)

        return call

    @classmethod
    def note(cls, arguments: list[Any]) -> None:
        spans = []
        for tensor in arguments:
            if not hasattr(tensor, "data_ptr") or tensor.numel() == 0:
                continue
            extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            spans.append((tensor.data_ptr(), tensor.data_ptr() + extent * tensor.element_size()))
        merged: list[list[int]] = []
        for start, end in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(end, merged[-1][1])
            else:
                merged.append([start, end])
        cls.starts, cls.ends = np.array(merged, dtype=np.uint64).reshape(-1, 2).T

    @classmethod
    def check(cls, pointers: Any, mask: Any) -> None:
        addresses = np.broadcast_to(pointers.data, np.broadcast_shapes(pointers.data.shape, mask.data.shape))
        addresses = addresses[np.broadcast_to(mask.data, addresses.shape).astype(bool)]
        if not addresses.size:
            return
        size = np.uint64(max(pointers.get_element_ty().primitive_bitwidth // 8, 1))
        place = np.searchsorted(cls.starts, addresses, side="right") - 1
        outside = (place < 0) | (addresses + size > cls.ends[np.maximum(place, 0)]) if len(cls.ends) else True
        if np.any(outside):
            raise IndexError(f"{np.sum(outside)} of {addresses.size} accesses lie outside the kernel's arguments")


if __name__ == "__main__":
    serve()
