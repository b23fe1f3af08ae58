"""A lane over a scripted remote, on a loop of virtual time, with what it answered."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from tests.scripted_remote import Results, ScriptedRemote, answers
from tests.virtual_time import VirtualLoop
from tests.waiting import wait_until
from udfs.errors import ModelstreamError, OffloadError
from udfs.json_values import JsonValue
from udfs.offload.breaker import Breaker
from udfs.offload.counts import Counts
from udfs.offload.lane import Ask, Lane
from udfs.offload.lane_settings import LaneSettings
from udfs.offload.loop_thread import LoopThread
from udfs.offload.mailbox import Mailbox


class Beside:
    """One subtask's loop, mailbox and lanes. Leaving it closes them.

    Args:
        stands_still: whether time passes only by `advance`; else it passes wherever nothing else happens.
    """

    def __init__(self, *, stands_still: bool = False) -> None:
        self.time = VirtualLoop(stands_still=stands_still)
        self.loop = LoopThread(make_loop=lambda: self.time)
        self.mailbox = Mailbox()
        self.breaker = Breaker(ScriptedRemote.endpoint)
        self.counts = Counts()
        self.answers: dict[int, JsonValue | ModelstreamError] = {}
        self.lanes: list[Lane] = []

    def __enter__(self) -> "Beside":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self.lanes:
            lane.close()
        self.loop.close(30)
        self.time.close()  # where the loop's thread never started, nobody has

    def lane(self, remote: ScriptedRemote, settings: LaneSettings | None = None) -> Lane:
        made = Lane(
            remote,
            settings or LaneSettings(),
            self.breaker,
            self.loop,
            self.mailbox,
            self.counts,
            clock=self.time.time,
            random=lambda: 0.5,
        )
        self.lanes.append(made)
        return made

    def collect(self, count: int) -> dict[int, JsonValue | ModelstreamError]:
        """Wait for so many answers; they and those before, by ticket."""

        def come() -> bool:
            self.mailbox.wait(1 if len(self.answers) < count else 0)
            answers = self.mailbox.take()
            twice = [answer.ticket for answer in answers if answer.ticket in self.answers]
            tickets = Counter(answer.ticket for answer in answers)
            assert not twice
            assert set(tickets.values()) <= {1}
            self.answers.update((answer.ticket, answer.result) for answer in answers)
            return len(self.answers) >= count

        wait_until(come, what=f"{count} answers", pause=0)
        return self.answers

    def run_on_loop(self) -> None:
        """Wait until the loop has done what was handed to it before."""

        async def nothing() -> None: ...

        self.loop.run(nothing())

    def advance(self, seconds: float) -> None:
        self.loop.call_soon(self.time.advance, seconds)


class Gate:
    """An act that answers once a test lets it."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    async def __call__(self, inputs: Sequence[JsonValue]) -> Results:
        await self._open.wait()
        return await answers(inputs)

    def open_on(self, beside: Beside) -> None:
        beside.loop.call_soon(self._open.set)


def asks(data: Sequence[JsonValue], first: int = 0) -> list[Ask]:
    return [Ask(ticket, one, 10, ()) for ticket, one in enumerate(data, first)]


def texts(answers: dict[int, JsonValue | ModelstreamError]) -> set[str]:
    """What the errors say, of answers that are all errors of requests."""
    assert all(isinstance(one, OffloadError) for one in answers.values())
    return {str(one) for one in answers.values()}
