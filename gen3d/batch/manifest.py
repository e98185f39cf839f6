"""The manifest of a batch: what is to do, running, done, failed and stopped, in one SQLite file beside the runs.

Several processes may work from one manifest. A job is claimed in one transaction, and belongs to the process that
claimed it until that says what became of it or dies, so that no two processes do it. The file is on a disk of this
machine: SQLite's write-ahead log does not work over a network.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gen3d.batch.owner import Owner
from gen3d.errors import Gen3DError

FORMAT = 3
"""The version of the tables below, which the file carries as SQLite's `user_version`. Format 1 had no columns `label`
and `metrics`, and format 2 none that is called `failures`; both are brought up to date when they are opened."""

LEASE = 120.0
"""Seconds after which a job of a process of which nothing was heard, and nothing can be known, is free again."""

STATES = ("todo", "running", "done", "failed", "stopped")

_TABLES = """
CREATE TABLE recipes (id TEXT PRIMARY KEY, text TEXT NOT NULL, label TEXT NOT NULL DEFAULT '');
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, plan TEXT NOT NULL, number INTEGER NOT NULL, recipe TEXT NOT NULL REFERENCES recipes,
    prompt TEXT NOT NULL, seed INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'todo', attempts INTEGER NOT NULL
    DEFAULT 0, host TEXT, pid INTEGER, started TEXT, begun REAL, heard REAL, not_before REAL NOT NULL DEFAULT 0,
    seconds REAL, memory REAL, folder TEXT, sentence TEXT NOT NULL DEFAULT '', metrics TEXT, failures INTEGER NOT NULL
    DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX jobs_by_state ON jobs (plan, state, number);
"""

_UPDATES = {
    1: ("ALTER TABLE recipes ADD COLUMN label TEXT NOT NULL DEFAULT ''", "ALTER TABLE jobs ADD COLUMN metrics TEXT"),
    2: ("ALTER TABLE jobs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0",),
}
"""What makes the next format of each earlier one."""

_COLUMNS = (
    "id, number, recipe, prompt, seed, state, attempts, begun, seconds, memory, folder, sentence, metrics, failures"
)


@dataclass(frozen=True)
class Spec:
    """A job before it is planned. recipe: YAML of its stages without prompt, seed and output folder. label: what a
    person calls its configuration; it decides nothing.
    """

    recipe: str
    prompt: str
    seed: int
    label: str = ""


@dataclass(frozen=True)
class Job:
    """A row of the manifest.

    id: a hash of what decides the result. recipe: the key of its stages' text, see `Manifest.recipe`. attempts: how
    often it was begun, which also tells one claim from the next. begun: when, in seconds since 1970. seconds: how long
    the last attempt took. memory: the most that its process held, in bytes. folder: of its run, once there is one.
    sentence: a summary, or why it failed. metrics: figures of the finished run, as JSON text. failures: how often it
    failed, in whichever process, since it was planned.
    """

    id: str
    number: int
    recipe: str
    prompt: str
    seed: int
    state: str
    attempts: int
    begun: float | None
    seconds: float | None
    memory: float | None
    folder: str | None
    sentence: str
    metrics: str | None = None
    failures: int = 0


def recipe_id(text: str, state_version: int) -> str:
    """The key of the stages with the YAML `text`, whose runs save states of the format `state_version`."""
    return hashlib.sha256(f"{state_version}\n{text}".encode("utf-8", "surrogateescape")).hexdigest()[:20]


def job_id(recipe: str, prompt: str, seed: int) -> str:
    """A hash of all that decides what a job makes: its stages by their `recipe_id`, its prompt and its seed."""
    content = json.dumps([recipe, prompt, seed])
    return hashlib.sha256(content.encode()).hexdigest()[:20]


class Manifest:
    """An open manifest, for one thread. clock: seconds since 1970. owner: the process that claims."""

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time, owner: Owner | None = None) -> None:
        """Opens the file, or makes it where there is none. Raises Gen3DError where it is no manifest of this format,
        is damaged, or cannot be read and written.
        """
        self.path, self.clock, self.owner = Path(path), clock, owner or Owner.current()
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            with self._explained():
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")  # survives kill -9; a power cut may undo the last
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def plan(self, specs: Iterable[Spec], state_version: int) -> str:
        """Puts jobs on the list, in their order, and returns the plan's name; those that are known keep what became of
        them, but failed and stopped ones are to be done again. Equal jobs are one.
        """
        keys: dict[str, str] = {}
        labels: dict[str, str] = {}
        rows: dict[str, tuple[str, str, int]] = {}
        for spec in specs:
            key = keys.setdefault(spec.recipe, "") or recipe_id(spec.recipe, state_version)
            keys[spec.recipe] = key
            labels.setdefault(key, spec.label)
            rows.setdefault(job_id(key, spec.prompt, spec.seed), (key, spec.prompt, spec.seed))
        name = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:20]
        with self._transaction() as database:
            database.executemany(
                "INSERT INTO recipes (id, text, label) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET label = excluded.label",
                [(key, text, labels[key]) for text, key in keys.items()],
            )
            database.executemany(
                "INSERT INTO jobs (id, plan, number, recipe, prompt, seed) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET plan = excluded.plan, number = excluded.number, failures = 0",
                ((job, name, number, *row) for number, (job, row) in enumerate(rows.items(), start=1)),
            )
            database.execute(
                "UPDATE jobs SET state = 'todo', not_before = 0 WHERE plan = ? AND state IN ('failed', 'stopped')",
                (name,),
            )
        return name

    def claim(self, plan: str) -> Job | None:
        """The next job for this process: one that is to do, or one whose process died; None where there is none now."""
        with self._transaction() as database:
            now = self.clock()
            row = database.execute(
                "SELECT id FROM jobs WHERE plan = ? AND state = 'todo' AND not_before <= ? ORDER BY number LIMIT 1",
                (plan, now),
            ).fetchone()
            identity = row[0] if row else self._abandoned(plan, now)
            if identity is None:
                return None
            taken = database.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, host = ?, pid = ?, started = ?,"
                f" begun = ?, heard = ?, sentence = '' WHERE id = ? RETURNING {_COLUMNS}",
                (self.owner.host, self.owner.pid, self.owner.started, now, now, identity),
            ).fetchall()
        return Job(*taken[0])

    def release(self, job: Job) -> bool:
        """Gives a claimed job back, of which nothing was done."""
        return self._update(job, "state = ?", ("todo",))

    def heartbeat(self, job: Job) -> bool:
        """Says that the job is being worked on. False where it belongs to somebody else by now: leave it then."""
        return self._update(job, "heard = ?", (self.clock(),))

    def set_folder(self, job: Job, folder: str | Path) -> bool:
        """Says where the job's run lies, from which it can go on; before anything of it is worth keeping."""
        return self._update(job, "folder = ?", (str(folder),))

    def finish(self, job: Job, seconds: float, memory: float, sentence: str, metrics: str | None = None) -> bool:
        """The job is done. metrics: figures of its run, as JSON text. False, and nothing is changed, where it belongs
        to somebody else by now.
        """
        return self._end(job, "done", seconds, memory, sentence, metrics=metrics)

    def stop(self, job: Job, seconds: float, memory: float, sentence: str = "") -> bool:
        """The job was interrupted, and goes on when it is planned again."""
        return self._end(job, "stopped", seconds, memory, sentence)

    def fail(self, job: Job, seconds: float, memory: float, sentence: str, retry_in: float | None = None) -> bool:
        """The job failed, which is counted. retry_in: seconds after which it is tried again; None gives it up."""
        state = "failed" if retry_in is None else "todo"
        return self._end(job, state, seconds, memory, sentence, self.clock() + (retry_in or 0.0), failed=1)

    def put_back(self, job: Job, seconds: float, sentence: str) -> bool:
        """The job's worker died, which is no failure of the job: it is to do again, and goes on where it was."""
        return self._end(job, "todo", seconds, 0.0, sentence)

    def jobs(self, plan: str | None = None) -> Iterator[Job]:
        """All jobs of a plan, or of the manifest, in the order in which they were planned."""
        where, values = ("", ()) if plan is None else (" WHERE plan = ?", (plan,))
        with self._explained():
            for row in self._database.execute(f"SELECT {_COLUMNS} FROM jobs{where} ORDER BY plan, number", values):
                yield Job(*row)

    def newest(self, plan: str, state: str, count: int) -> list[Job]:
        """The jobs in a state that were begun last, at most `count`."""
        query = f"SELECT {_COLUMNS} FROM jobs WHERE plan = ? AND state = ? ORDER BY begun DESC LIMIT ?"
        with self._explained():
            return [Job(*row) for row in self._database.execute(query, (plan, state, count))]

    def counts(self, plan: str) -> dict[str, int]:
        """How many jobs of a plan are in each of the `STATES`."""
        with self._explained():
            rows = self._database.execute("SELECT state, COUNT(*) FROM jobs WHERE plan = ? GROUP BY state", (plan,))
            return dict.fromkeys(STATES, 0) | dict(rows.fetchall())

    def plans(self) -> list[str]:
        """The plans of the manifest, that which was put on the list last at the end."""
        with self._explained():
            rows = self._database.execute("SELECT plan FROM jobs GROUP BY plan ORDER BY MAX(heard), plan").fetchall()
        return [str(row[0]) for row in rows]

    def costs(self) -> dict[str, tuple[int, float, float, float | None]]:
        """What finished jobs took, by the key of their configuration: how many they are, their mean seconds, the most
        memory (bytes), and the mean size of their folders (bytes) where it is known.
        """
        query = (
            "SELECT recipe, COUNT(*), AVG(seconds), MAX(memory), AVG(json_extract(metrics, '$.disk')) FROM jobs"
            " WHERE state = 'done' AND seconds IS NOT NULL AND metrics IS NOT NULL GROUP BY recipe"
        )
        with self._explained():
            return {row[0]: (row[1], row[2], row[3], row[4]) for row in self._database.execute(query).fetchall()}

    def labels(self) -> dict[str, str]:
        """What a person calls the configurations, by the key of their text."""
        with self._explained():
            return dict(self._database.execute("SELECT id, label FROM recipes").fetchall())

    def next_due(self, plan: str) -> float | None:
        """Seconds until the next job that is to do may be claimed, 0 for now; None where none is left to do."""
        now, to_do = self.clock(), "FROM jobs WHERE plan = ? AND state = 'todo'"
        with self._explained():
            # The first that is to do is nearly always due; the smallest time is looked for among all of them.
            if self._database.execute(f"SELECT 1 {to_do} AND not_before <= ? LIMIT 1", (plan, now)).fetchone():
                return 0.0
            row = self._database.execute(f"SELECT MIN(not_before) {to_do}", (plan,)).fetchone()
            return None if row[0] is None else max(0.0, float(row[0]) - now)

    def recipe(self, key: str) -> str:
        """The YAML of a job's stages, without prompt, seed and output folder."""
        with self._explained():
            row = self._database.execute("SELECT text FROM recipes WHERE id = ?", (key,)).fetchone()
        if row is None:
            raise Gen3DError(f"The manifest {self.path} lacks the configuration {key}: it is damaged; begin a new one.")
        return str(row[0])

    def _abandoned(self, plan: str, now: float) -> str | None:
        """A running job whose process is dead, or on another machine and silent for too long."""
        rows = self._database.execute(
            "SELECT id, host, pid, started, heard FROM jobs WHERE plan = ? AND state = 'running' ORDER BY number",
            (plan,),
        )
        for identity, host, pid, started, heard in rows.fetchall():
            owner = Owner(host, pid, started)
            silent = now - heard > LEASE and not owner.is_alive(self.owner.host)
            if silent or owner.is_dead(self.owner.host):
                return str(identity)
        return None

    def _end(
        self,
        job: Job,
        state: str,
        seconds: float,
        memory: float,
        sentence: str,
        not_before: float = 0.0,
        metrics: str | None = None,
        failed: int = 0,
    ) -> bool:
        return self._update(
            job,
            "state = ?, seconds = ?, memory = ?, sentence = ?, not_before = ?, metrics = ?, failures = failures + ?",
            (state, seconds, memory, sentence.encode("utf-8", "replace").decode(), not_before, metrics, failed),
        )

    def _update(self, job: Job, assignments: str, values: tuple[object, ...]) -> bool:
        """Changes a job, if the claim that `job` came from still stands: `attempts` counts the claims."""
        with self._transaction() as database:
            changed = database.execute(
                f"UPDATE jobs SET {assignments} WHERE id = ? AND attempts = ? AND state = 'running'",
                (*values, job.id, job.attempts),
            )
            return changed.rowcount == 1

    def _prepare(self) -> None:
        with self._transaction() as database:  # of two processes that begin at once, one makes the tables
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            elif version in _UPDATES:
                for earlier in range(version, FORMAT):
                    for statement in _UPDATES[earlier]:
                        database.execute(statement)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            elif version != FORMAT:
                raise Gen3DError(
                    f"{self.path} is no manifest of a batch in the format {FORMAT}: remove it, or choose another --out."
                )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the right to write from its first statement on."""
        with self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what SQLite and the disk complain about into a sentence, and values that are none in a damaged file."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
            raise Gen3DError(
                f"The manifest {self.path} cannot be used ({error}): check its permissions and the free space; "
                "if it is damaged, remove it, and the batch begins anew."
            ) from None
