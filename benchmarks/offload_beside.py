"""Latency of one model's events, alone and beside those of another model, in turns and in one job."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from benchmarks import programs
from benchmarks.figures import median
from benchmarks.stand import FLOWERS, Program, Stand
from benchmarks.switch import wait_until_active
from devtools.processes import ProcessError
from devtools.topics import create_topic
from udfs.models.updates import PublishModel

_FIRST_SECONDS = 60.0
_WARM_SECONDS = 25.0
"""Of both models: Java compiles."""
_PAUSE_SECONDS = 2.0
"""Between two turns: what is in flight of one must not count for the other."""
_END_SECONDS = 60.0
_TICK_SECONDS = 0.002
_PREDICTION = re.compile(rb'"id": ?(\d+).*?"name": ?"([^"]+)"')
_TAILS = [b', "data": ' + json.dumps(flower).encode() + b"}" for flower in FLOWERS]


class Traffic(NamedTuple):
    """Events of one model at a steady rate."""

    model: str
    per_second: int


class Turn(NamedTuple):
    """What was seen of one model's events for a while, and of them for as long beside another's."""

    alone: NDArray[np.float64]
    """Latencies, ms."""
    beside: NDArray[np.float64]

    @property
    def alone_p99(self) -> float:
        """ms."""
        return float(np.percentile(self.alone, 99))

    @property
    def beside_p99(self) -> float:
        """ms."""
        return float(np.percentile(self.beside, 99))

    @property
    def ratio(self) -> float:
        """The p99 beside the other model's events as a multiple of the p99 alone."""
        return self.beside_p99 / self.alone_p99


def ratio(turns: Sequence[Turn]) -> float:
    """Of the turn in the middle."""
    return median([turn.ratio for turn in turns])


class Sent(NamedTuple):
    """When events were sent: seconds since 1970."""

    begin: float
    end: float


def measure(
    stand: Stand,
    models: Sequence[PublishModel],
    watched: Traffic,
    other: Traffic,
    *,
    turns: int,
    seconds: float,
    settings: Mapping[str, str],
    when_warm: Callable[[], None] = lambda: None,
) -> list[Turn]:
    """Run a job with some models, and send it the one's events, then those of both, in turns.

    Args:
        stand: where.
        models: what the job scores.
        watched: the events whose latency is measured.
        other: the events beside them.
        turns: how often alone and beside.
        seconds: of each.
        settings: of the job's configuration.
        when_warm: called when both models have scored for a while, before the first turn.

    Raises:
        ProcessError: the job did not start, or did not answer.
    """
    events = f"beside-{stand.number()}"
    create_topic(stand.bootstrap, events)
    program, topics = programs.job_with_topics(
        stand, events, delivery="at-least-once", publications=models, settings=settings
    )
    producer = Producer({"bootstrap.servers": stand.bootstrap, "linger.ms": 0})
    alone: list[Sent] = []
    beside: list[Sent] = []
    total = 0

    def send(traffics: Sequence[Traffic], duration: float) -> Sent:
        nonlocal total
        begin = time.time()
        total += _send(producer, events, traffics, duration)
        return Sent(begin, time.time())

    with stand.running(program):
        for published in models:
            wait_until_active(stand.bootstrap, topics.model_status, published.model)
        outcomes = (topics.predictions, topics.dead_letters)
        send([Traffic(watched.model, 10)], 0.3)
        _wait_for(stand, program, outcomes, total, _FIRST_SECONDS)
        send([watched, other], _WARM_SECONDS)
        when_warm()
        for _ in range(turns):
            send([watched], _PAUSE_SECONDS)
            alone.append(send([watched], seconds))
            beside.append(send([watched, other], seconds))
        _wait_for(stand, program, outcomes, total, _END_SECONDS)
        sent, latencies = _latencies(stand, program.output, watched.model)

    def of(part: Sent) -> NDArray[np.float64]:
        return latencies[(sent >= part.begin) & (sent < part.end)]

    return [Turn(of(first), of(second)) for first, second in zip(alone, beside, strict=True)]


def _send(producer: Producer, topic: str, traffics: Sequence[Traffic], seconds: float) -> int:
    """Send events of several models at steady rates, each with the time of its sending as its id."""
    started = time.perf_counter()
    sent = [0] * len(traffics)
    while (elapsed := time.perf_counter() - started) < seconds:
        for index, (model, per_second) in enumerate(traffics):
            due = round(elapsed * per_second)
            for number in range(sent[index], due):
                head = b'{"id": %d, "model": "%s"' % (time.time_ns() // 1000, model.encode())
                producer.produce(topic, head + _TAILS[number % len(_TAILS)], b"key-%d" % (number % 1000))
            sent[index] = due
        producer.poll(0)
        time.sleep(_TICK_SECONDS)
    producer.flush()
    return sum(sent)


def _wait_for(stand: Stand, program: Program, topics: Sequence[str], count: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (end := sum(map(stand.end, topics))) < count:
        if time.monotonic() > deadline:
            raise ProcessError(f"{program.name}: {end} of {count} events came out in {seconds:g} s")
        time.sleep(0.1)


def _latencies(stand: Stand, topic: str, model: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each event of a model was sent, in seconds since 1970, and its latency in ms."""
    sent: list[float] = []
    latencies: list[float] = []
    for message in stand.outcomes(topic, 0, stand.end(topic)):
        found = _PREDICTION.search(message.value() or b"")
        if found is not None and found[2] == model.encode():
            sent_at = int(found[1]) / 1000
            sent.append(sent_at / 1000)
            latencies.append(message.timestamp()[1] - sent_at)
    return np.array(sent), np.array(latencies)
