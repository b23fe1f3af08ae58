"""The guard against the code of an earlier job in a TaskManager that embeds Python."""

import gc
import weakref
from collections.abc import Iterator
from typing import NoReturn

import psutil
import pytest

from udfs import worker
from udfs.code_version import CODE_VERSION
from udfs.worker import check_code_version, settle_memory


def test_the_code_that_was_submitted_may_run() -> None:
    check_code_version(CODE_VERSION)


def test_other_code_than_what_was_submitted_is_refused_with_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="restart the TaskManagers"):
        check_code_version("0" * 16)


@pytest.fixture
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_thawed")
def test_full_collections_pass_by_what_was_imported_before_events_came() -> None:
    settle_memory()
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


class Cycle:
    """What an ended attempt leaves: only the collector finds it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("_thawed")
def test_what_an_earlier_attempt_left_behind_is_freed_at_the_next_start() -> None:
    left = Cycle()
    gone = weakref.ref(left)
    settle_memory()
    del left

    settle_memory()

    assert gone() is None


class Ending(psutil.Process):
    """A process that ends between two questions."""

    def is_running(self) -> bool:
        return True

    def status(self) -> NoReturn:
        raise psutil.NoSuchProcess(self.pid)


def test_a_task_manager_that_ends_while_it_is_asked_for_ends_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)

    worker._watch(Ending())  # what runs in its thread

    assert ended == [1]
