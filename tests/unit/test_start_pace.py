"""How fast workers are started again."""

from udfs.offload.start_pace import LONGEST_PAUSE_SECONDS, MOST_A_MINUTE, StartPace


def test_few_starts_are_made_at_once() -> None:
    pace = StartPace()
    assert [pace.pause(0.0, 0) for _ in range(MOST_A_MINUTE)] == [0.0] * MOST_A_MINUTE


def test_one_more_in_a_minute_waits_for_the_minute_s_end() -> None:
    pace = StartPace()
    for second in range(MOST_A_MINUTE):
        pace.pause(float(second), 0)
    assert pace.pause(40.0, 0) == 20.0


def test_starts_that_wait_count_too() -> None:
    pace = StartPace()
    for _ in range(2 * MOST_A_MINUTE):
        pace.pause(0.0, 0)
    assert pace.pause(0.0, 0) == 120.0


def test_after_a_failed_start_the_pause_doubles_up_to_its_bound() -> None:
    pace = StartPace()
    assert [pace.pause(0.0, failures) for failures in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, LONGEST_PAUSE_SECONDS]


def test_failures_without_end_have_a_pause() -> None:
    assert StartPace().pause(0.0, 100_000) == LONGEST_PAUSE_SECONDS
