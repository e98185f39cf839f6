"""The items of a section, each in its time, in a process of its own that may crash or hang without harm to the rest.

A kernel that reads where it must not leaves its whole process without a device, and one that never ends cannot be
called back. So `measured` runs a section in a child process (`work`), which says what it begins and what it found, a
line of JSON each; where it dies or takes too long, that item has failed and another child does what is left.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from on_gpu.harness import ROOT, Row, Settings, Skipped, reason_of, say, wait

Item = Callable[[Settings], Iterator[Row]]
"""Makes one measurement and yields its rows, each as soon as it is known."""

Section = Mapping[str, Item]
"""Measurements by name, in the order in which they are made."""


def rows_of(section: str, name: str, item: Item, settings: Settings) -> Iterator[Row]:
    """The rows of one item; an exception ends it with a row that says what failed."""
    try:
        for row in item(settings):
            row.section, row.item = section, row.item or name
            yield row
    except Skipped as reason:
        yield Row(section, name, status="skipped", note=str(reason))
    except Exception as error:
        say(traceback.format_exc())
        yield Row(section, name, status="failed", note=reason_of(error))


def work(section: str, items: Section, settings: Settings, leave_out: list[str]) -> None:
    """What the child process does: measures and prints. Ends early where the device is lost."""
    for name, item in items.items():
        if name in leave_out:
            continue
        _print({"begin": name})
        for row in rows_of(section, name, item, settings):
            _print({"row": row.as_dict()})
        _print({"end": name})
        wait(settings.device)  # raises where a kernel has broken the device: another process goes on


def measured(section: str, items: list[str], arguments: argparse.Namespace, seconds: float) -> Iterator[dict[str, Any]]:
    """The rows of a section, made in child processes within so many seconds; see the module."""
    until, done = time.monotonic() + seconds, list[str]()
    while left := [name for name in items if name not in done]:
        if time.monotonic() >= until:
            for name in left:
                note = f"The section's {seconds:.0f} s were over before it began."
                yield Row(section, name, status="skipped", note=note).as_dict()
            return
        began = None
        child = _child(section, done, arguments)
        try:
            for line in _lines(child, until):
                if "begin" in line:
                    began = line["begin"]
                    say(f"[{section}] {began}")
                elif "end" in line:
                    done.append(line["end"])
                    began = None
                else:
                    yield line["row"]
            late = time.monotonic() >= until
        finally:
            _end(child)
        if began is None and left == [name for name in items if name not in done]:
            note = f"The process ended with code {child.returncode} before it began anything; its words are above."
            for name in left:
                yield Row(section, name, status="failed", note=note).as_dict()
            return
        if began is not None:
            done.append(began)
            why = f"stopped when the section's {seconds:.0f} s were over" if late else f"ended by {child.returncode}"
            yield Row(section, began, status="failed", note=f"Its process was {why}.").as_dict()


def _child(section: str, done: list[str], arguments: argparse.Namespace) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", arguments.device, "--worker", section]
    command += ["--quick"] if arguments.quick else []
    command += ["--leave-out", *done] if done else []
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def _lines(child: subprocess.Popen[str], until: float) -> Iterator[dict[str, Any]]:
    """What the child prints, until it ends or the time is over. Lines that are no messages are passed on as words."""
    said: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            said.put(line)
        said.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (left := until - time.monotonic()) > 0:
        try:
            line = said.get(timeout=left)
        except queue.Empty:
            return
        if line is None:
            child.wait()
            return
        if line.startswith(_MARK):
            yield json.loads(line.removeprefix(_MARK))
        else:
            say(line.rstrip())


def _end(child: subprocess.Popen[str]) -> None:
    """Ends the child and what it has started, which share a session of their own."""
    if child.poll() is None:
        os.killpg(child.pid, 9)
    child.wait()


_MARK = "@gpu "


def _print(message: dict[str, Any]) -> None:
    print(_MARK + json.dumps(message), flush=True)
