"""The tests of this folder run in one process of their own, in which Triton's interpreter computes on CPU tensors.

Triton reads TRITON_INTERPRET when it is imported, and PyTorch's compiler may have imported it before. The child runs
the tests that were collected here and writes their outcomes down; each test then reports its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CHILD_SECONDS = 600
INTERPRETED = "TRITON_INTERPRET"
OUTCOMES = "GEN3D_TRITON_OUTCOMES"  # the file that the child writes


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if os.environ.get(INTERPRETED) == "1":
        return None
    outcome, text = _outcomes(pyfuncitem.session).get(pyfuncitem.nodeid, ("failed", "The child did not get here."))
    if outcome == "skipped":
        pytest.skip(text)
    if outcome != "passed":
        pytest.fail(text, pytrace=False)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if OUTCOMES in os.environ and (report.when == "call" or report.outcome != "passed"):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        with open(os.environ[OUTCOMES], "a", encoding="utf-8") as file:
            file.write(json.dumps([report.nodeid, report.outcome, text]) + "\n")


@lru_cache(maxsize=1)
def _outcomes(session: pytest.Session) -> dict[str, tuple[str, str]]:
    """The outcome of every test of this folder by its identifier, and what is to be said of it."""
    names = [item.nodeid for item in session.items if FOLDER in item.path.parents]
    config = session.config
    path = Path(config.option.basetemp or os.environ.get("TMPDIR", "/tmp")) / f"gen3d-triton-{os.getpid()}.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", config.option.markexpr, *names]
    path.write_text("")
    try:
        child = subprocess.run(
            command, cwd=config.rootpath, env={**os.environ, INTERPRETED: "1", OUTCOMES: str(path)},
            capture_output=True, text=True, timeout=CHILD_SECONDS, check=False,
        )  # fmt: skip
        found = {name: (outcome, text) for name, outcome, text in map(json.loads, path.read_text().splitlines())}
    finally:
        path.unlink()
    last_words = "\n".join([*child.stdout.splitlines()[-20:], *child.stderr.splitlines()[-20:]])
    missing = f"The child ended with the status {child.returncode} before this test.\n{last_words}"
    return {name: found.get(name, ("failed", missing)) for name in names}
