"""Tests marked `in_child` run in a process of their own: one that ends by a signal fails alone.

Importing PyTorch takes seconds, so one server imports it, and forks a child for each test. It never starts a thread
itself: a fork would not take them along.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

CHILD_SECONDS = 60


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "in_child: runs in a process of its own, which a bad access may end")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("in_child") is None:
        return None
    parameters = pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
    answer = _server().ask(pyfuncitem.path, pyfuncitem.originalname, parameters)
    if answer:
        pytest.fail(answer, pytrace=False)
    return True


def pytest_unconfigure() -> None:
    if _server.cache_info().currsize:
        _server().close()


@lru_cache(maxsize=1)
def _server() -> Server:
    return Server()


class Server:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, path: Path, name: str, parameters: dict[str, object]) -> str:
        """What went wrong in the child that ran a function of a file; empty where it returned."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([str(path), name, parameters]) + "\n")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            _server.cache_clear()  # the next test gets a server that lives
            return f"the server ended with the status {self.process.wait()}"
        return str(json.loads(line))

    def close(self) -> None:
        self.process.communicate()  # the end of its input ends it


def serve() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what the children print
    for line in sys.stdin:
        path, name, parameters = json.loads(line)
        test = getattr(_load(path), name)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            signal.alarm(CHILD_SECONDS)
            _run_test(test, parameters, writer)
        os.close(writer)
        with os.fdopen(reader) as file:
            problem = file.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status < 0:
            problem = f"the child was ended by {signal.Signals(-status).name}"
        elif status and not problem:
            problem = f"the child ended with the status {status}"
        os.write(answers, (json.dumps(problem) + "\n").encode())


def _run_test(test: Callable[..., object], parameters: dict[str, object], writer: int) -> None:
    """Ends this process: with the status 1, and the traceback written to `writer`, where the test failed."""
    import torch

    torch.set_num_threads(2)
    try:
        test(**parameters)
    except BaseException:
        os.write(writer, traceback.format_exc().encode()[-60_000:])
        os._exit(1)
    os._exit(0)


@lru_cache(maxsize=16)
def _load(path: str) -> object:
    """The module of a file of tests, imported here once and not in every child."""
    spec = importlib.util.spec_from_file_location("tests_in_child", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    serve()
