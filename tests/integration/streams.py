"""Events that keep coming while something is done to a job."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from connectors.client import Record
from devtools.topics import send
from tests.integration.records import SETOSA

KEYS = 7
"""How many keys the events have."""


class Stream:
    """Sends events of the time of day, of one model after the other, until it is told to end.

    Args:
        bootstrap: the broker.
        topic: where they go.
        models: what they name.
        batch: how many of a model are sent at once.
    """

    def __init__(
        self, bootstrap: str, topic: str, models: tuple[str, ...] = ("iris",), batch: int = 10
    ) -> None:
        self.sent = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._models = models
        self._batch = batch
        self._stands_at: int | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send until the end of the block."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(0.05):
                for model in self._models:
                    self.send(model)

        thread = threading.Thread(target=work, name="stream")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextmanager
    def still(self) -> Iterator[int]:
        """Have all events be of one time until the end of the block, however long that takes; gives it.

        What an update says of a later time is then not too late.
        """
        self._stands_at = int(time.time() * 1000)
        try:
            yield self._stands_at
        finally:
            self._stands_at = None

    def send(self, model: str) -> None:
        """Send a batch of events of one model."""
        at = self._stands_at or int(time.time() * 1000)
        numbers = range(self.sent, self.sent + self._batch)
        values = [json.dumps({"id": number, "model": model, "data": SETOSA}).encode() for number in numbers]
        records = [
            Record(value, b"key-%d" % (number % KEYS), (), at)
            for number, value in zip(numbers, values, strict=True)
        ]
        send(self._bootstrap, self._topic, records)
        self.sent += len(numbers)
