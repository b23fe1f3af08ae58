"""No answer is lost or given twice, whatever the remote does and whenever the lane or its loop is closed."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lanes import Beside, asks
from tests.scripted_remote import (
    BAD,
    Act,
    ScriptedRemote,
    after,
    answers,
    breaks,
    fails,
    gives,
    hangs,
    refuses_bad,
    scored,
)
from udfs.errors import Fault, OffloadError
from udfs.json_values import JsonValue
from udfs.offload.lane_settings import LaneSettings

FAILS = st.builds(
    fails, st.sampled_from(Fault), retry_after=st.sampled_from([None, -1.0, 0.5, 3.0, 1e9, float("nan")])
)
BREAKS = st.sampled_from(
    [breaks(lambda: KeyError("x")), breaks(TimeoutError), gives("one too few or many"), gives(), hangs]
)
AT_ONCE = st.one_of(st.just(answers), st.just(refuses_bad), FAILS, BREAKS)
ACTS = st.one_of(AT_ONCE, st.builds(after, st.sampled_from([0.01, 0.4, 4.0, 6.0]), AT_ONCE))
DATA: st.SearchStrategy[JsonValue] = st.sampled_from([BAD, 1, None, "text"])
SETTINGS = st.builds(
    LaneSettings,
    deadline=st.sampled_from([0.5, 5.0]),
    attempts=st.integers(1, 4),
    in_flight=st.integers(1, 4),
    max_batch=st.sampled_from([1, 2, 1000]),
)


class Submitted(NamedTuple):
    """Records that are handed in at once; before that the loop may run, and time pass."""

    data: list[JsonValue]
    seconds: float | None


STEPS = st.lists(
    st.builds(
        Submitted,
        st.lists(DATA, max_size=10),
        st.sampled_from([None, 0.0, 0.3, 2.0, 40.0]),
    ),
    max_size=8,
)


@settings(deadline=None, derandomize=True)
@given(
    acts=st.lists(ACTS, max_size=20),
    then=st.sampled_from([answers, refuses_bad, hangs, fails(Fault.PASSING)]),
    settings=SETTINGS,
    repeatable=st.booleans(),
    steps=STEPS,
    close_at=st.none() | st.integers(0, 8),
    end_at=st.none() | st.integers(0, 8),
)
def test_each_record_gets_one_answer(
    acts: list[Act],
    then: Act,
    settings: LaneSettings,
    repeatable: bool,
    steps: list[Submitted],
    close_at: int | None,
    end_at: int | None,
) -> None:
    remote = ScriptedRemote(*acts, then=then, is_repeatable=repeatable)
    handed_in: list[JsonValue] = []
    with Beside() as beside:
        lane = beside.lane(remote, settings)
        for number, step in enumerate(steps):
            if number == close_at:
                lane.close()
            if number == end_at:
                beside.loop.close(30)
            elif step.seconds is not None and not beside.loop.is_closing:
                beside.run_on_loop()
                beside.advance(step.seconds)
            lane.submit(asks(step.data, len(handed_in)))
            handed_in += step.data
        if end_at is None:
            beside.collect(len(handed_in))
    found = beside.collect(len(handed_in))

    assert beside.mailbox.take() == []
    assert sorted(found) == list(range(len(handed_in)))
    for ticket, result in found.items():
        assert isinstance(result, OffloadError) or result in (
            scored(handed_in[ticket]),
            "one too few or many",
        )


@settings(deadline=None, derandomize=True)
@given(data=st.lists(DATA, min_size=1, max_size=60), max_batch=st.integers(1, 60))
def test_only_bad_records_fail_where_the_endpoint_is_well(data: list[JsonValue], max_batch: int) -> None:
    remote = ScriptedRemote(then=refuses_bad)
    with Beside() as beside:
        beside.lane(remote, LaneSettings(max_batch=min(max_batch, 16))).submit(asks(data))
        found = beside.collect(len(data))
    for ticket, one in enumerate(data):
        if one == BAD:
            assert isinstance(found[ticket], OffloadError)
        else:
            assert found[ticket] == scored(one)
