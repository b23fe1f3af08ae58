"""What a worker writes, as far as it fits in the job's log."""

import logging
from collections.abc import Callable

LINES_A_MINUTE = 60
LONGEST_LINE = 500
"""Bytes."""


class WorkerLog:
    """Passes what a worker writes on to a log, so many lines a minute at most, each cut.

    Args:
        name: whose words they are.
        log: where to.
        clock: seconds.
    """

    def __init__(self, name: str, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._name = name
        self._log = log
        self._clock = clock
        self._line = b""
        self._left = LINES_A_MINUTE
        self._ends_at = clock() + 60

    def take(self, chunk: bytes) -> None:
        """Take some of what it wrote."""
        now = self._clock()
        if now >= self._ends_at:
            self._left, self._ends_at = LINES_A_MINUTE, now + 60
        first, *others = chunk.split(b"\n", self._left)
        self._line = (self._line + first)[:LONGEST_LINE]
        for other in others:
            self._write(self._line)
            self._line = other[:LONGEST_LINE]
            if not self._left:
                self._log.info("%s wrote more lines than %d a minute: no more", self._name, LINES_A_MINUTE)
                self._line = b""
                break

    def _write(self, line: bytes) -> None:
        text = "".join(character for character in line.decode(errors="replace") if character.isprintable())
        if text:
            self._left -= 1
            self._log.info("%s wrote: %s", self._name, text)
