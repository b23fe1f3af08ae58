"""What a worker writes, in the job's log."""

import logging

import pytest

from udfs.offload.worker_log import LINES_A_MINUTE, LONGEST_LINE, WorkerLog

LOG = logging.getLogger("a worker's words")


class Written:
    """A log of a worker, and what came through it."""

    def __init__(self, records: pytest.LogCaptureFixture) -> None:
        self.now = 0.0
        self._records = records
        self.log = WorkerLog("worker 7", LOG, lambda: self.now)

    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._records.records]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Written:
    caplog.set_level(logging.INFO, LOG.name)
    return Written(caplog)


def test_lines_are_passed_on(written: Written) -> None:
    written.log.take(b"one\ntwo\n")
    assert written.lines() == ["worker 7 wrote: one", "worker 7 wrote: two"]


def test_a_line_that_comes_in_parts_is_one(written: Written) -> None:
    for part in (b"o", b"n", b"e\nt"):
        written.log.take(part)
    assert written.lines() == ["worker 7 wrote: one"]


def test_empty_lines_are_left_out(written: Written) -> None:
    written.log.take(b"\n\none\n\n")
    assert written.lines() == ["worker 7 wrote: one"]


def test_what_is_no_text_is_made_one(written: Written) -> None:
    written.log.take(b"\x1b[31mred\xff\r\n")
    assert written.lines() == ["worker 7 wrote: [31mred\ufffd"]


def test_a_long_line_is_cut(written: Written) -> None:
    for _ in range(10):
        written.log.take(b"x" * LONGEST_LINE)
    written.log.take(b"\n")
    assert written.lines() == ["worker 7 wrote: " + "x" * LONGEST_LINE]


def test_more_lines_than_its_share_are_left_out(written: Written) -> None:
    for _ in range(3):
        written.log.take(b"line\n" * LINES_A_MINUTE)
    assert len(written.lines()) == LINES_A_MINUTE + 1
    assert written.lines()[-1] == f"worker 7 wrote more lines than {LINES_A_MINUTE} a minute: no more"


def test_the_next_minute_has_a_share_of_its_own(written: Written) -> None:
    written.log.take(b"line\n" * 1000)
    written.now = 60.0
    written.log.take(b"later\n")
    assert written.lines()[-1] == "worker 7 wrote: later"
