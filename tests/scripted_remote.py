"""A fake remote that does what a test says: it answers, fails, hangs or breaks its promises."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from udfs.errors import Fault, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.remotes.base import Trace

Results = Sequence[JsonValue | ScoreError]
Act = Callable[[Sequence[JsonValue]], Awaitable[Results]]
"""What becomes of one request."""

BAD = "bad"
"""A record that `refuses_bad` refuses."""


def scored(data: JsonValue) -> JsonValue:
    return {"scored": data}


async def answers(inputs: Sequence[JsonValue]) -> Results:
    return [scored(data) for data in inputs]


async def hangs(inputs: Sequence[JsonValue]) -> Results:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def after(seconds: float, act: Act = answers) -> Act:
    async def act_later(inputs: Sequence[JsonValue]) -> Results:
        await asyncio.sleep(seconds)
        return await act(inputs)

    return act_later


def gives(*results: JsonValue | ScoreError) -> Act:
    async def give(inputs: Sequence[JsonValue]) -> Results:
        return results

    return give


def fails(
    fault: Fault, text: str = "failed", retry_after: float | None = None, *, is_answer: bool = False
) -> Act:
    return breaks(lambda: OffloadError(text, fault, retry_after, is_answer=is_answer))


def fails_of_bad(fault: Fault) -> Act:
    """Fails with a fault where there is a bad record."""

    async def act(inputs: Sequence[JsonValue]) -> Results:
        if BAD in inputs:
            raise OffloadError("there is a bad one", fault)
        return await answers(inputs)

    return act


refuses_bad = fails_of_bad(Fault.RECORD)


def breaks(error: Callable[[], BaseException]) -> Act:
    async def fail(inputs: Sequence[JsonValue]) -> Results:
        raise error()

    return fail


class ScriptedRemote:
    """Does act after act, one a request, then always the last thing that it was told."""

    endpoint = "test://server"

    def __init__(
        self,
        *acts: Act,
        then: Act = answers,
        opens: Sequence[Act] = (),
        is_repeatable: bool = True,
        max_batch: int | None = None,
        opens_by_asking: bool = True,
    ) -> None:
        self._acts = list(acts)
        self._then = then
        self._opens = list(opens)
        self.is_repeatable = is_repeatable
        self.max_batch = max_batch
        self.opens_by_asking = opens_by_asking
        self.batches: list[list[JsonValue]] = []
        """What was sent, request by request."""
        self.sent_at: list[float] = []
        self.seconds: list[float] = []
        self.traces: list[Trace] = []
        self.at_a_time = self.most_at_a_time = 0
        self.opened = self.closed = 0

    async def open(self, seconds: float) -> bool:
        assert not self.closed
        self.opened += 1
        if self._opens:
            await self._opens.pop(0)([])
        return self.opens_by_asking

    async def score(self, inputs: Sequence[JsonValue], seconds: float, trace: Trace) -> Results:
        assert not self.closed
        self.batches.append(list(inputs))
        self.sent_at.append(asyncio.get_running_loop().time())
        self.seconds.append(seconds)
        self.traces.append(trace)
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            return await (self._acts.pop(0) if self._acts else self._then)(inputs)
        finally:
            self.at_a_time -= 1

    async def close(self) -> None:
        assert self.at_a_time == 0
        self.closed += 1
