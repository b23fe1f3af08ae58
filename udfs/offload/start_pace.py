"""How fast a pool starts workers again."""

from collections import deque

MOST_A_MINUTE = 30
"""Starts of all workers of a pool: a record that ends workers is found among a thousand in a dozen."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class StartPace:
    """Says how long to wait before a worker is started: not at all, where few were started lately."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=MOST_A_MINUTE)

    def pause(self, now: float, failures: int) -> float:
        """Plan one start.

        Args:
            now: seconds.
            failures: how many starts before it, one after the other, came to nothing.

        Returns:
            Seconds to wait with it.
        """
        start = now
        if failures:
            start += min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE_SECONDS)
        if len(self._starts) == MOST_A_MINUTE:
            start = max(start, self._starts[0] + 60)
        self._starts.append(start)
        return start - now
