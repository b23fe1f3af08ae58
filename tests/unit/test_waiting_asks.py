"""What waits is bounded in records and bytes, and leaves in the order in which it came."""

import pytest

from udfs.offload.waiting_asks import MOST_WAITING_BYTES, Ask, WaitingAsks


def asks(*tickets: int, size: int = 1) -> list[Ask]:
    return [Ask(ticket, None, size, ()) for ticket in tickets]


def waiting(*tickets: int, most: int = 10, size: int = 1) -> WaitingAsks:
    made = WaitingAsks(most)
    made.announce(asks(*tickets, size=size))
    made.add(asks(*tickets, size=size))
    return made


def test_records_leave_in_the_order_in_which_they_came() -> None:
    queue = waiting(3, 1, 2)
    assert [ask.ticket for ask in [*queue.take(2), *queue.take(2)]] == [3, 1, 2]
    assert queue.is_empty


def test_all_of_it_may_be_taken() -> None:
    assert len(waiting(1, 2, 3).take()) == 3


def test_what_is_announced_takes_room() -> None:
    queue = WaitingAsks(2)
    queue.announce(asks(1, 2))
    assert (len(queue), queue.has_room(1, 1), queue.is_empty) == (2, False, True)


def test_what_is_taken_makes_room() -> None:
    queue = waiting(1, 2, most=2)
    queue.take(1)
    assert queue.has_room(1, 1)
    assert not queue.has_room(2, 2)


@pytest.mark.parametrize(
    ("size", "has_room"), [(MOST_WAITING_BYTES - 7, True), (MOST_WAITING_BYTES - 6, False)]
)
def test_bytes_are_bounded(size: int, has_room: bool) -> None:
    assert waiting(1, size=7).has_room(size, 1) is has_room


def test_a_record_that_is_larger_than_the_bound_may_wait_alone() -> None:
    queue = waiting(1, size=7)
    queue.take()
    assert queue.has_room(MOST_WAITING_BYTES + 1, 1)
    assert not queue.has_room(MOST_WAITING_BYTES + 1, 2)
