"""What lanes count, as metrics of Flink's."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

REPORT_SECONDS = 1.0
"""How often what was counted is handed on."""


class Counter(Protocol):
    """A counter of Flink's."""

    def inc(self, n: int) -> None:
        """Count more."""


class MetricGroup(Protocol):
    """A group of Flink's metrics, as PyFlink gives it."""

    def add_group(self, name: str, extra: str | None = None) -> "MetricGroup":
        """A group within this one; with a value it becomes a label."""

    def counter(self, name: str) -> Counter:
        """Register a counter."""

    def gauge(self, name: str, obj: Callable[[], int]) -> None:
        """Register a value that is asked for."""


class Counted(Protocol):
    """What counts: the counters of one model's lanes."""

    def items(self) -> Iterable[tuple[str, int]]:
        """Names and numbers."""


class OffloadMetrics:
    """Hands on what lanes have counted. Used by the thread that Flink calls.

    Args:
        group: the function's; a model's metrics are in its group ``offload``, with the label ``model``.
        gauges: names of numbers that go up and down; all others only ever grow.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, group: MetricGroup, gauges: Collection[str], clock: Callable[[], float]) -> None:
        self._group = group.add_group("offload")
        self._gauges = gauges
        self._clock = clock
        self._due = clock()
        self._counters: dict[tuple[str, str], Counter] = {}
        self._said: dict[tuple[str, str], int] = {}
        self._levels: dict[tuple[str, str], int] = {}

    def update(self, models: Mapping[str, Counted]) -> None:
        """Hand on what has changed, where it is time for that.

        Args:
            models: the counters by the model's name.
        """
        now = self._clock()
        if not models or now < self._due:
            return
        self._due = now + REPORT_SECONDS
        for model, counted in models.items():
            for name, value in counted.items():
                if name in self._gauges:
                    self._show(model, name, value)
                else:
                    self._count(model, name, value)

    def _count(self, model: str, name: str, value: int) -> None:
        key = model, name
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._group.add_group("model", model).counter(name)
        before = self._said.get(key, 0)
        if value != before:
            counter.inc(value - before)
            self._said[key] = value

    def _show(self, model: str, name: str, value: int) -> None:
        key = model, name
        if key not in self._levels:
            self._group.add_group("model", model).gauge(name, lambda: self._levels[key])
        self._levels[key] = int(value)  # Flink shows no number of another type, such as an IntEnum
