"""From sending an event to the broker's appending of its prediction, at a steady rate."""

import json
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from confluent_kafka import Producer

from benchmarks.stand import FLOWERS, Program, Stand
from devtools.processes import ProcessError

_WARM_SECONDS = 25.0
"""What comes before is not counted: at 50,000 events/s Java compiles for 20 s, and events queue up."""
_START_SECONDS = 120.0
_END_SECONDS = 30.0
_TICK_SECONDS = 0.002
_ID = re.compile(rb'"id": ?(\d+)')
_TAILS = [b', "data": ' + json.dumps(flower).encode() + b"}" for flower in FLOWERS]


class Latency(NamedTuple):
    """Percentiles in milliseconds."""

    p50: float
    p99: float


def measure(stand: Stand, program: Program, events: str, per_second: int, seconds: float) -> Latency:
    """Run a program and send it events, each with the time of its sending as its id.

    Raises:
        ProcessError: it did not start, or did not answer all of them in time.
    """
    producer = Producer(
        {"bootstrap.servers": stand.bootstrap, "linger.ms": 0, "queue.buffering.max.messages": 1_000_000}
    )
    with stand.running(program):
        sent = wait_for_the_first(stand, program, producer, events)
        sent += send(producer, events, per_second, _WARM_SECONDS)
        warm = sent
        sent += send(producer, events, per_second, seconds)
        wait_for_all(stand, program, sent)
        milliseconds = [
            appended_at - sent_at for sent_at, appended_at in read(stand, program, warm, sent - warm)
        ]
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return Latency(float(p50), float(p99))


def wait_for_all(stand: Stand, program: Program, sent: int) -> None:
    """Wait until a program has answered a number of events.

    Raises:
        ProcessError: it has not, in time.
    """
    deadline = time.monotonic() + _END_SECONDS
    while (end := stand.end(program.output)) < sent:
        if time.monotonic() > deadline:
            raise ProcessError(f"{program.name}: {end} of {sent} events were answered")
        time.sleep(0.1)


def read(stand: Stand, program: Program, begin: int, count: int) -> Iterator[tuple[float, float]]:
    """When each of some events was sent, and when its outcome was appended: ms since 1970."""
    for message in stand.outcomes(program.output, begin, count):
        found = _ID.search(message.value() or b"")
        if found is not None:
            yield int(found[1]) / 1000, message.timestamp()[1]


def wait_for_the_first(stand: Stand, program: Program, producer: Producer, events: str) -> int:
    """Send a few events and wait for their outcomes; returns how many were sent.

    Raises:
        ProcessError: nothing came in time.
    """
    sent = send(producer, events, 10, 0.1)
    deadline = time.monotonic() + _START_SECONDS
    while stand.end(program.output) < sent:
        if time.monotonic() > deadline:
            raise ProcessError(f"{program.name} answered nothing in {_START_SECONDS:g} s")
        time.sleep(0.2)
    return sent


def send(producer: Producer, events: str, per_second: int, seconds: float) -> int:
    """Send events at a steady rate, each with the time of its sending as its id; returns how many."""
    started = time.perf_counter()
    sent = 0
    while (elapsed := time.perf_counter() - started) < seconds:
        for number in range(sent, round(elapsed * per_second)):
            value = b'{"id": %d' % (time.time_ns() // 1000) + _TAILS[number % len(_TAILS)]
            producer.produce(events, value, b"key-%d" % (number % 1000))
        sent = round(elapsed * per_second)
        producer.poll(0)
        time.sleep(_TICK_SECONDS)
    producer.flush()
    return sent
