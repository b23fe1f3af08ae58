"""What was scored is counted, and up to which times is known after a restart."""

import numpy as np
import pytest

from udfs.records import ModelId
from udfs.scored import ScoredEvents

ONE, TWO = ModelId("m", 1), ModelId("m", 2)


def scored(*times: int, model: ModelId = ONE) -> ScoredEvents:
    made = ScoredEvents()
    made.add(model, np.array(times, np.int64))
    return made


def test_events_are_counted_by_version_and_the_highest_time_by_model() -> None:
    events = scored(5, 9, 7)
    events.add(TWO, np.array([3], np.int64))

    assert dict(events.counts) == {ONE: 3, TWO: 1}
    assert events.highest == {"m": 9}


def test_after_a_restart_the_highest_time_is_known() -> None:
    again = ScoredEvents()

    again.adopt(scored(5, 9).encode())
    again.adopt(scored(7).encode())

    assert again.highest == {"m": 9}


@pytest.mark.parametrize(("since", "missed"), [(9, True), (10, False)])
def test_earlier_attempts_may_have_had_events_up_to_the_highest_time(since: int, missed: bool) -> None:
    again = ScoredEvents()
    again.adopt(scored(9).encode())

    assert again.may_have_missed("m", since) is missed


def test_what_this_attempt_scores_is_no_matter_of_earlier_ones() -> None:
    assert not scored(9).may_have_missed("m", 5)


def test_earlier_attempts_may_have_had_events_that_their_model_did_not_score() -> None:
    events, again = ScoredEvents(), ScoredEvents()
    events.add_elsewhere(np.array([9], np.int64))

    again.adopt(events.encode())

    assert [again.may_have_missed(name, 9) for name in "mn"] == [True, True]
