"""A job that is down for longer than its transactions live says which events have lost their outcomes."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import pytest

from devtools.broker import Broker
from devtools.cluster import Cluster
from tests.cluster.job import ScoringJob
from tests.cluster.kills import CLUSTER_SETTINGS
from tests.cluster.models import iris_onnx
from tests.cluster.package import Package
from tests.waiting import wait_until

TIMEOUT_MS = 10_000
DOWN_SECONDS = 30
"""From the kill on. The broker looks for what has timed out every 10 s."""
ROUNDS = 16
BATCH = 20
SETTINGS = [f"kafka.producer[transaction.timeout.ms]={TIMEOUT_MS}", "checkpoints.interval=1s"]

pytestmark = pytest.mark.timeout(900)


@dataclass
class Loss:
    """A job whose last checkpoint has a transaction that was never committed."""

    job: ScoringJob
    code: Package
    checkpoint: Path
    lost: set[int]
    sent: int
    killed_at: float
    """On the clock of `time.monotonic`."""
    said: str = ""


@pytest.fixture(scope="module")
def loss(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loss]:
    with Cluster.start(tmp_path_factory.mktemp("cluster"), settings=CLUSTER_SETTINGS) as cluster:
        folder = tmp_path_factory.mktemp("downtime")
        with ScoringJob("downtime", "embedded", cluster, broker, folder) as job:
            job.publish(iris_onnx("iris", 1))
            code = Package(tmp_path_factory.mktemp("package"))
            submitted = job.submit(code, settings=SETTINGS)
            job.send([0], "iris")
            job.predicted([0])
            loss = _kill_between_checkpoint_and_commit(job, code, submitted)
            over = loss.killed_at + DOWN_SECONDS
            wait_until(lambda: time.monotonic() > over, DOWN_SECONDS + 60, "the end of the downtime")
            cluster.start_task_manager()
            wait_until(lambda: "Outcomes are lost" in _exceptions(job, submitted), 180, "the job's failure")
            loss.said = _exceptions(job, submitted)
            job.cancel(submitted)
            yield loss


def _kill_between_checkpoint_and_commit(job: ScoringJob, code: Package, submitted: str) -> Loss:
    """What is in the way of a checkpoint's commit is milliseconds long: try until a kill falls into it."""
    checkpoints = job.cluster.folder / "checkpoints" / submitted
    for attempt in range(ROUNDS):
        batch = set(range(1 + attempt * BATCH, 1 + (attempt + 1) * BATCH))
        job.send(batch, "iris")
        wait_until(partial(_are_written, job, batch), 120, "the predictions")
        before = set(checkpoints.glob("chk-*/_metadata"))
        # Any pause would come after the commit.
        new = wait_until(partial(_new_checkpoints, checkpoints, before), 60, "a checkpoint", pause=0)
        job.cluster.kill_task_manager()
        killed_at = time.monotonic()
        try:
            job.predicted(batch, deadline=20)
        except AssertionError:
            return Loss(job, code, new.pop().parent, batch, max(batch), killed_at)
        job.cluster.start_task_manager()
    raise AssertionError(f"{ROUNDS} kills came too late")


def _new_checkpoints(folder: Path, before: set[Path]) -> set[Path]:
    return set(folder.glob("chk-*/_metadata")) - before


def _are_written(job: ScoringJob, batch: set[int]) -> bool:
    return batch <= {one.id for one in job.written()}


def _exceptions(job: ScoringJob, submitted: str) -> str:
    return msgspec.json.encode(job.cluster.get(f"/jobs/{submitted}/exceptions")).decode()


def test_the_failure_names_the_events_whose_outcomes_are_lost(loss: Loss) -> None:
    offsets = defaultdict(list)
    for event in loss.job.events():
        if msgspec.json.decode(event.value or b"")["id"] in loss.lost:
            offsets[event.partition].append(event.offset or 0)
    expected = [
        f"{loss.job.topics.events}/{partition}: {len(found)} at offsets {min(found)} to {max(found)}"
        for partition, found in sorted(offsets.items())
    ]
    assert "; ".join(expected) in loss.said


def test_the_failure_says_why_and_what_to_do(loss: Loss) -> None:
    assert re.search(r"down for longer than transaction\.timeout\.ms \(10000\)", loss.said)
    assert "lost_transactions: accept" in loss.said


def test_a_job_that_accepts_the_loss_goes_on_from_the_same_checkpoint(loss: Loss) -> None:
    job, later = loss.job, loss.sent + 1
    submitted = job.submit(
        loss.code,
        *("-s", loss.checkpoint.as_uri()),
        settings=[*SETTINGS, "lost_transactions=accept"],
    )
    job.send([later], "iris")
    job.predicted([later])
    job.cancel(submitted)

    said = Counter(one.id for one in job.predictions())
    assert said == Counter(set(range(later + 1)) - loss.lost)
