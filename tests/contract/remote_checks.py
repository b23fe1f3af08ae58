"""What the contract of remotes asks with, and how it judges answers."""

import asyncio
import math
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil
import pytest

from devtools.model_environments import environment
from devtools.processes import ProcessError
from udfs.errors import Fault, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.options import Options
from udfs.remotes import Remote, Surroundings
from udfs.remotes.base import Trace
from udfs.remotes.credentials import Credentials

SECONDS = 60.0
TRACE: Trace = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
SECRET = "xyzzy-4711"


async def score_all(remote: Remote, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
    """Score inputs in as few requests as the remote can."""
    size = remote.max_batch or len(inputs)
    results: list[JsonValue | ScoreError] = []
    for start in range(0, len(inputs), size):
        results += await remote.score(inputs[start : start + size], SECONDS, TRACE)
    return results


async def score_when_back(remote: Remote, value: JsonValue) -> Sequence[JsonValue | ScoreError]:
    """Score once the remote has found that the server is well."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            return await remote.score([value], SECONDS, ())
        except OffloadError as error:
            if error.fault is not Fault.PASSING or time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def fault_of(remote: Remote, value: JsonValue) -> Fault | None:
    """What was wrong with a request of one record; None: it was answered."""
    try:
        assert len(await remote.score([value], SECONDS, ())) == 1
    except OffloadError as error:
        return error.fault
    return None


def assert_same(results: Sequence[object], expected: Sequence[object]) -> None:
    """Assert that outputs are as expected, but for the last bits of floats."""
    assert len(results) == len(expected)
    for result, one in zip(results, expected, strict=True):
        assert _is_same(result, one), f"{result!r} is not {one!r}"


def _is_same(result: object, expected: object) -> bool:
    if isinstance(expected, float):
        return isinstance(result, float | int) and math.isclose(result, expected, rel_tol=1e-5, abs_tol=1e-7)
    if isinstance(expected, Mapping):
        return (
            isinstance(result, Mapping)
            and list(result) == list(expected)
            and all(_is_same(result[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(result, list | tuple)
            and len(result) == len(expected)
            and all(map(_is_same, result, expected))
        )
    return type(result) is type(expected) and result == expected


def raise_score_error(result: JsonValue | ScoreError) -> None:
    """Raise what stands in place of outputs."""
    if isinstance(result, ScoreError):
        raise result


@contextmanager
def record_fault() -> Iterator[list[str]]:
    """Expect a ScoreError, or an OffloadError that may be a record's fault; gives its text."""
    said: list[str] = []
    with pytest.raises((ScoreError, OffloadError)) as caught:
        yield said
    error = caught.value
    assert not isinstance(error, OffloadError) or error.fault in (Fault.RECORD, Fault.UNCLEAR), error
    said.append(_one_line(error))


@contextmanager
def offload_error(*faults: Fault) -> Iterator[list[str]]:
    """Expect an OffloadError of one of some faults; gives its text."""
    said: list[str] = []
    with pytest.raises(OffloadError) as caught:
        yield said
    assert caught.value.fault in faults, caught.value
    said.append(_one_line(caught.value))


def _one_line(error: Exception) -> str:
    text = str(error)
    assert text.strip()
    assert "\n" not in text
    assert len(text) < 1000
    return text


def with_credentials(options: Options, monkeypatch: pytest.MonkeyPatch) -> tuple[Options, Surroundings]:
    """Options and surroundings with a bearer token from the environment."""
    monkeypatch.setenv("REMOTE_CONTRACT_TOKEN", SECRET)
    known = {"contract": Credentials(bearer_env="REMOTE_CONTRACT_TOKEN")}
    return {**options, "credentials": "contract"}, Surroundings(AllowedPlaces([str(options["url"])]), known)


@contextmanager
def unused_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def need_environment(name: str) -> None:
    """Make the environment of a real server, or skip and say why there is none."""
    try:
        environment(name)
    except ProcessError as error:
        pytest.skip(f"the environment of the {name} server can't be made: {str(error)[:500]}")


def traces() -> tuple[int, int]:
    """Threads and open files of this process."""
    me = psutil.Process()
    return me.num_threads(), me.num_fds()
