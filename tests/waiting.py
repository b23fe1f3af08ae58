"""Waiting for a condition, with a deadline: the only place where tests sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    deadline: float = 60.0,
    what: str = "the condition",
    *,
    pause: float = 0.05,
) -> T:
    """Call ``condition`` until it returns something true, and return that.

    Args:
        condition: cheap, and without effects.
        deadline: seconds.
        what: what is waited for, for the error.
        pause: seconds between two calls, where a call takes less; 0 for what is over in milliseconds.

    Raises:
        AssertionError: it did not come true in time; the text has the last value.
    """
    end = time.monotonic() + deadline
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"{what} did not come in {deadline:g} s; last: {value!r}")
        # What is slow to ask, a whole topic say, takes the core from what is waited for.
        time.sleep(max(pause, now - asked) if pause else 0)
