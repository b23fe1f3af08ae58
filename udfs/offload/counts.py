"""What a model's requests are counted by."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

BATCH_SIZES = (1, 10, 100, 1_000, 10_000)
"""Bounds of the buckets of records, by how many were in their request; both ends: ``1 < n <= 10``."""
LATENCIES_MS = tuple(2**power for power in range(15))
"""Bounds of the buckets of requests, by how many milliseconds they took: 1 ms to 16.4 s."""
GAUGES = frozenset({"in_flight", "breaker_state"})
"""Names of `Counts.items` that are a state; all others only ever grow."""


class Counts:
    """Counters of one model. One thread writes each, the loop's but for `refused`; any may read them.

    Attributes:
        requests: sent, each attempt and each half of a batch.
        retries: of those, the attempts after the first.
        timeouts: requests that were not answered in time.
        failures: requests that brought no results, timeouts among them.
        records: that were answered, whichever way.
        refused: records that were answered at once, while the breaker was open; `records` has them not.
        in_flight: batches that were sent and have no answer yet, or wait for their next attempt.
        breaker_state: 0 closed, 1 half-open, 2 open: of the breaker that changed last, where versions of the
            model ask several endpoints.
        breaker_openings: how often a breaker opened while ``breaker_state`` was closed. Versions that ask
            one endpoint share its breaker, whose opening counts once.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.timeouts = 0
        self.failures = 0
        self.records = 0
        self.refused = 0
        self.in_flight = 0
        self.breaker_state = 0
        self.breaker_openings = 0
        self._records_by_size = [0] * (len(BATCH_SIZES) + 1)
        self._requests_by_latency = [0] * (len(LATENCIES_MS) + 1)

    def add_request(self, records: int) -> None:
        """Count a request that is sent."""
        self.requests += 1
        self._records_by_size[bisect_left(BATCH_SIZES, records)] += records

    def add_latency(self, seconds: float) -> None:
        """Count how long a request took, whichever way it ended."""
        self._requests_by_latency[bisect_left(LATENCIES_MS, seconds * 1000)] += 1

    def items(self) -> Iterator[tuple[str, int]]:
        """Names and numbers; always the same names, in the same order."""
        for name in (
            "requests",
            "retries",
            "timeouts",
            "failures",
            "records",
            "refused",
            "in_flight",
            "breaker_state",
            "breaker_openings",
        ):
            yield name, getattr(self, name)
        yield from _named("records_in_batches", BATCH_SIZES, self._records_by_size)
        yield from _named("requests_of_ms", LATENCIES_MS, self._requests_by_latency)


def _named(prefix: str, bounds: Iterable[int], numbers: Iterable[int]) -> Iterator[tuple[str, int]]:
    """Buckets by name: ``_to_10`` has what is over the bound before and up to 10, ``_over_10`` the rest."""
    last, names = 0, []
    for last in bounds:
        names.append(f"{prefix}_to_{last}")
    yield from zip([*names, f"{prefix}_over_{last}"], numbers, strict=True)
