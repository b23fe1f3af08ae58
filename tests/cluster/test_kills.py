"""Processes are killed, and the job is rescaled, under a steady stream: no event is lost, doubled,
reordered or wrongly attributed."""

import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtools import BUILD
from devtools.broker import Broker
from devtools.cluster import Cluster
from tests.cluster.job import ScoringJob, Stream, key_of
from tests.cluster.kills import CLUSTER_SETTINGS, Run
from tests.cluster.models import offline
from tests.cluster.package import Package
from tests.cluster.verify import Findings, Outcome, Switch, mistimed, verify
from tests.late_events import late_events
from tests.waiting import wait_until
from udfs.records import ModelStatus

ROUNDS = int(os.environ.get("MODELSTREAM_KILL_ROUNDS", "1"))
"""Of five kills each; `make soak` asks for more."""
SUMMARY = Path(os.environ.get("MODELSTREAM_RESTARTS", BUILD / "restarts.json"))
"""Where the figures of the run are written to."""
pytestmark = [
    pytest.mark.timeout(600 + 300 * ROUNDS),
    # kafka-python leaves the sockets of a broker that is away to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
HELD = range(1_000_000, 1_000_050)
"""Events of a model that is published at the end."""
CHANGED = "ms-changed"
"""A header that only the changed code writes."""
BROKEN = 2_000_000
"""An event that has no data."""


@dataclass(frozen=True)
class Ended:
    """A run that is over, and what it left."""

    run: Run
    sent: dict[int, bytes]
    outcomes: list[Outcome]
    changed: bool
    """Whether the changed code ran after the first stop."""
    left: set[str]
    """What was not in the temporary folder of the cluster's processes before the first kill."""
    unfinished: list[str]
    """What is in the cache of artifacts beside the artifacts that were published."""
    late: list[ModelStatus]
    """What was said of activations that came too late."""

    def findings(self) -> Findings:
        """What was wrong."""
        return verify(self.sent, self.outcomes, offline(self.run.published, self.run.job.folder))

    def mistimed(self, switches: Sequence[Switch]) -> int:
        """How many events another version scored than the one of their time."""
        return mistimed(self.outcomes, switches, self.run.stream.time_of)

    def said_of(self, switch: Switch) -> float:
        """How many events a switch was said to have missed; inf: it was said that a kill left no number."""
        return late_events(
            one for one in self.late if (one.model, one.effective_from) == (switch.after, switch.at)
        )

    def figures(self) -> dict[str, object]:
        """What is said of the run."""
        return {
            "kills": self.run.kills,
            "hit": dict(self.run.hits),
            "switches_by_event_time": len(self.run.switches),
            "events": len(self.sent),
            **self.findings()._asdict(),
            "mistimed": self.mistimed(self.run.switches),
            "late": sum(one.late_events or 0 for one in self.late),
            "late_without_number": sum(one.late_events is None for one in self.late),
        }


@pytest.fixture(scope="module")
def summary() -> Iterator[dict[str, object]]:
    """The figures by execution mode, written when all are there."""
    figures: dict[str, object] = {}
    yield figures
    SUMMARY.parent.mkdir(exist_ok=True)
    SUMMARY.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@pytest.fixture(scope="module", params=["embedded", "process"])
def ended(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, summary: dict[str, object]
) -> Iterator[Ended]:
    temporary = tmp_path_factory.mktemp("temporary")
    with (
        Broker.start(tmp_path_factory.mktemp("broker")) as broker,
        Cluster.start(
            tmp_path_factory.mktemp("cluster"),
            settings=CLUSTER_SETTINGS,
            environment={"TMPDIR": str(temporary)},
        ) as cluster,
    ):
        folder = tmp_path_factory.mktemp("kills")
        with ScoringJob(f"kills-{request.param}", request.param, cluster, broker, folder) as job:
            run = Run(job, Stream(job), broker)
            before = _live(run, tmp_path_factory.mktemp("packages"), temporary)
            over = _end(run, _names(temporary) - before)
            summary[request.param] = over.figures()
            sys.stdout.write(f"{request.param}: {over.figures()}\n")
            yield over
        gc.collect()  # while such sockets are ignored


def _live(run: Run, packages: Path, temporary: Path) -> set[str]:
    """Start on one subtask, go on with changed code on two, kill, and end on one.

    Returns:
        What was in the temporary folder before the kills.
    """
    job, cluster = run.job, run.job.cluster
    first, changed = Package(packages / "first"), Package(packages / "changed", message_header=CHANGED)
    run.publish("iris", 1)
    job.send(HELD, "late")
    with run.stream.running():
        run.submit(first, parallelism=1)
        savepoint = run.stop_in_a_load()
        if job.execution == "embedded":
            cluster.kill_task_manager()  # its Python has the first code for as long as it lives
        while len(cluster.task_manager_pids()) < 2:
            cluster.start_task_manager()
        run.submit(changed, parallelism=2, savepoint=savepoint)
        job.send_bytes(b'{"id": %d, "model": "iris"}' % BROKEN, key_of(BROKEN, "iris"))
        before = _names(temporary)
        for _ in range(ROUNDS):
            run.kill_in_a_load()
            run.kill_in_a_switch()
            run.kill_in_a_checkpoint()
            if job.execution == "process":
                run.kill_python_worker()
            run.kill_broker()
        savepoint = run.stop_in_a_load()
        run.submit(changed, parallelism=1, savepoint=savepoint)
        run.publish("late", 1)
        job.scores_on(run.stream)
    return before


def _end(run: Run, left: set[str]) -> Ended:
    job = run.job
    sent = {number: key_of(number, "iris") for number in (*range(run.stream.sent), BROKEN)}
    sent.update({number: key_of(number, "late") for number in HELD})
    wait_until(lambda: len({one.event for one in job.outcomes()}) >= len(sent), 300, "the outcomes", pause=2)
    late = [said for said in job.statuses() if said.status == "late"]
    changed = any(letter.header(CHANGED) for letter in job.dead_letters())
    artifacts = {one.artifact.sha256 for one in run.published if one.artifact is not None}
    unfinished = sorted(_names(job.cache) - artifacts - {"loads"})
    return Ended(run, sent, job.outcomes(), changed, left, unfinished, late)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_kills_and_rescalings_lose_double_reorder_and_misattribute_no_event(ended: Ended) -> None:
    assert ended.findings() == Findings()


def test_the_version_of_an_events_time_scores_it_unless_late_is_said(ended: Ended) -> None:
    assert ended.run.switches
    for switch in ended.run.switches:
        assert ended.mistimed([switch]) <= ended.said_of(switch), switch


def test_every_kind_of_kill_hits(ended: Ended) -> None:
    kinds = {"load", "switch", "checkpoint", "broker", "savepoint in a load"}
    if ended.run.job.execution == "process":
        kinds.add("Python worker")
    assert ended.run.hits.keys() >= kinds


def test_changed_code_goes_on_from_a_savepoint(ended: Ended) -> None:
    assert ended.changed


def test_no_process_outlives_the_kills(ended: Ended) -> None:
    cluster = ended.run.job.cluster
    wait_until(lambda: not cluster.orphans(), what="the end of what the dead had started")


def test_kills_leave_nothing_in_the_temporary_folder(ended: Ended) -> None:
    assert ended.left == set()


def test_a_kill_leaves_at_most_the_file_that_it_broke_off_in_the_cache(ended: Ended) -> None:
    """The next store that is made removes it, when it is a minute old."""
    assert len(ended.unfinished) <= ended.run.kills
