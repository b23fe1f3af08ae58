"""Keeping a thread on one core for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep the calling thread on the last core that it may use.

    The system then moves the threads that score to the others, and wakes them there: none has to wait until
    this one's time is up. Threads that are started meanwhile are kept there for good.

    Source: https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html
    """
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
