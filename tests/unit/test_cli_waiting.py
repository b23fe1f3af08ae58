"""Waiting for every subtask's word, over lists of records and a clock that the test moves."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from cli.waiting import Awaited, Outcome, Words, listen
from connectors.client import Record
from udfs.records import ModelId, ModelStatus, Phase

IRIS = ModelId("iris", 2)
SHA256 = "2" * 64
ACTIVE = Awaited(IRIS, SHA256, frozenset[Phase](["active"]))


def said(subtask: int, phase: Phase, *, parallelism: int = 2, **fields: Any) -> Record:
    usual: dict[str, Any] = {"job": "job", "model": IRIS, "attempt": 0, "sha256": SHA256, "at": "now"}
    status = ModelStatus(status=phase, subtask=subtask, parallelism=parallelism, **{**usual, **fields})
    return Record(msgspec.json.encode(status), status.key())


class Stream:
    """Lists of records that come a second after another; empty ones for ever behind them."""

    def __init__(self, *lists: Sequence[Record]) -> None:
        self._lists = lists
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Sequence[Record]]:
        for records in self._lists:
            self.seconds += 1
            yield records
        while True:
            self.seconds += 1
            yield []

    def clock(self) -> float:
        return self.seconds


def hear(*lists: Sequence[Record], awaited: Awaited = ACTIVE, seconds: float = 60) -> tuple[Outcome, Words]:
    stream = Stream(*lists)
    words = Words("job", [awaited])
    return listen(words, stream, seconds, clock=stream.clock), words


def test_it_is_everywhere_when_every_subtask_has_said_it() -> None:
    outcome, words = hear([said(0, "loading"), said(1, "loading")], [said(1, "active")], [said(0, "active")])

    assert outcome == "everywhere"
    assert [one.subtask for one in words.heard] == [0, 1]


def test_ready_is_not_active() -> None:
    outcome, words = hear([said(0, "active"), said(1, "ready")])

    assert outcome == "timeout"
    assert words.missing == [(IRIS, 1)]


def test_a_staged_version_may_be_active_already() -> None:
    ready = ACTIVE._replace(phases=frozenset[Phase](["ready", "active"]))

    assert hear([said(0, "active"), said(1, "ready")], awaited=ready)[0] == "everywhere"


def test_the_last_word_of_a_subtask_counts() -> None:
    assert hear([said(0, "active"), said(1, "active"), said(0, "loading")])[0] == "timeout"


def test_a_failure_says_who_and_why() -> None:
    outcome, words = hear([said(1, "failed", cause="no model"), said(0, "active")])

    assert outcome == "failed"
    assert [(one.subtask, one.cause) for one in words.failed] == [(1, "no model")]


def test_failures_of_other_subtasks_a_little_later_are_told_with_the_first() -> None:
    _, words = hear([said(0, "failed")], [said(1, "failed")])

    assert [one.subtask for one in words.failed] == [0, 1]


def test_after_a_failure_slow_subtasks_are_not_waited_for() -> None:
    stream = Stream([said(0, "failed")])

    assert listen(Words("job", [ACTIVE]), stream, 60, clock=stream.clock) == "failed"
    assert stream.seconds < 5


def test_when_all_have_failed_there_is_nothing_to_wait_for() -> None:
    stream = Stream([said(0, "failed"), said(1, "failed")])

    listen(Words("job", [ACTIVE]), stream, 60, clock=stream.clock)

    assert stream.seconds == 2


def test_nobody_answers() -> None:
    stream = Stream()

    outcome = listen(words := Words("job", [ACTIVE]), stream, 60, clock=stream.clock)

    assert (outcome, words.parallelism, words.heard) == ("timeout", None, [])
    assert stream.seconds == pytest.approx(61, abs=1)


def test_subtasks_that_speak_of_other_models_alone_are_missing_by_number() -> None:
    _, words = hear([said(0, "active", model=ModelId("rose", 1))])

    assert words.missing == [(IRIS, 0), (IRIS, 1)]


@pytest.mark.parametrize(
    "other", [{"job": "another"}, {"sha256": "0" * 64}, {"model": ModelId("iris", 1)}], ids=str
)
def test_words_of_other_jobs_versions_and_artifacts_do_not_count(other: dict[str, Any]) -> None:
    assert hear([said(0, "active", **other), said(1, "active", **other)])[0] == "timeout"


def test_a_failure_of_another_job_is_none_of_this() -> None:
    outcome, _ = hear([said(0, "failed", job="another"), said(0, "active"), said(1, "active")])

    assert outcome == "everywhere"


def test_a_job_that_starts_again_with_fewer_subtasks_needs_their_words_alone() -> None:
    before = [said(subtask, "loading", parallelism=4) for subtask in range(4)]

    assert hear(before, [said(0, "active"), said(1, "active")])[0] == "everywhere"


def test_words_from_before_a_rescaling_do_not_count() -> None:
    before = [said(0, "active", parallelism=1), said(0, "late", parallelism=1, late_events=3)]

    outcome, words = hear(before, [said(1, "active")])

    assert (outcome, words.late) == ("timeout", [])


def test_a_switch_at_an_event_time_needs_words_that_name_it() -> None:
    at_7 = ACTIVE._replace(effective_from=7)

    assert hear([said(0, "active"), said(1, "active", effective_from=7)], awaited=at_7)[0] == "timeout"
    both = [said(subtask, "active", effective_from=7) for subtask in range(2)]
    assert hear(both, awaited=at_7)[0] == "everywhere"


def test_late_subtasks_are_told_with_their_numbers_beside_their_word() -> None:
    outcome, words = hear(
        [said(0, "active"), said(1, "active")], [said(1, "late", effective_from=7, late_events=3)]
    )

    assert outcome == "everywhere"
    assert [(one.subtask, one.late_events) for one in words.late] == [(1, 3)]


def test_a_version_that_failed_is_retired_like_any_other() -> None:
    retired = ACTIVE._replace(phases=frozenset[Phase](["retired"]))

    failed = [said(0, "failed"), said(1, "retired")]
    assert hear(failed, [], [], [], [said(0, "retired")], awaited=retired)[0] == "everywhere"


def test_every_version_of_a_model_is_waited_for() -> None:
    first = Awaited(ModelId("iris", 1), SHA256, frozenset[Phase](["retired"]))
    words = Words("job", [first, first._replace(model=IRIS)])
    stream = Stream([said(0, "retired", parallelism=1)])

    assert listen(words, stream, 10, clock=stream.clock) == "timeout"
    assert words.missing == [(ModelId("iris", 1), 0)]


@pytest.mark.parametrize("value", [None, b"", b"no json", b"{}", b"\xff"])
def test_what_is_no_status_is_left_out(value: bytes | None) -> None:
    assert hear([Record(value), said(0, "active"), said(1, "active")])[0] == "everywhere"


def test_words_are_shown_as_they_come() -> None:
    shown: list[int] = []
    stream = Stream([said(0, "active")], [said(1, "active")])

    listen(
        Words("job", [ACTIVE]),
        stream,
        60,
        clock=stream.clock,
        show=lambda words: shown.append(len(words.heard)),
    )

    assert shown == [1, 2, 2]
