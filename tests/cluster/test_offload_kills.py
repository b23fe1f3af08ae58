"""TaskManagers and workers are killed, and the job is rescaled, while events are scored beside the stream:
none is lost, doubled, reordered or wrongly attributed, and no worker outlives its job."""

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import psutil
import pytest

from devtools import model_servers
from devtools.broker import Broker
from devtools.cluster import Cluster
from devtools.model_servers import InferenceServer
from examples.iris import train
from tests.cluster.job import ScoringJob, Stream, key_of, lives
from tests.cluster.kills import CLUSTER_SETTINGS, TRIES, Run
from tests.cluster.models import FLOWERS, flower, offline
from tests.cluster.package import Package
from tests.cluster.verify import Findings, Outcome, Version, verify
from tests.faults import Delay, Hang
from tests.faulty_proxy import FaultyProxy
from tests.heavy_model import heavy
from tests.inference_servers import score
from tests.waiting import wait_until
from udfs.errors import ScoreError
from udfs.json_values import JsonValue
from udfs.models.updates import PublishModel
from udfs.records import ModelId

pytestmark = [
    pytest.mark.timeout(1500),
    # kafka-python leaves the sockets of a broker that is away to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
DELAY = 0.1
"""Seconds that each answer of the server takes more: the events of that time are in flight at any moment."""
HEAVY = heavy("heavy", train.FIELDS, rounds=300)
"""Busy with one batch after the other: so are its workers."""
ASKED = {"model": "iris", "outputs": "predict", "fields": ",".join(train.FIELDS)}
LANE = {"deadline": 30, "attempts": 100, "max_waiting": 200}


class OffloadingJob(ScoringJob):
    """A scoring job that may ask an endpoint."""

    endpoint: str

    def submit(
        self, code: Package, *options: str | Path, parallelism: int = 1, settings: Iterable[str] = ()
    ) -> str:
        more = f"artifacts.allow=['{self.endpoint}']", "checkpoints.interval=1s"
        return super().submit(code, *options, parallelism=parallelism, settings=[*settings, *more])


class TwoModels(Stream):
    """Sends events of a remote model, and of one that worker processes score."""

    def _work(self) -> None:
        self.batch = 10
        while not self._over.wait(0.02):
            numbers = range(self.sent, self.sent + self.batch)
            for model in ("iris", "heavy"):
                self._job.send([number for number in numbers if model_of(number) == model], model)
            self.sent += self.batch


class OffloadRun(Run):
    """What is done to a job whose events are in flight."""

    def stop(self) -> str:
        """Stop the job with a savepoint; returns the savepoint's path."""
        return self.job.savepoint(self._id, self.job.begin_stop(self._id))

    def kill_in_flight(self) -> None:
        with self._recovery():
            self._after_a_moment()
            self._kill_task_manager()
        self._note("in flight", hit=True)

    def kill_in_a_checkpoint_behind(self, proxy: FaultyProxy) -> None:
        """Kill a TaskManager while a barrier waits, behind events for which a server has no room."""
        for _ in range(TRIES):
            with self._recovery():
                before, proxy.fault = proxy.fault, Hang()
                number = wait_until(self._stuck_checkpoint, what="a checkpoint that waits")
                self._kill_task_manager()
                proxy.fault = before
            if self._note("checkpoint", hit=self._checkpoints().get(number or 0) == "FAILED"):
                break

    def kill_worker(self) -> None:
        """Kill a process that scores for the job, and wait for another and for its events."""
        self._after_a_moment()
        self._both_workers()
        worker = workers(self.job.cluster)[0]
        worker.kill()
        wait_until(lambda: not lives(worker), what="the end of the worker")
        self._both_workers()
        self.job.scores_on(self.stream)
        self._note("worker", hit=True)

    def _both_workers(self) -> None:
        """Wait until each subtask has its worker."""
        wait_until(lambda: len(workers(self.job.cluster)) == 2, 120, "both workers")

    def _stuck_checkpoint(self) -> int | None:
        """The number of a checkpoint that is in progress for a second."""
        history = self.job.cluster.get(f"/jobs/{self._id}/checkpoints")["history"]
        since = (time.time() - 1) * 1000
        found = [
            one["id"]
            for one in history
            if one["status"] == "IN_PROGRESS" and one["trigger_timestamp"] < since
        ]
        return int(found[0]) if found else None


def model_of(number: int) -> str:
    return "iris" if number % 5 else "heavy"


def workers(cluster: Cluster) -> list[psutil.Process]:
    """The processes of a cluster that score beside it."""
    found = []
    for process in cluster.python_workers():
        try:
            if "udfs.offload.worker_process" in process.cmdline() and lives(process):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@dataclass(frozen=True)
class Ended:
    """A run that is over, and what it left."""

    run: Run
    sent: Mapping[int, bytes]
    outcomes: list[Outcome]
    versions: Mapping[ModelId, Version]
    rescaled: int
    """How many events were sent before the job was rescaled."""
    left: list[psutil.Process]
    """Worker processes that were there after the job was stopped."""

    def findings(self) -> Findings:
        """What was wrong, the order aside."""
        return verify(self.sent, self.outcomes, self.versions)._replace(reordered=0)

    def reordered(self) -> list[int]:
        """Events that left behind a later one of their key. Where the job was rescaled, those in flight may
        leave beside later ones, in their own order: see `docs/restarts.md`."""
        lines: defaultdict[bytes, list[int]] = defaultdict(list)
        for one in self.outcomes:
            lines[one.key].append(one.event)
        wrong = []
        for line in lines.values():
            late = [
                event for event, highest in zip(line, accumulate(line, max), strict=True) if event < highest
            ]
            wrong += [event for event in late if event >= self.rescaled]
            earlier = [event for event in line if late and event <= max(late)]
            if earlier != sorted(earlier):
                wrong += earlier
        return wrong


@pytest.fixture(scope="module", params=["embedded", "process"])
def ended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    with (
        model_servers.mlserver(tmp_path_factory.mktemp("mlserver")) as server,
        FaultyProxy(int(server.grpc_url.rpartition(":")[2])) as proxy,
        Broker.start(tmp_path_factory.mktemp("broker")) as broker,
        Cluster.start(tmp_path_factory.mktemp("cluster"), settings=CLUSTER_SETTINGS) as cluster,
    ):
        folder = tmp_path_factory.mktemp("kills")
        with OffloadingJob(f"offload-{request.param}", request.param, cluster, broker, folder) as job:
            job.endpoint = f"grpc://127.0.0.1:{proxy.port}"
            proxy.fault = Delay(DELAY)
            run = OffloadRun(job, TwoModels(job), broker)
            iris = PublishModel(
                ModelId("iris", 1), "open-inference", options={"url": job.endpoint, **ASKED, **LANE}
            )
            job.publish(iris, HEAVY)
            code = Package(tmp_path_factory.mktemp("package"))
            yield _live(run, code, proxy, _versions(iris, server, folder))
        gc.collect()  # while such sockets are ignored


def _live(run: OffloadRun, code: Package, proxy: FaultyProxy, versions: Mapping[ModelId, Version]) -> Ended:
    """Start on one subtask, go on on two, kill, and end."""
    job, stream = run.job, run.stream
    with stream.running():
        run.submit(code, parallelism=1)
        job.scores_on(stream)
        savepoint = run.stop()
        rescaled = stream.sent
        while len(job.cluster.task_manager_pids()) < 2:
            job.cluster.start_task_manager()
        run.submit(code, parallelism=2, savepoint=savepoint)
        run.kill_in_flight()
        run.kill_worker()
        run.kill_in_a_checkpoint_behind(proxy)
        if job.execution == "process":
            run.kill_python_worker()
        job.scores_on(stream)
    sent = {number: key_of(number, model_of(number)) for number in range(stream.sent)}
    wait_until(lambda: len({one.event for one in job.outcomes()}) >= len(sent), 300, "the outcomes", pause=2)
    run.stop()
    over = Ended(run, sent, job.outcomes(), versions, rescaled, workers(job.cluster))
    sys.stdout.write(
        f"{job.execution}: {dict(run.hits)}, {len(sent)} events, {over.findings()}, "
        f"{verify(sent, over.outcomes, versions).reordered} reordered by the rescaling\n"
    )
    return over


def _versions(iris: PublishModel, server: InferenceServer, folder: Path) -> dict[ModelId, Version]:
    """What each version says of each event."""
    said = score(server.grpc_url, *(flower(number) for number in range(FLOWERS)), **ASKED)

    def outputs(event: int) -> JsonValue:
        one = said[event % FLOWERS]
        assert not isinstance(one, ScoreError)
        return one

    return {iris.model: Version(iris.identity(), outputs), **offline([HEAVY], folder)}


def test_events_in_flight_are_not_lost_doubled_or_misattributed(ended: Ended) -> None:
    assert ended.findings() == Findings()


def test_events_of_a_key_keep_their_order(ended: Ended) -> None:
    assert ended.reordered() == []


def test_a_kill_costs_no_prediction(ended: Ended) -> None:
    assert [one.event for one in ended.outcomes if one.model is None] == []


def test_every_kind_of_kill_hits(ended: Ended) -> None:
    kinds = {"in flight", "worker", "checkpoint"}
    if ended.run.job.execution == "process":
        kinds.add("Python worker")
    assert ended.run.hits.keys() >= kinds


def test_no_process_outlives_the_kills(ended: Ended) -> None:
    cluster = ended.run.job.cluster
    wait_until(lambda: not cluster.orphans(), what="the end of what the dead had started")


def test_no_worker_outlives_its_job(ended: Ended) -> None:
    wait_until(lambda: not any(map(lives, ended.left)), what="the end of the workers")
