"""Whatever comes when, and wherever a model is scored: each event leaves once, those of a key in order."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.offloading import E, OffloadingBench, unreachable
from udfs.errors import ModelstreamError, ScoreError
from udfs.json_values import JsonValue

KEYS = (b"a", b"b", None)
RESULTS: tuple[JsonValue | ModelstreamError, ...] = ("remote", ScoreError("bad"), unreachable())

STEPS = st.one_of(
    st.tuples(st.just("events"), st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)),
    st.tuples(st.just("answer"), st.integers(0, 20), st.sampled_from(RESULTS)),
    st.tuples(st.just("move"), st.sampled_from(["offload", "inline"])),
    st.tuples(st.just("restart")),
)


class Life:
    """One life of a subtask, as hypothesis writes it."""

    def __init__(self) -> None:
        self.bench = OffloadingBench()
        self.bench.offload()
        self.version = 1
        self.key_of: dict[int, bytes | None] = {}
        self.left: list[int] = []

    def events(self, keys: list[bytes | None]) -> None:
        numbers = range(len(self.key_of), len(self.key_of) + len(keys))
        self.key_of.update(zip(numbers, keys, strict=True))
        events = [E(number, key=self.key_of[number], model="far") for number in numbers]
        self._note(self.bench.outcomes(*events))

    def answer(self, index: int, result: JsonValue | ModelstreamError) -> None:
        waiting = [(lane, ask) for lane in self.bench.lanes.values() for ask in lane.asks]
        if waiting:
            lane, ask = waiting[index % len(waiting)]
            assert isinstance(ask.data, int)
            lane.answer(ask.data, result=result)
            self._note(self.bench.outcomes())

    def move(self, execution: str) -> None:
        self.version += 1
        self._note_other(execution)

    def restart(self) -> None:
        self.bench = OffloadingBench(before=self.bench)
        self.bench.loader.finish()
        self._note(self.bench.outcomes())

    def end(self) -> None:
        while any(lane.asks for lane in self.bench.lanes.values()):
            for lane in self.bench.lanes.values():
                lane.answer()
            self._note(self.bench.outcomes())

    def _note_other(self, execution: str) -> None:
        self.bench.offload(self.version, execution=execution)
        self._note(self.bench.outcomes())

    def _note(self, outcomes: list[tuple[int, str]]) -> None:
        self.left += [number for number, _ in outcomes]


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_each_event_leaves_once_and_those_of_a_key_in_order(steps: list[tuple[object, ...]]) -> None:
    life = Life()
    for name, *arguments in steps:
        getattr(life, str(name))(*arguments)
    life.end()

    assert Counter(life.left) == Counter(dict.fromkeys(life.key_of, 1))
    for key in KEYS[:2]:
        numbers = [number for number in life.left if life.key_of[number] == key]
        assert numbers == sorted(numbers)
