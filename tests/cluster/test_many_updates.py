"""A model is updated again and again under a stream: nothing grows."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from devtools.broker import Broker
from devtools.cluster import Cluster
from tests.cluster.job import ScoringJob, Stream
from tests.cluster.models import heavy_iris_onnx
from tests.cluster.package import Package
from tests.waiting import wait_until
from udfs.models.updates import PublishModel
from udfs.records import ModelStatus

UPDATES = int(os.environ.get("MODELSTREAM_UPDATES", "24"))
"""After the first ones; `make soak` asks for 500."""
FIRST = 6
"""Updates after which all is loaded and started that ever is."""
LOADED = 3
MODEL_MEBIBYTES = 10
"""What one version that is not closed costs at least."""
CACHE_MEBIBYTES = 64
MEBIBYTE = 1 << 20
WHOLE_HEAP = {"env.java.opts.taskmanager": "-XX:+AlwaysPreTouch"}
"""Java's heap, whose size is fixed, is all there from the start: what grows is something else."""
AHEAD_MS = 300
"""From an update to the event time that it names."""

pytestmark = pytest.mark.timeout(300 + 6 * (FIRST + UPDATES))


@dataclass(frozen=True)
class Size:
    """What the process that scores has, and what lies in folders."""

    pid: int
    threads: int
    descriptors: int
    mebibytes: int
    processes: int
    """Of the TaskManager, the one that scores among them."""
    temporary_files: int
    cached_mebibytes: int


@dataclass
class Updated:
    """A job whose model was updated, and its sizes before and after many of the updates."""

    job: ScoringJob
    sent: int = 0
    sizes: list[Size] = field(default_factory=list)

    @property
    def before(self) -> Size:
        return self.sizes[0]

    @property
    def after(self) -> Size:
        return self.sizes[-1]

    def last_words(self) -> dict[int, ModelStatus]:
        """The last status of each version."""
        return {said.model.version: said for said in self.job.statuses() if said.status != "late"}

    def loaded(self) -> list[int]:
        """The versions that the job holds."""
        return [version for version, said in self.last_words().items() if said.status in ("ready", "active")]


@pytest.fixture(scope="module", params=["embedded", "process"])
def updated(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Updated]:
    execution: str = request.param
    folder, models = tmp_path_factory.mktemp("updates"), tmp_path_factory.mktemp("models")
    temporary = tmp_path_factory.mktemp("temporary")
    with (
        Cluster.start(
            tmp_path_factory.mktemp("cluster"), environment={"TMPDIR": str(temporary)}, settings=WHOLE_HEAP
        ) as cluster,
        ScoringJob(f"updates-{execution}", execution, cluster, broker, folder) as job,
    ):
        updates = Updates(job, models)
        updates.publish(1)
        job.submit(
            Package(tmp_path_factory.mktemp("package")),
            settings=[
                f"loaded_models.max={LOADED}",
                f"artifacts.allow=['{models.as_uri()}']",
                f"artifacts.cache_max_bytes={CACHE_MEBIBYTES}MiB",
            ],
        )
        made, stream = Updated(job), Stream(job)
        with stream.running():
            job.predicted([0])
            for versions in (range(2, FIRST + 1), range(FIRST + 1, FIRST + UPDATES + 1)):
                updates.follow_each(versions)
                job.scores_on(stream)
                made.sizes.append(_size(job, temporary))
        made.sent = stream.sent
        sys.stdout.write(
            f"{execution}, {UPDATES} updates: {made.before} -> {made.after}, {made.sent} events\n"
        )
        yield made


class Updates:
    """Publishes versions, every other one with an event time.

    Args:
        job: that follows them.
        folder: of their artifacts.
    """

    def __init__(self, job: ScoringJob, folder: Path) -> None:
        self._job = job
        self._folder = folder

    def publish(self, version: int) -> PublishModel:
        since = time.time_ns() // 1_000_000 + AHEAD_MS if version % 2 == 0 else None
        update = heavy_iris_onnx("iris", version, self._folder, MODEL_MEBIBYTES, since)
        self._job.publish(update)
        return update

    def follow_each(self, versions: Sequence[int]) -> None:
        """Publish each when the one before is active, or has failed."""
        statuses = self._job.follow_statuses(deadline=180 + 10 * len(versions))
        for version in versions:
            self.publish(version)
            next(s for s in statuses if s.model.version == version and s.status in ("active", "failed"))
            (self._folder / f"iris-{version}.onnx").unlink()


def _size(job: ScoringJob, temporary: Path) -> Size:
    task_manager = psutil.Process(job.cluster.task_manager_pids()[0])
    process = task_manager if job.execution == "embedded" else job.cluster.python_worker()
    return Size(
        process.pid,
        process.num_threads(),
        process.num_fds(),
        process.memory_info().rss // MEBIBYTE,
        len(task_manager.children(recursive=True)),
        sum(1 for folder in (temporary, job.cluster.folder / "tmp") for _ in folder.rglob("*")),
        sum(one.stat().st_size for one in job.cache.rglob("*") if one.is_file()) // MEBIBYTE,
    )


def test_every_update_is_followed(updated: Updated) -> None:
    wrong = {v: said.cause for v, said in updated.last_words().items() if said.status == "failed"}

    assert wrong == {}
    assert updated.last_words().keys() == set(range(1, FIRST + UPDATES + 1))


def test_every_event_is_scored(updated: Updated) -> None:
    updated.job.predicted(range(updated.sent), deadline=180)

    assert updated.job.dead_letters() == []


def test_versions_that_nothing_needs_are_closed(updated: Updated) -> None:
    wait_until(lambda: len(updated.loaded()) <= LOADED, 60, "the end of old versions")


def test_the_process_that_scores_lives_through_all_updates(updated: Updated) -> None:
    assert updated.after.pid == updated.before.pid
    assert {said.attempt for said in updated.last_words().values()} == {0}


def test_threads_do_not_grow(updated: Updated) -> None:
    assert updated.after.threads <= updated.before.threads + 5


def test_file_descriptors_do_not_grow(updated: Updated) -> None:
    assert updated.after.descriptors <= updated.before.descriptors + 10


def test_processes_do_not_grow(updated: Updated) -> None:
    assert updated.after.processes <= updated.before.processes


def test_temporary_folders_do_not_grow(updated: Updated) -> None:
    assert updated.after.temporary_files <= updated.before.temporary_files + 1  # a trial may be running


def test_the_cache_of_artifacts_keeps_its_bound(updated: Updated) -> None:
    assert updated.after.cached_mebibytes <= CACHE_MEBIBYTES


def test_memory_does_not_grow(updated: Updated) -> None:
    """Java's heap breathes; what is never closed would be more."""
    leak = UPDATES * MODEL_MEBIBYTES
    assert updated.after.mebibytes - updated.before.mebibytes <= 0.6 * leak
