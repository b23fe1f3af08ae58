"""A `Caller` of a scripted remote, on a loop of virtual time."""

import asyncio
from collections.abc import Sequence

from tests.scripted_remote import (
    Act,
    ScriptedRemote,
    answers,
)
from tests.virtual_time import VirtualLoop
from udfs.errors import OffloadError
from udfs.json_values import JsonValue
from udfs.offload.breaker import FAULTS_IN_A_ROW, Breaker
from udfs.offload.caller import Caller, Result
from udfs.offload.counts import Counts


class Called:
    """A caller on a loop of virtual time, and what came of it."""

    def __init__(self, *remote: ScriptedRemote, attempts: int = 3, random: float = 0.5) -> None:
        self.remote = remote[0] if remote else ScriptedRemote()
        self.breaker, self.counts = Breaker(self.remote.endpoint), Counts()
        self._attempts, self._random = attempts, random
        self.seconds = 0.0
        """How long it took."""

    def caller(self, loop: VirtualLoop) -> Caller:
        return Caller(self.remote, self._attempts, self.breaker, self.counts, loop.time, lambda: self._random)

    def call(self, inputs: Sequence[JsonValue] = ("a",), seconds: float = 5) -> list[Result]:
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            results = runner.run(self.caller(loop).call(inputs, seconds, ()))
            self.seconds = loop.time()
        return results

    def open(self, seconds: float = 5) -> None:
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self.caller(loop).open(seconds))


def calls(*acts: Act, then: Act = answers, is_repeatable: bool = True, attempts: int = 3) -> Called:
    return Called(ScriptedRemote(*acts, then=then, is_repeatable=is_repeatable), attempts=attempts)


def left_alone(called: Called) -> Called:
    """With a breaker that opened a while ago: the next request is the probe."""
    for _ in range(FAULTS_IN_A_ROW):
        called.breaker.fail(-10, "refused", 0, -10)
    return called


def error_of(result: Result) -> OffloadError:
    assert isinstance(result, OffloadError)
    return result
