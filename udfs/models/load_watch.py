"""What a load and the loader that waits for it say to each other."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from udfs.errors import Fault

Say = Callable[[str], None]


class LoadWatch:
    """One load, as its loader watches it. Used by the load's thread and by the loader's.

    Args:
        say: takes why a load goes on.
        deadline: seconds that it may take.
        clock: seconds of a clock that never goes back.
        late_after: faults of a server after which its version connects later.
    """

    def __init__(
        self,
        say: Say,
        deadline: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        *,
        late_after: Collection[Fault] = (),
    ) -> None:
        self.say = say
        """For the load: tell why it takes longer."""
        self.late_after = late_after
        """For the load: faults of a server after which its version connects later."""
        self._clock = clock
        self._lock = threading.Lock()
        # Of both threads, under the lock.
        self._ends_at = clock() + deadline
        self._waits_since: float | None = None
        self._is_given_up = False
        self._is_closed = False
        self._let_go: Callable[[], None] | None = None

    @property
    def is_given_up(self) -> bool:
        """For the load: whether nobody waits for it any more."""
        return self._is_given_up

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for what other loads do."""
        return self._waits_since is not None

    @contextmanager
    def waiting_for_others(self) -> Iterator[None]:
        """For the load: its time does not run, because it waits for what other loads do."""
        with self._lock:
            since = self._waits_since = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._ends_at += self._clock() - since
                self._waits_since = None

    @contextmanager
    def holding(self, let_go: Callable[[], None]) -> Iterator[None]:
        """For the load: it holds what it must not hold when the process ends in order."""
        with self._lock:
            self._let_go = let_go
            if self._is_closed:
                let_go()
        try:
            yield
        finally:
            with self._lock:
                self._let_go = None

    def is_late(self) -> bool:
        """For the loader: whether the load has had its time."""
        with self._lock:
            return self._waits_since is None and self._clock() >= self._ends_at

    def give_up(self) -> None:
        """For the loader: wait no more. What the load holds it goes on holding, for it may do harm yet."""
        self._is_given_up = True

    def close(self) -> None:
        """For the loader: give up because the process ends in order, which is no fault of the load."""
        with self._lock:
            self._is_given_up = self._is_closed = True
            if self._let_go is not None:
                self._let_go()
