"""Where everything is measured: one broker, one topic of events, and programs that score it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import psutil
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from devtools import ROOT, processes
from devtools.processes import ProcessError
from devtools.topics import create_topic
from examples.iris.train import FIELDS, MEASURES

_SAMPLE_SECONDS = 0.2
_STEADY = (0.5, 0.95)
"""The part of a run that counts, by its outcomes: until half of them Java still compiles."""
_DEADLINE_SECONDS = 240.0

FLOWERS = [dict(zip(FIELDS, row, strict=True)) for row in MEASURES.tolist()]
_EVENTS = [json.dumps({"id": 0, "data": flower}).encode() for flower in FLOWERS]


class Run(NamedTuple):
    """A program that scored a part of a topic."""

    events_per_second: float
    """By the broker's append times, in steady state."""
    cpu_seconds_per_million: float
    """Of all its processes, in steady state."""
    peak_mib: Mapping[str, float]
    """The most memory of each of its processes (resident): ``client`` is the one that was started."""
    half_way_mib: Mapping[str, float]
    """The same until steady state."""


class Program(NamedTuple):
    """What to run: it reads the events and writes to a topic."""

    name: str
    command: Sequence[str | Path]
    output: str
    environment: Mapping[str, str] = {}


class Stand:
    """A broker with topics, and a folder for everything that programs write."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self._number = 0

    def number(self) -> int:
        """A number that was not given before."""
        self._number += 1
        return self._number

    def output_topic(self, name: str) -> str:
        """Make a topic whose records bear the time at which the broker appended them."""
        create_topic(self.bootstrap, name, config={"message.timestamp.type": "LogAppendTime"})
        return name

    def fill(self, topic: str, count: int, value: Callable[[int], bytes]) -> None:
        """Make a topic of events; keys repeat after 1000."""
        create_topic(self.bootstrap, topic)
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "linger.ms": 50,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 500_000,
            }
        )
        for number in range(count):
            while True:
                try:
                    producer.produce(topic, value(number), b"key-%d" % (number % 1000))
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush()

    @contextmanager
    def running(self, program: Program) -> Iterator[Popen[bytes]]:
        """Run a program; at the end nothing of it is left."""
        log = self.folder / f"{program.output}.log"
        environment = {
            "TMPDIR": str(self.folder),
            "FLINK_LOG_DIR": str(self.folder),
            "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={self.folder}",
            # Real workers, as on a cluster: Flink's client would run them as threads of its own.
            "_python_worker_execution_mode": "process",
            **program.environment,
        }
        process = processes.start(program.command, log, folder=ROOT, environment=environment)
        try:
            yield process
        except BaseException as error:
            error.add_note(f"the end of the log of {program.name}:\n{processes.end_of(log)}")
            raise
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            processes.kill(process)
            for child in children:
                with _gone_is_fine():
                    child.kill()
            psutil.wait_procs(children, 10)
            # A disk full of outputs would slow down what is measured next.
            AdminClient({"bootstrap.servers": self.bootstrap}).delete_topics([program.output])

    def measure(self, program: Program, outcomes: int) -> Run:
        """Run a program until it has written a number of outcomes.

        Raises:
            ProcessError: it ended, or took too long.
        """
        samples: list[tuple[int, float]] = []
        usage = _Usage()
        begin, finish = (round(part * outcomes) for part in _STEADY)
        half_way_mib: dict[str, float] = {}
        deadline = time.monotonic() + _DEADLINE_SECONDS
        with self.running(program) as process, self._consumer() as consumer:
            end = 0
            while end < outcomes:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ProcessError(f"{program.name}: {end} of {outcomes} outcomes")
                time.sleep(_SAMPLE_SECONDS)
                end = consumer.get_watermark_offsets(TopicPartition(program.output, 0), timeout=10)[1]
                samples.append((end, usage.cpu_seconds(process.pid)))
                if end <= begin or not half_way_mib:
                    half_way_mib = dict(usage.peak_mib)
            seconds = (
                self._appended_at(consumer, program.output, finish)
                - self._appended_at(consumer, program.output, begin)
            ) / 1000
        steady = [sample for sample in samples if sample[0] >= begin]
        (first, cpu_before), (last, cpu_after) = steady[0], steady[-1]
        cpu = (cpu_after - cpu_before) / max(1, last - first) * 1e6
        return Run((finish - begin) / seconds, cpu, usage.peak_mib, half_way_mib)

    def outcomes(self, topic: str, begin: int, count: int) -> Iterator[Message]:
        """Read some records of a topic."""
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(topic, 0, begin)])
            left = count
            while left > 0:
                found = consumer.consume(min(left, 10_000), 5)
                if not found:
                    return
                left -= len(found)
                yield from found

    def end(self, topic: str) -> int:
        """How many records a topic has."""
        with self._consumer() as consumer:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1])

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "benchmarks",
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def _appended_at(self, consumer: Consumer, topic: str, offset: int) -> int:
        consumer.assign([TopicPartition(topic, 0, offset)])
        message = consumer.poll(10)
        if message is None:
            raise ProcessError(f"{topic}: no record at {offset}")
        return int(message.timestamp()[1])


class _Usage:
    """CPU and memory of a process and all that it started."""

    def __init__(self) -> None:
        self.peak_mib: dict[str, float] = {}
        self._seconds: dict[int, float] = {}

    def cpu_seconds(self, pid: int) -> float:
        """CPU seconds so far, those of processes that have ended included."""
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with _gone_is_fine():
                times = process.cpu_times()
                self._seconds[process.pid] = times.user + times.system
                name = "client" if process.pid == pid else process.name()
                mib = process.memory_info().rss / 2**20
                self.peak_mib[name] = max(self.peak_mib.get(name, 0), mib)
        return sum(self._seconds.values())


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


def iris_event(number: int) -> bytes:
    """An event for the model that the job scores by default."""
    return _EVENTS[number % len(_EVENTS)]


def iris_event_for(models: int) -> Callable[[int], bytes]:
    """Events spread over ``m0``, ``m1``, ..."""
    values = [
        json.dumps({"id": 0, "model": f"m{number % models}", "data": FLOWERS[number % len(FLOWERS)]}).encode()
        for number in range(models * len(FLOWERS))
    ]
    return lambda number: values[number % len(values)]
