"""Where a subtask's model thread finds what was scored beside the stream."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from udfs.errors import ModelstreamError
from udfs.json_values import JsonValue


class Answer(NamedTuple):
    """What became of one record that was handed to a lane.

    Attributes:
        ticket: as it was given with the record.
        result: the outputs; a ScoreError of the record; an OffloadError of its request.
    """

    ticket: int
    result: JsonValue | ModelstreamError


class Mailbox:
    """Answers on their way from the loop's thread, which puts them, to the one thread that takes them."""

    def __init__(self) -> None:
        # A deque's ends are safe between threads; swapping a list against an empty one would not be.
        self._answers: deque[Answer] = deque()
        self._came = threading.Event()

    def put(self, answers: Sequence[Answer]) -> None:
        """Add answers, and wake up whoever waits for them. From any thread."""
        self._answers.extend(answers)
        if not self._came.is_set():
            self._came.set()

    def take(self) -> list[Answer]:
        """Everything that has come, in that order. Costs next to nothing where nothing has."""
        answers = self._answers
        return [answers.popleft() for _ in range(len(answers))]

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to take, ``seconds`` at most; whether there is."""
        ends_at = time.monotonic() + seconds
        while not self._answers:
            if not self._came.wait(max(0.0, ends_at - time.monotonic())):
                return bool(self._answers)
            # Cleared before the next look: what is put after that look sets it again.
            self._came.clear()
        return True
