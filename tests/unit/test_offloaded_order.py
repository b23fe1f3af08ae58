"""Whatever comes when, and wherever a model is scored: each event leaves once, those of a key in order."""

from collections import Counter
from itertools import product

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.offloading import E, OffloadingBench, unreachable
from tests.unit.test_subtask import publish
from udfs.errors import ModelstreamError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.lane_settings import LaneSettings
from udfs.records import ModelId

KEYS = (b"a", b"b", None)
RESULTS: tuple[JsonValue | ModelstreamError, ...] = ("remote", ScoreError("bad"), unreachable())

SETTINGS = st.builds(
    LaneSettings,
    max_waiting=st.sampled_from([1, 2, 10_000]),
    on_overload=st.sampled_from(["backpressure", "dead-letter", "fallback"]),
    fallback=st.just(ModelId("m", 1)),
)
EVENTS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(["far", "far", "m"])), min_size=1, max_size=6
)
EXECUTIONS = st.sampled_from(["offload", "inline"])
ARGUMENTS: dict[str, tuple[st.SearchStrategy[object], ...]] = {
    "events": (EVENTS,),
    "answer": (st.integers(0, 20), st.sampled_from(RESULTS)),
    "move": (EXECUTIONS,),
    "retire": (),
    "replace": (EXECUTIONS,),
    "restart": (),
}
OFTEN = ["events", "events", "events", "move"]
"""Only events that find others on their way can overtake them."""
STEPS = st.sampled_from([*OFTEN, *ARGUMENTS]).flatmap(lambda name: st.tuples(st.just(name), *ARGUMENTS[name]))


class Life:
    """One life of a subtask, as hypothesis writes it. Events whose version is retired are held."""

    def __init__(self, settings: LaneSettings) -> None:
        self.settings = settings
        self.version = 1
        self.sent: dict[int, tuple[bytes | None, str]] = {}
        """The key of each event, and what it names."""
        self.left: list[tuple[int, str]] = []
        self._start(None)
        self.bench.loaded(1)
        self.bench.offload()

    def events(self, sent: list[tuple[bytes | None, str]]) -> None:
        numbers = range(len(self.sent), len(self.sent) + len(sent))
        self.sent.update(zip(numbers, sent, strict=True))
        events = [E(number, key=key, model=model) for number, (key, model) in zip(numbers, sent, strict=True)]
        self.left += self.bench.outcomes(*events)

    def answer(self, index: int, result: JsonValue | ModelstreamError) -> None:
        waiting = [(lane, ask) for lane in self.bench.lanes.values() for ask in lane.asks]
        if waiting:
            lane, ask = waiting[index % len(waiting)]
            assert isinstance(ask.data, int)
            lane.answer(ask.data, result=result)
            self.left += self.bench.outcomes()

    def move(self, execution: str) -> None:
        self.version += 1
        model = ModelId("far", self.version)
        if execution == "offload":
            self.bench.offloaded.add(model)
        self.bench.update(msgspec.structs.replace(publish(self.version), model=model))
        self.bench.loader.finish()
        self.left += self.bench.outcomes()

    def retire(self) -> None:
        self.bench.retire_far(self.version)
        self.left += self.bench.outcomes()

    def replace(self, execution: str) -> None:
        """Publish a version, which is loaded when somebody waits, and retire the one before."""
        before, self.version = self.version, self.version + 1
        model = ModelId("far", self.version)
        if execution == "offload":
            self.bench.offloaded.add(model)
        self.bench.update(msgspec.structs.replace(publish(self.version), model=model))
        self.bench.retire_far(before)

    def restart(self) -> None:
        self._start(self.bench)
        self.bench.loader.finish()
        self.left += self.bench.outcomes()

    def end(self) -> None:
        self.move("offload")
        for _ in range(5):
            self.bench.answer()
            self.left += self.bench.outcomes()

    def _start(self, before: OffloadingBench | None) -> None:
        self.bench = OffloadingBench(self.settings, before=before, max_events=1000)
        self.bench.mailbox.when_waited = self._waited
        self._waits = 0

    def _waited(self) -> None:
        """Let something happen while the stream waits: now a load ends, now answers come."""
        self._waits += 1
        if self._waits % 2:
            self.bench.loader.finish()
        else:
            self.bench.answer()


@settings(max_examples=300, deadline=None)
@given(SETTINGS, st.lists(STEPS, min_size=10, max_size=25))
def test_each_event_leaves_once_and_those_of_a_key_in_order(
    lane_settings: LaneSettings, steps: list[tuple[object, ...]]
) -> None:
    life = Life(lane_settings)
    for name, *arguments in steps:
        getattr(life, str(name))(*arguments)
    life.end()

    assert Counter(number for number, _ in life.left) == Counter(dict.fromkeys(life.sent, 1))
    for key, model in product(KEYS[:2], ("far", "m")):
        numbers = [
            number
            for number, said in life.left
            # What finds no room is a dead letter at once, wherever it stands.
            if life.sent[number] == (key, model) and "too many events" not in said
        ]
        assert numbers == sorted(numbers)
