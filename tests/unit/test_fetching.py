"""An artifact is fetched again where that can help, and nowhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from udfs.errors import ArtifactError, ArtifactUnavailableError
from udfs.models.fetching import fetch_with_retries
from udfs.models.updates import Artifact

ARTIFACT = Artifact("0" * 64, uri="https://models.test/iris")


class Source:
    """Fails as a test says, then has the artifact."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.fetched = 0

    def fetch(self, artifact: Artifact) -> Path:
        assert artifact is ARTIFACT
        self.fetched += 1
        if self.failures:
            raise self.failures.pop(0)
        return Path("there")


Told = list[tuple[int, str, float]]


class Listener:
    """Hears of each retry."""

    def __init__(self) -> None:
        self.told: Told = []

    def __call__(self, attempt: int, error: ArtifactUnavailableError, wait_seconds: float) -> None:
        self.told.append((attempt, str(error), wait_seconds))


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


def unavailable(count: int) -> list[Exception]:
    return [ArtifactUnavailableError(f"busy {number}") for number in range(1, count + 1)]


def fetch(source: Source, listener: Listener, attempts: int = 5, deadline: float = 300) -> Path:
    return fetch_with_retries(source.fetch, ARTIFACT, attempts=attempts, deadline=deadline, on_retry=listener)


def test_what_is_there_is_fetched_once() -> None:
    source, listener = Source(), Listener()
    assert fetch(source, listener) == Path("there")
    assert (source.fetched, listener.told) == (1, [])


def test_what_may_be_had_later_is_fetched_again() -> None:
    source = Source(*unavailable(4))
    assert fetch(source, Listener()) == Path("there")
    assert source.fetched == 5


def test_each_retry_is_told_with_its_cause() -> None:
    listener = Listener()
    fetch(Source(*unavailable(2)), listener)
    assert [told[:2] for told in listener.told] == [(1, "busy 1"), (2, "busy 2")]


def test_the_last_failure_is_the_error() -> None:
    with pytest.raises(ArtifactUnavailableError, match=r"^busy 3; attempts: 3$"):
        fetch(Source(*unavailable(4)), Listener(), attempts=3)


def test_no_more_than_the_attempts_are_made() -> None:
    source, listener = Source(*unavailable(9)), Listener()
    with pytest.raises(ArtifactUnavailableError):
        fetch(source, listener, attempts=3)
    assert (source.fetched, len(listener.told)) == (3, 2)


def test_what_can_never_be_had_is_not_fetched_again() -> None:
    source = Source(ArtifactError("other bytes than its sha256 says"))
    with pytest.raises(ArtifactError, match=r"^other bytes") as caught:
        fetch(source, Listener())
    assert (type(caught.value), source.fetched) == (ArtifactError, 1)


def test_a_fault_that_stays_ends_the_retries_of_one_that_may_pass() -> None:
    source = Source(*unavailable(1), ArtifactError("gone"))
    with pytest.raises(ArtifactError, match=r"^gone$"):
        fetch(source, Listener())
    assert source.fetched == 2


def test_what_the_listener_raises_ends_the_fetch() -> None:
    def stop(attempt: int, error: ArtifactUnavailableError, wait_seconds: float) -> None:
        raise InterruptedError("the subtask ends")

    source = Source(*unavailable(4))
    with pytest.raises(InterruptedError):
        fetch_with_retries(source.fetch, ARTIFACT, attempts=5, deadline=300, on_retry=stop)
    assert source.fetched == 1


def test_the_waits_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    listener = Listener()
    with stamina.set_testing(False):
        fetch(Source(*unavailable(9)), listener, attempts=10)
    assert [told[2] for told in listener.told] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(least <= real <= least + 1 for (_, _, least), real in zip(listener.told, slept, strict=True))


def test_after_the_deadline_no_wait_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: pytest.fail("it waited"))
    source, listener = Source(*unavailable(9)), Listener()
    with stamina.set_testing(False), pytest.raises(ArtifactUnavailableError, match=r"attempts: 1$"):
        fetch(source, listener, attempts=10, deadline=1e-9)
    assert listener.told == []
