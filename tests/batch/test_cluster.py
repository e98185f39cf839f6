"""A batch on a real Ray cluster of two raylets, with its results on a real S3 server, both on the loopback."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gen3d.batch.cluster import DEATHS, RayCluster, Resources, RunMaker
from gen3d.batch.executors import Work
from gen3d.batch.jobs import Batch
from gen3d.batch.making import Assignment, Outcome
from gen3d.batch.manifest import Manifest, Spec
from gen3d.batch.work import Limits
from gen3d.errors import Gen3DError
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.interrupt import StopFlag
from tests.pipeline.test_resume import SMALL

ROOT = Path(__file__).parents[2]


def test_as_many_jobs_at_once_as_the_scarcest_thing_allows() -> None:
    cluster = {"CPU": 8.0, "GPU": 1.0, "memory": 10e9}
    assert Resources().fitting(cluster) == 8
    assert Resources(1.0, 0.25).fitting(cluster) == 4
    assert Resources(0.1, 0.0, 3_000_000_000).fitting(cluster) == 3
    assert Resources(1.0, 2.0).fitting(cluster) == 1  # it waits, and Ray says for what
    assert Resources(0.0).fitting(cluster) == 1


class TinyMaker(RunMaker):
    """Makes runs with a tiny prior in place of the packaged one."""

    def __init__(self, out: str, command: str) -> None:
        from tests.conftest import build_prior

        ShapePrior.load = staticmethod(lambda folder=None: build_prior())  # type: ignore[method-assign, assignment]
        super().__init__(out, command)


class Moody:
    """Does nothing; some prompts kill the process, for good or until a file is there."""

    def __init__(self, out: str, command: str) -> None:
        if command == "broken":
            raise RuntimeError("this machine lacks gen3d")
        self.out = Path(out)

    def make(self, assignment: Assignment, stop: StopFlag) -> Outcome:
        mark = self.out / f"{assignment.id}.mark"
        if assignment.prompt == "always" or (assignment.prompt == "once" and not mark.exists()):
            mark.touch()
            os._exit(1)
        if assignment.prompt == "waits":
            while not stop:
                time.sleep(0.02)
            return Outcome("stopped", 0.0, 0.0, "It was stopped.")
        return Outcome("done", 0.0, 0.0, f"made by {os.getpid()}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two raylets of one core each, to the first of which this process is connected."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), before or ""])  # raylets hand it on to their workers
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()
    if before is None:
        os.environ.pop("PYTHONPATH")
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server with an empty bucket `gen3d`; workers find it by their environment."""
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("gen3d")
    yield system, settings
    server.stop()


def with_settings(settings: dict[str, str]) -> Callable[[str, str], RunMaker]:
    def factory(out: str, command: str) -> RunMaker:
        os.environ.update(settings)
        return TinyMaker(out, command)

    return factory


def bytes_in(system: Any, root: str) -> dict[str, str]:
    """What was made: all but the measured times, and where it was made."""
    return {
        path.removeprefix(root): hashlib.sha256(system.cat_file(path)).hexdigest()
        for path in system.find(root)
        if path.rpartition("/")[2] not in ("metrics.json", "config.yaml", "command.txt")
    }


@pytest.mark.slow
def test_workers_that_die_are_replaced_and_what_kills_all_is_given_up(tmp_path: Path, cluster: Any) -> None:
    with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
        prompts = ("a", "once", "b", "always", "c")
        plan = manifest.plan([Spec("steps: 1\n", prompt, 0) for prompt in prompts], 1)
        work = Work.of(manifest, plan, str(tmp_path), "x", Limits())
        died = RayCluster(factory=Moody).run(manifest, work, stop)
        jobs = {job.prompt: job for job in manifest.jobs(plan)}
        assert died == 1 + DEATHS + 1
        assert {prompt: job.state for prompt, job in jobs.items()} == {
            "a": "done", "once": "done", "b": "done", "always": "failed", "c": "done",
        }  # fmt: skip
        assert "Its worker died 4 times" in jobs["always"].sentence
        assert jobs["once"].attempts == 2


@pytest.mark.slow
def test_a_batch_on_a_cluster_is_stopped_and_limited(tmp_path: Path, cluster: Any) -> None:
    with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
        plan = manifest.plan([Spec("steps: 1\n", prompt, 0) for prompt in ("a", "b", "c")], 1)
        work = Work.of(manifest, plan, str(tmp_path), "x", Limits(jobs=2))
        assert RayCluster(factory=Moody, max_in_flight=1).run(manifest, work, stop) == 0
        assert manifest.counts(plan)["done"] == 2
        other = manifest.plan([Spec("steps: 1\n", prompt, 1) for prompt in ("a", "waits", "waits")], 1)

        def stop_when_one_waits() -> None:
            with Manifest(manifest.path) as watched:
                for _ in range(1200):
                    counts = watched.counts(other)
                    if counts["done"] == counts["running"] == 1:
                        break
                    time.sleep(0.1)
            stop.set()

        threading.Thread(target=stop_when_one_waits).start()
        RayCluster(factory=Moody).run(manifest, Work.of(manifest, other, str(tmp_path), "x", Limits()), stop)
        counts = manifest.counts(other)
        assert (counts["done"], counts["stopped"]) == (1, 1)
    with Manifest(tmp_path / "n.sqlite") as manifest, StopFlag() as stop:
        plan = manifest.plan([Spec("steps: 1\n", "a", 0)], 1)
        work = Work.of(manifest, plan, str(tmp_path), "broken", Limits())
        with pytest.raises(Gen3DError, match="the same gen3d has to be installed"):
            RayCluster(factory=Moody).run(manifest, work, stop)
        assert manifest.counts(plan)["todo"] == 1


class Counted(Moody):
    """Leaves a file for every worker that began."""

    def __init__(self, out: str, command: str) -> None:
        super().__init__(out, command)
        (self.out / f"{os.getpid()}.worker").touch()

    def make(self, assignment: Assignment, stop: StopFlag) -> Outcome:
        time.sleep(3.0)  # in which all workers that were asked for can begin
        return super().make(assignment, stop)


@pytest.mark.slow
def test_there_are_no_more_workers_than_jobs(tmp_path: Path, cluster: Any) -> None:
    with Manifest(tmp_path / "m.sqlite") as manifest, StopFlag() as stop:
        plan = manifest.plan([Spec("steps: 1\n", "a", 0)], 1)
        executor = RayCluster(resources=Resources(0.1), max_in_flight=4, factory=Counted)
        executor.run(manifest, Work.of(manifest, plan, str(tmp_path), "x", Limits()), stop)
        assert manifest.counts(plan)["done"] == 1
        assert len(list(tmp_path.glob("*.worker"))) == 1


@pytest.mark.slow
def test_a_raylet_dies_and_the_batch_completes_to_the_same_bytes(tmp_path: Path, cluster: Any, s3: Any) -> None:
    """The second machine goes away when both have saved a checkpoint; its job goes on from there on the first one."""
    system, settings = s3
    settled = [*SMALL, "checkpoints.seconds=0.001", "optimization.steps=60"]
    grid = Batch(("a red ball", "a ball", "a planet")).resolve(settled)

    def make(place: str, watch: bool) -> tuple[int, dict[str, str]]:
        killed: list[int] = []

        def kill_one() -> None:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not killed:
                found = {path.split("/")[3] for path in system.find(f"gen3d/{place}") if "/checkpoints/" in path}
                system.invalidate_cache()
                if len(found) == 2:
                    [second] = cluster.worker_nodes
                    cluster.remove_node(second, allow_graceful=False)
                    killed.append(1)
                time.sleep(0.1)

        watcher = threading.Thread(target=kill_one)
        if watch:
            watcher.start()
        with Manifest(tmp_path / f"{place}.sqlite") as manifest, StopFlag() as stop:
            plan = manifest.plan(grid.specs(), 1)
            work = Work.of(manifest, plan, f"s3://gen3d/{place}", "gen3d batch", Limits())
            died = RayCluster(factory=with_settings(settings)).run(manifest, work, stop)
            jobs = list(manifest.jobs(plan))
        if watch:
            watcher.join()
            assert killed == [1]
        assert [job.state for job in jobs] == ["done"] * 3, [job.sentence for job in jobs]
        assert all(str(job.folder).startswith(f"s3://gen3d/{place}/mini/") for job in jobs)
        assert [path for path in system.find(f"gen3d/{place}") if "/checkpoints/" in path] == []
        return died, bytes_in(system, f"gen3d/{place}")

    died, disturbed = make("disturbed", watch=True)
    assert died >= 1
    _, whole = make("whole", watch=False)
    assert disturbed == whole
    assert len(disturbed) > 10
