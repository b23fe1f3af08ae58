"""Answers get from the loop's thread to the model thread, all of them and once."""

import threading

from tests.waiting import wait_until
from udfs.offload.mailbox import Answer, Mailbox


def test_an_empty_one_has_nothing() -> None:
    assert Mailbox().take() == []


def test_what_was_put_is_taken_in_order_and_once() -> None:
    mailbox = Mailbox()
    mailbox.put([Answer(1, "a"), Answer(2, "b")])
    mailbox.put([Answer(3, None)])
    assert mailbox.take() == [Answer(1, "a"), Answer(2, "b"), Answer(3, None)]
    assert mailbox.take() == []


def test_waiting_ends_where_nothing_comes() -> None:
    assert not Mailbox().wait(0.01)


def test_waiting_ends_at_once_where_something_is() -> None:
    mailbox = Mailbox()
    mailbox.put([Answer(1, "a")])
    assert mailbox.wait(60)
    assert mailbox.wait(60)


def test_what_was_taken_does_not_end_the_next_wait() -> None:
    mailbox = Mailbox()
    mailbox.put([Answer(1, "a")])
    mailbox.take()
    assert not mailbox.wait(0.01)


def test_waiting_ends_when_something_comes() -> None:
    mailbox, said = Mailbox(), list[bool]()
    waiter = threading.Thread(target=lambda: said.append(mailbox.wait(60)))
    waiter.start()
    mailbox.put([Answer(1, "a")])
    waiter.join(30)
    assert said == [True]


def test_nothing_is_lost_between_two_threads() -> None:
    mailbox, taken = Mailbox(), list[int]()

    def put_all() -> None:
        for number in range(20_000):
            mailbox.put([Answer(number, None)])

    writer = threading.Thread(target=put_all)
    writer.start()

    def take_all() -> bool:
        mailbox.wait(1)
        taken.extend(answer.ticket for answer in mailbox.take())
        return len(taken) == 20_000

    wait_until(take_all, pause=0)
    writer.join(30)
    assert taken == list(range(20_000))


def test_a_wait_for_many_answers_ends_when_they_are_there() -> None:
    mailbox, taken = Mailbox(), 0

    def send() -> None:
        for number in range(3000):
            mailbox.put([Answer(number, None)])

    sender = threading.Thread(target=send)
    sender.start()
    while taken < 3000:
        assert mailbox.wait(60, min(50, 3000 - taken))
        taken += len(mailbox.take())
    sender.join()


def test_a_wait_for_many_answers_ends_with_its_time() -> None:
    mailbox = Mailbox()
    mailbox.put([Answer(1, None)])
    assert mailbox.wait(0.01, 2)
    assert len(mailbox.take()) == 1
