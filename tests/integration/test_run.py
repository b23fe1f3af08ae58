"""`modelstream run`: the job on a local MiniCluster, stopped and started as a person would."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from devtools import ROOT
from devtools.broker import Broker
from devtools.topics import create_job_topics, read_all, send, topics_named
from examples.iris import train
from tests.integration.records import event, publish
from tests.waiting import wait_until

TOPICS = topics_named("run")


@contextmanager
def running(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "run", *arguments], cwd=ROOT, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def predicted(broker: Broker) -> list[int]:
    return [
        json.loads(record.value or b"")["id"] for record in read_all(broker.bootstrap, TOPICS.predictions)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "iris.onnx"
    train.write_onnx(train.fit_logistic_regression(), path)
    return path.read_bytes()


def test_ctrl_c_leaves_no_process_and_a_savepoint_that_has_what_was_held(
    broker: Broker, model: bytes, tmp_path: Path
) -> None:
    create_job_topics(broker.bootstrap, TOPICS)
    settings = [
        f"kafka.bootstrap_servers={broker.bootstrap}",
        "parallelism=1",
        "missing_model.hold=1h",
        f"checkpoints.folder={(tmp_path / 'checkpoints').as_uri()}",
        f"artifacts.cache_folder={tmp_path / 'cache'}",
        *(f"topics.{field}={topic}" for field, topic in msgspec.structs.asdict(TOPICS).items()),
    ]
    arguments = [part for setting in settings for part in ("--set", setting)]
    send(broker.bootstrap, TOPICS.control, [publish("iris", 1, model)])
    send(broker.bootstrap, TOPICS.events, [event(1), event(2, "rosa")])

    with running(arguments, tmp_path / "first.log") as job:
        wait_until(lambda: predicted(broker) == [1], deadline=180, what="the first prediction")
        started = psutil.Process(job.pid).children(recursive=True)
        job.send_signal(signal.SIGINT)
        assert job.wait(120) == 0, (tmp_path / "first.log").read_text()[-3000:]
    assert [child for child in started if child.is_running() and child.status() != "zombie"] == []
    said = (tmp_path / "first.log").read_text()
    savepoint = re.search(r"--set '(flink\[execution\.state-recovery\.path\]=[^']+)'", said)
    assert savepoint is not None, said

    send(broker.bootstrap, TOPICS.control, [publish("rosa", 1, model)])
    with running([*arguments, "--set", savepoint[1]], tmp_path / "second.log") as job:
        wait_until(lambda: predicted(broker) == [1, 2], deadline=180, what="the event that was held")
        job.send_signal(signal.SIGTERM)
        assert job.wait(120) == 0


def test_ctrl_c_before_the_job_runs_is_no_traceback(tmp_path: Path) -> None:
    # Nothing listens here, so that the check of the topics is what is interrupted.
    with running(["--set", "kafka.bootstrap_servers=127.0.0.1:1"], tmp_path / "log") as job:
        wait_until(lambda: psutil.Process(job.pid).children(), deadline=60, what="Java")
        job.send_signal(signal.SIGINT)
        status = job.wait(120)

    assert (status, "Traceback" in (tmp_path / "log").read_text()) == (130, False)
