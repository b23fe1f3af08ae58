"""The one thread that does all model work."""

import threading

import pytest

from udfs.model_thread import ModelThread


def test_calls_run_in_one_thread_that_is_not_the_callers() -> None:
    thread = ModelThread("models")
    ran_in = {thread.run(threading.get_ident) for _ in range(3)}
    thread.close(lambda: None, 30)

    assert len(ran_in) == 1
    assert threading.get_ident() not in ran_in


def test_an_exception_is_the_callers() -> None:
    thread = ModelThread("models")

    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 // 0)
    thread.close(lambda: None, 30)


def test_closing_runs_the_last_call_in_the_thread_and_ends_it() -> None:
    thread = ModelThread("models")
    own = thread.run(threading.current_thread)
    said: list[threading.Thread] = []

    thread.close(lambda: said.append(threading.current_thread()), 30)

    assert said == [own]
    assert not own.is_alive()


def test_closing_does_not_wait_for_ever_for_a_call_that_hangs() -> None:
    thread, began, release, closed = (ModelThread("models"), *(threading.Event() for _ in range(3)))

    def hang() -> None:
        began.set()
        release.wait()

    caller = threading.Thread(target=thread.run, args=(hang,), daemon=True)
    caller.start()
    began.wait(30)

    thread.close(closed.set, 0.05)

    assert not closed.is_set()
    release.set()
    assert closed.wait(30)
    caller.join(30)
    assert not caller.is_alive()
