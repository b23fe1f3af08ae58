"""What is remembered of replayed dead letters: the offset that Kafka keeps, and a text beside it."""

import random

import pytest

from cli.replayed import Replayed
from udfs.errors import TopicError

LETTERS = range(100)


def test_nothing_is_replayed_at_first() -> None:
    assert [offset for offset in LETTERS if offset in Replayed()] == []


def test_what_is_done_in_order_is_an_offset_alone() -> None:
    replayed = Replayed().after(range(10), LETTERS)

    assert replayed == Replayed(10)
    assert replayed.to_text() == ""


def test_a_gap_is_remembered_and_closes() -> None:
    replayed = Replayed().after([3, 5, 6], LETTERS)
    assert [offset for offset in LETTERS if offset in replayed] == [3, 5, 6]

    replayed = replayed.after([0, 1, 2, 4], LETTERS)

    assert replayed == Replayed(7)


def test_offsets_that_hold_no_letter_are_no_gap() -> None:
    # Transactions leave such offsets: their markers are records that nobody reads.
    assert Replayed().after([0, 1, 4], [0, 1, 4, 7]) == Replayed(7)


def test_when_all_is_done_the_next_offset_is_behind_the_last() -> None:
    assert Replayed().after([0, 1, 4], [0, 1, 4]) == Replayed(5)


def test_what_is_done_again_changes_nothing() -> None:
    replayed = Replayed().after([0, 1, 5], LETTERS)

    assert replayed.after([0, 5], LETTERS) == replayed


def test_the_text_holds_what_an_offset_cannot() -> None:
    chosen = random.Random(7).sample(range(1, 20_000), 9_000)
    replayed = Replayed().after(chosen, range(20_000))

    assert Replayed.from_text(replayed.next_offset, replayed.to_text()) == replayed


@pytest.mark.parametrize("text", ["x", "bm90IHpsaWI=", "ümlaut", "{}"])
def test_a_text_of_another_is_none(text: str) -> None:
    assert Replayed.from_text(4, text) == Replayed(4)


def test_more_than_kafka_keeps_is_refused() -> None:
    chosen = random.Random(7).sample(range(1, 200_000), 100_000)

    with pytest.raises(TopicError, match="too many gaps"):
        Replayed().after(chosen, range(200_000)).to_text()
