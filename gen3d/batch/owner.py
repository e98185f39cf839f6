"""Which process does a job: a name that outlives the process, and whether that process still runs."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process. host: the machine, its boot and its space of process ids. started: when the process began, in clock
    ticks since the boot as the kernel counts them; empty where the system does not tell.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Owner:
        """The process that asks."""
        return cls(_host(), os.getpid(), _started(os.getpid()))

    def is_dead(self, host: str) -> bool:
        """Whether it is certain, to somebody on `host`, that the process runs no more; a process id that was given
        away again belongs to another process. False where that cannot be known: on other machines, for example.
        """
        return bool(self.started) and self.host == host and _started(self.pid) != self.started

    def is_alive(self, host: str) -> bool:
        """Whether it is certain, to somebody on `host`, that the process still runs."""
        return bool(self.started) and self.host == host and _started(self.pid) == self.started


def _host() -> str:
    """The name of the machine; where there is /proc, with its boot and the space in which its process ids count."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started(pid: int) -> str:
    """The start time of a process, or nothing where there is no such process, or it is a zombie."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    # The name of the program, in brackets, may hold anything; the fields after it are the state and 18 more.
    fields = line.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
