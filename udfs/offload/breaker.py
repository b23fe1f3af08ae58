"""The circuit breaker of an endpoint: one that is down is left alone, and asked now and then.

The pattern is Nygard's (Release It!, "Circuit Breaker"). Here it is a state machine without a clock or a
thread: who asks the endpoint hands in the time, and does so on one thread. `Breaker.refusal` only looks, and
may do so from any.
"""

from collections.abc import Callable
from enum import IntEnum
from weakref import WeakValueDictionary

from udfs.errors import Fault, OffloadError

FAULTS_IN_A_ROW = 5
"""Passing or unclear faults, one after the other, that open the breaker. Requests that were on their way when
another failed say nothing new, but where they had all of their time or were answered: one broken connection
may have had them all."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
_PROBE_SECONDS = 0.1
"""How long to wait for what a probe says before asking again for leave."""


class BreakerState(IntEnum):
    """Whether an endpoint is asked."""

    CLOSED = 0
    """It is."""
    HALF_OPEN = 1
    """One request, the probe, is on its way to see whether it is back."""
    OPEN = 2
    """It is not, until the pause is over."""


OnChange = Callable[[BreakerState], None]


class Breaker:
    """Says whether an endpoint may be asked, from what became of the requests before.

    Args:
        endpoint: as people write it.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.state = BreakerState.CLOSED
        self._watchers: list[OnChange] = []
        self._faults = 0
        self._failed_at = float("-inf")
        self._last_fault = ""
        self._opened_at = 0.0
        self._ends_at = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._probe = 0

    def watch(self, on_change: OnChange) -> None:
        """Have a function called with each new state."""
        self._watchers.append(on_change)

    def unwatch(self, on_change: OnChange) -> None:
        """Have it called no more."""
        self._watchers.remove(on_change)

    def refusal(self, now: float) -> OffloadError | None:
        """What a request is answered with that would be sent now; None: it may be sent."""
        if self.state is BreakerState.CLOSED or (self.state is BreakerState.OPEN and now >= self._ends_at):
            return None
        is_open = self.state is BreakerState.OPEN
        return OffloadError(
            f"{self.endpoint} was not asked: it has been failing for {now - self._opened_at:.1f} s, "
            f"{self._faults} times in a row, the last time with: {self._last_fault}",
            Fault.PASSING,
            self._ends_at - now if is_open else _PROBE_SECONDS,
        )

    def admit(self, now: float) -> int:
        """Give leave to send a request. What becomes of it must be told.

        Returns:
            The number of the probe that it is, 0 where it is none: for `fail` and `abandon`.

        Raises:
            OffloadError: it must not be sent.
        """
        refusal = self.refusal(now)
        if refusal is not None:
            raise refusal
        if self.state is BreakerState.CLOSED:
            return 0
        self._probe += 1
        self._become(BreakerState.HALF_OPEN)
        return self._probe

    def succeed(self) -> None:
        """The endpoint itself answered, be it with a refusal."""
        self._faults = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._become(BreakerState.CLOSED)

    def fail(self, now: float, fault: str, probe: int, sent_at: float, *, is_evidence: bool = False) -> None:
        """A request met a passing fault, or an unclear one.

        Args:
            now: seconds.
            fault: the error's text.
            probe: what `admit` returned for it.
            sent_at: seconds, when it was sent.
            is_evidence: whether it says something new though another failed meanwhile: it had all of its
                time, or was answered.
        """
        if sent_at >= self._failed_at or is_evidence:
            self._faults += 1
            self._failed_at = now
        self._last_fault = fault
        if self.state is BreakerState.CLOSED and self._faults >= FAULTS_IN_A_ROW:
            self._opened_at = now
            self._open(now)
        elif self._is_the_probe(probe):
            self._open(now)

    def abandon(self, now: float, probe: int) -> None:
        """A request ended in a way that says nothing of the endpoint: the next is the probe in its place."""
        if self._is_the_probe(probe):
            self._ends_at = now
            self._become(BreakerState.OPEN)

    def _is_the_probe(self, probe: int) -> bool:
        # Requests from before the opening end in any state, and say nothing of the probe.
        return self.state is BreakerState.HALF_OPEN and probe == self._probe

    def _open(self, now: float) -> None:
        self._ends_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._become(BreakerState.OPEN)

    def _become(self, state: BreakerState) -> None:
        if state is not self.state:
            self.state = state
            for on_change in tuple(self._watchers):
                on_change(state)


class Breakers:
    """The breakers of one loop's endpoints: one each, however many versions ask it, while one does."""

    def __init__(self) -> None:
        self._by_endpoint: WeakValueDictionary[str, Breaker] = WeakValueDictionary()

    def of(self, endpoint: str) -> Breaker:
        """The breaker of an endpoint. From one thread at a time."""
        return self._by_endpoint.setdefault(endpoint, Breaker(endpoint))
