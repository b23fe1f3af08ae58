"""Where a subtask's model thread finds what was scored beside the stream."""

import threading
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from udfs.errors import ModelstreamError
from udfs.json_values import JsonValue


class Answer(msgspec.Struct, frozen=True, gc=False):
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
        self._wanted = 1

    def put(self, answers: Sequence[Answer]) -> None:
        """Add answers, and wake up whoever waits for so many. From any thread."""
        self._answers.extend(answers)
        if len(self._answers) >= self._wanted and not self._came.is_set():
            self._came.set()

    def take(self) -> list[Answer]:
        """Everything that has come, in that order. Costs next to nothing where nothing has."""
        answers = self._answers
        return [answers.popleft() for _ in range(len(answers))]

    def wait(self, seconds: float, count: int = 1) -> bool:
        """Wait until there is something to take; whether there is.

        Args:
            seconds: at most.
            count: how many answers are worth waking up for.
        """
        ends_at = time.monotonic() + seconds
        self._wanted = count
        while len(self._answers) < count:
            if not self._came.wait(max(0.0, ends_at - time.monotonic())):
                break
            # Cleared before the next look: what is put after that look sets it again.
            self._came.clear()
        self._wanted = 1
        return bool(self._answers)
