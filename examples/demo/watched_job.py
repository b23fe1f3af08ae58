"""A running job, as the demo sees it: events and updates in, what came out counted."""

import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

from kafka import KafkaConsumer, KafkaProducer

from connectors.client import Record
from devtools import processes
from examples.demo.tally import Tally
from jobs.config import JobConfig


class DemoError(Exception):
    """The demo could not go on."""


class WatchedJob:
    """A running job with its topics, as the demo sees it."""

    def __init__(self, config: JobConfig, job: Popen[bytes], log: Path) -> None:
        self.tally = Tally()
        self._job, self._log = job, log
        self._topics = config.topics
        bootstrap = config.kafka.bootstrap_servers
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
        # What is being written is shown at once; the sums at the end are of what is committed.
        self._consumer = KafkaConsumer(
            config.topics.predictions,
            config.topics.dead_letters,
            config.topics.model_status,
            bootstrap_servers=bootstrap,
            isolation_level="read_uncommitted",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )

    def close(self) -> None:
        """Close the Kafka clients."""
        self._consumer.close()
        self._producer.close()

    def send(self, topic: str, record: Record) -> None:
        """Send to ``events`` or ``control``."""
        name = {"events": self._topics.events, "control": self._topics.control}[topic]
        self._producer.send(
            name, record.value, record.key, list(record.headers), timestamp_ms=record.timestamp
        )

    def read(self) -> None:
        """Count what came out, waiting a moment for it.

        Raises:
            DemoError: the job ended.
        """
        if self._job.poll() is not None:
            raise DemoError(f"the job ended; the end of its log:\n{processes.end_of(self._log)}")
        add = {
            self._topics.predictions: lambda some: self.tally.add_predictions(some, time.time() * 1000),
            self._topics.dead_letters: self.tally.add_dead_letters,
            self._topics.model_status: self.tally.add_statuses,
        }
        for partition, found in self._consumer.poll(timeout_ms=100).items():
            add[partition.topic]([Record(r.value, r.key, tuple(r.headers), r.timestamp) for r in found])

    def read_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Count what comes out until a condition holds.

        Raises:
            DemoError: it did not in ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                log = processes.end_of(self._log)
                raise DemoError(f"{what} did not come in {seconds:g} s; the end of the job's log:\n{log}")
            self.read()
