"""What is counted of offloaded models is said where Flink reports metrics."""

from collections.abc import Callable

from tests.loads import Clock
from udfs.metrics import REPORT_SECONDS, OffloadMetrics
from udfs.offload.breaker import BreakerState
from udfs.offload.counts import GAUGES, Counts


class Group:
    """Stands in for a group of Flink's metrics, and counts like one."""

    def __init__(self, names: tuple[str, ...] = (), root: "Group | None" = None) -> None:
        self.names = names
        self.root = root or self
        self.counted: dict[tuple[str, ...], int] = {}
        self.gauges: dict[tuple[str, ...], Callable[[], int]] = {}

    def add_group(self, name: str, extra: str | None = None) -> "Group":
        return Group((*self.names, name, *([extra] if extra else [])), self.root)

    def counter(self, name: str) -> "CounterOf":
        assert (*self.names, name) not in self.root.counted, "registered twice"
        self.root.counted[(*self.names, name)] = 0
        return CounterOf(self.root, (*self.names, name))

    def gauge(self, name: str, obj: Callable[[], int]) -> None:
        assert (*self.names, name) not in self.root.gauges, "registered twice"
        self.root.gauges[(*self.names, name)] = obj


class CounterOf:
    def __init__(self, root: Group, name: tuple[str, ...]) -> None:
        self.root, self.name = root, name

    def inc(self, n: int) -> None:
        self.root.counted[self.name] += n


def test_a_counter_is_what_was_counted_in_all() -> None:
    group, clock, counts = Group(), Clock(), Counts()
    metrics = OffloadMetrics(group, GAUGES, clock)
    for _ in range(3):
        counts.add_request(1)
        clock.seconds += REPORT_SECONDS
        metrics.update({"fraud": counts})

    assert group.counted["offload", "model", "fraud", "requests"] == 3


def test_the_breakers_state_is_a_gauge() -> None:
    group, clock, counts = Group(), Clock(), Counts()
    metrics = OffloadMetrics(group, GAUGES, clock)
    counts.breaker_state = BreakerState.OPEN
    metrics.update({"fraud": counts})
    shown = group.gauges["offload", "model", "fraud", "breaker_state"]()
    assert (shown, type(shown)) == (2, int)
    counts.breaker_state = 0
    clock.seconds += REPORT_SECONDS
    metrics.update({"fraud": counts})

    assert group.gauges["offload", "model", "fraud", "breaker_state"]() == 0


def test_models_are_counted_apart() -> None:
    group, one, other = Group(), Counts(), Counts()
    one.add_request(1)
    OffloadMetrics(group, GAUGES, Clock()).update({"one": one, "other": other})

    assert group.counted["offload", "model", "one", "requests"] == 1
    assert group.counted["offload", "model", "other", "requests"] == 0


def test_nothing_is_done_for_each_batch() -> None:
    group, clock, counts = Group(), Clock(), Counts()
    metrics = OffloadMetrics(group, GAUGES, clock)
    metrics.update({"fraud": counts})
    counts.add_request(1)
    clock.seconds += REPORT_SECONDS / 2
    metrics.update({"fraud": counts})

    assert group.counted["offload", "model", "fraud", "requests"] == 0
