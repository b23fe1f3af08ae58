"""The one thread that does all model work."""

import threading

import pytest

from udfs.model_thread import ModelThread


def test_calls_run_in_one_thread_that_is_not_the_callers() -> None:
    thread = ModelThread("models")
    ran_in = {thread.run(threading.get_ident) for _ in range(3)}
    thread.close(lambda: None, 5)

    assert len(ran_in) == 1
    assert threading.get_ident() not in ran_in


def test_an_exception_is_the_callers() -> None:
    thread = ModelThread("models")

    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 // 0)
    thread.close(lambda: None, 5)


def test_closing_runs_the_last_call_in_the_thread_and_ends_it() -> None:
    thread = ModelThread("models")
    own = thread.run(threading.current_thread)
    said: list[threading.Thread] = []

    thread.close(lambda: said.append(threading.current_thread()), 5)

    assert said == [own]
    assert not own.is_alive()


def test_closing_does_not_wait_for_ever_for_a_call_that_hangs() -> None:
    thread, release, closed = ModelThread("models"), threading.Event(), threading.Event()
    caller = threading.Thread(target=thread.run, args=(release.wait,), daemon=True)
    caller.start()

    thread.close(closed.set, 0.05)

    assert not closed.is_set()
    release.set()
    assert closed.wait(5)
    caller.join(5)
