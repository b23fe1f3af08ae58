"""A replay gives what the live run gave where no `late` was said; and order is kept, whatever comes."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.fuzz.examples import examples
from tests.late_events import late_events
from tests.subtasks import Bench, E
from udfs.missing import MissingPolicies
from udfs.models.updates import RetiredModel, RetireModel
from udfs.records import ModelId

POLICIES = st.sampled_from(
    [
        MissingPolicies(),
        MissingPolicies("dead-letter"),
        MissingPolicies("hold", {"m": ModelId("f", 1)}),
    ]
)


class Publish(NamedTuple):
    version: int
    since: int | None
    fails: bool
    name: str = "m"


class Activate(NamedTuple):
    version: int
    since: int | None


class Retire(NamedTuple):
    version: int
    since: int | None


class RetireAll(NamedTuple): ...


class Heal(NamedTuple):
    """What fails is published again as it was, and can be loaded now."""


class Load(NamedTuple):
    """A version that is being loaded is loaded, or all are."""

    all: bool


class Wait(NamedTuple):
    seconds: float


class Restart(NamedTuple): ...


class Events(NamedTuple):
    events: tuple[tuple[str, int, bytes | None], ...]


Step = Publish | Activate | Retire | RetireAll | Heal | Load | Wait | Restart | Events

VERSIONS, TIMES = st.integers(1, 3), st.integers(0, 20)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["m", "m", "m", "m:1", "m:2"]), TIMES, st.sampled_from([b"a", b"a", b"b", None])
    ),
    min_size=1,
    max_size=5,
).map(lambda events: Events(tuple(events)))


def steps(times: st.SearchStrategy[int | None], *more: Step) -> st.SearchStrategy[list[Step]]:
    """Steps of which each update has one of some times; most are events, publications and loads."""
    kinds: dict[str, st.SearchStrategy[Step]] = {
        "events": EVENTS,
        "publish": st.builds(Publish, VERSIONS, times, st.sampled_from([False, False, True]), st.just("m")),
        "change": st.builds(Activate, VERSIONS, times) | st.builds(Retire, VERSIONS, times),
        "load": st.builds(Load, st.booleans()),
        "heal": st.just(Heal()),
        "wait": st.builds(Wait, st.sampled_from([0.0, 10.0, 30.0])),
        "more": st.sampled_from(more) if more else EVENTS,
    }
    often = ["events"] * 5 + ["publish"] * 4 + ["load"] * 3 + ["change", "change", "heal", "wait", "more"]
    return st.lists(st.sampled_from(often).flatmap(kinds.__getitem__), min_size=5, max_size=20)


class Run:
    """A subtask that takes steps, and what became of its events.

    Args:
        missing: what becomes of events without a model.
        has_first: whether it begins with a version that scores events of all times.
    """

    def __init__(self, missing: MissingPolicies, has_first: bool) -> None:
        self.missing = missing
        self.bench = Bench(max_events=4, missing=missing)
        self.bench.loader.finish_when_waited_for = True
        self.sent: list[E] = []
        self.ended: list[int | tuple[int, int]] = []
        self.late = 0.0
        """Events that updates came too late for, as was said; inf: it was said that there may be more."""
        self.published: set[tuple[str, int]] = set()
        self.failing: list[Publish] = []
        for name in ["f", "m"] if has_first else ["f"]:
            self.take(Publish(1, None, fails=False, name=name))
            self.take(Load(all=True))

    def take(self, step: Step) -> None:
        bench = self.bench
        match step:
            case Publish(version, since, fails, name):
                known = (name, version) in self.published
                self.published.add((name, version))
                # What is loaded can fail no more: only a version that is new does.
                bench.publish(version, since, name, fails=fails and not known)
                self.failing = [one for one in self.failing if (one.name, one.version) != (name, version)]
                if fails and not known:
                    self.failing.append(step)
            case Heal():
                for one in self.failing:
                    bench.publish(one.version, one.since, one.name)
                self.failing = []
            case Activate(version, since):
                bench.activate(version, since)
            case Retire(version, since):
                bench.retire(version, since)
            case RetireAll():
                bench.update(RetireModel(RetiredModel("m"), all=True))
            case Load(everything):
                bench.loader.finish(None if everything else 1)
            case Wait(seconds):
                bench.clock.seconds += seconds
                self.ended += bench.events()
            case Restart():
                self.ended += bench.events()  # the batch before the checkpoint
                self._note_late(bench)
                self.bench = Bench(max_events=4, missing=self.missing, before=bench)
                self.bench.loader.finish_when_waited_for = True
            case Events(events):
                new = [E(len(self.sent) + n, *one[1:], one[0]) for n, one in enumerate(events)]
                self.sent += new
                self.ended += bench.events(*new)
        self._note_late(self.bench)

    def finish(self) -> dict[int, int | None]:
        """The version that scored each event, None where none did."""
        self.bench.loader.finish()
        self.ended += self.bench.events()
        self.ended += self.bench.end()
        self._note_late(self.bench)
        return dict(one if isinstance(one, tuple) else (one, None) for one in self.ended)

    def _note_late(self, bench: Bench) -> None:
        self.late += late_events(bench.statuses)
        bench.statuses = []

    def predictions(self) -> list[E]:
        """The events with a prediction, in the order of these."""
        return [self.sent[one[0]] for one in self.ended if isinstance(one, tuple)]


def replayed(live: Run, sizes: Sequence[int]) -> dict[int, int | None]:
    """What becomes of the events of a run where all updates are known before the first of them."""
    start = Bench()
    start.topic = live.bench.topic
    again = Bench(max_events=1000, missing=live.missing, before=start, fails=live.bench.fails)
    again.loader.finish_when_waited_for = True
    again.loader.finish()
    ended = again.events()
    events = list(live.sent)
    for size in sizes:
        batch, events = events[:size], events[size:]
        ended += again.events(*batch)
    again.loader.finish()
    ended += again.events(*events)
    again.loader.finish()
    ended += again.end()
    return dict(one if isinstance(one, tuple) else (one, None) for one in ended)


@examples(150)
@given(POLICIES, st.booleans(), steps(st.none() | TIMES, Restart(), RetireAll()))
def test_every_event_ends_once_and_those_of_a_key_and_model_in_their_order(
    missing: MissingPolicies, has_first: bool, taken: list[Step]
) -> None:
    run = Run(missing, has_first)
    for step in taken:
        run.take(step)
    run.finish()

    ended = Counter(one[0] if isinstance(one, tuple) else one for one in run.ended)
    assert ended == dict.fromkeys(range(len(run.sent)), 1)
    lines: dict[tuple[bytes, str], list[int]] = {}
    for one in run.predictions():
        if one.key is not None:
            lines.setdefault((one.key, one.model), []).append(one.number)
    assert all(line == sorted(line) for line in lines.values())


@examples(150)
@given(POLICIES, st.booleans(), steps(TIMES), st.lists(st.integers(1, 4), max_size=4))
def test_a_replay_gives_what_was_given_but_for_the_events_that_were_late(
    missing: MissingPolicies, has_first: bool, taken: list[Step], sizes: list[int]
) -> None:
    live = Run(missing, has_first)
    for step in taken:
        live.take(step)
    given_live = live.finish()

    given_again = replayed(live, sizes)

    others = [number for number, version in given_live.items() if given_again[number] != version]
    event(f"{len(others)} others")
    assert len(others) <= live.late < math.inf


_FIVE = [Events((("m", 0, b"a"),))] * 5
"""One more than are held."""


@examples(100)
@example(MissingPolicies(), False, _FIVE, [*_FIVE[:4], Publish(1, 0, False, "m")])
@given(POLICIES, st.booleans(), steps(TIMES), steps(TIMES, Restart()))
def test_a_replay_gives_what_several_attempts_gave_but_for_the_events_that_may_have_been_late(
    missing: MissingPolicies, has_first: bool, before: list[Step], after: list[Step]
) -> None:
    live = Run(missing, has_first)
    for step in [*before, Restart(), *after]:
        match step:
            case Publish():
                # That a version had failed is not known after a restart.
                live.take(step._replace(fails=False))
            case Events(events):
                # Nor is of what times events were that name a version.
                live.take(Events(tuple(("m", time, key) for _, time, key in events)))
            case _:
                live.take(step)
    given_live = live.finish()

    given_again = replayed(live, [])

    others = [number for number, version in given_live.items() if given_again[number] != version]
    event(f"{len(others)} others, {'some' if live.late == math.inf else 'none'} unknown")
    assert len(others) <= live.late
