"""The way of one version's records to whom scores them beside the stream, and back."""

import asyncio
import concurrent.futures
import logging
import random as random_numbers
import time
from collections.abc import Callable, Sequence

from udfs.errors import Fault, OffloadError
from udfs.json_values import JsonValue
from udfs.offload.breaker import Breaker, BreakerState
from udfs.offload.caller import Caller, Result
from udfs.offload.counts import Counts
from udfs.offload.lane_settings import LaneSettings
from udfs.offload.loop_thread import LoopClosedError, LoopThread
from udfs.offload.mailbox import Answer, Mailbox
from udfs.offload.waiting_asks import Ask, WaitingAsks
from udfs.remotes.base import Remote

__all__ = ["Ask", "Lane"]

_CLOSE_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class Lane:
    """Sends one version's records in batches, some requests at a time, within bounds.

    What waits are records, not requests: they are put together when a request may be sent, so that the
    batches grow by themselves where the endpoint is slower than the events.

    Args:
        remote: whom to ask. The lane closes it.
        settings: the version's.
        breaker: of the remote's endpoint.
        loop: where all of it runs.
        mailbox: where answers go.
        counts: of the model.
        clock: the loop's, in seconds.
        random: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        remote: Remote,
        settings: LaneSettings,
        breaker: Breaker,
        loop: LoopThread,
        mailbox: Mailbox,
        counts: Counts,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_numbers.random,
    ) -> None:
        self._remote = remote
        self._settings = settings
        self._breaker = breaker
        self._loop = loop
        self._mailbox = mailbox
        self._counts = counts
        self._clock = clock
        self._caller = Caller(remote, settings.attempts, breaker, counts, clock, random)
        self._waiting = WaitingAsks(settings.max_waiting)
        self._slots: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[object] | None = None
        self._beside = 0
        self._is_closing = self._is_closed = False
        self.is_ending = False
        """Whether `close` was called: nothing should be handed in any more."""
        counts.breaker_state = breaker.state
        breaker.watch(self._breaker_changed)

    @property
    def settings(self) -> LaneSettings:
        """Of its version."""
        return self._settings

    @property
    def waiting(self) -> int:
        """Records that wait for their turn."""
        return len(self._waiting)

    def has_room(self, size: int, records: int = 1) -> bool:
        """Whether more may wait, beside what the free slots of the window take. From the model thread.

        Args:
            size: bytes of all of them.
            records: how many.
        """
        free = self._settings.in_flight - len(self._slots)
        return self._waiting.has_room(size, records, free * self._most())

    @property
    def refusal(self) -> OffloadError | None:
        """What records are answered with that are handed in now; None: they are sent. From any thread."""
        return self._breaker.refusal(self._clock())

    def count_refused(self, records: int) -> None:
        """Count records that were not handed in, because of the refusal. From the model thread alone."""
        self._counts.refused += records

    def submit(self, asks: Sequence[Ask]) -> None:
        """Hand in records. From the model thread; each gets one answer in the mailbox, whatever happens."""
        if not asks:
            return
        self._waiting.announce(asks)
        try:
            self._loop.call_soon(self._accept, list(asks))
        except LoopClosedError:
            self._mailbox.put([Answer(ask.ticket, self._closed_error()) for ask in asks])

    def open(self, seconds: float) -> None:
        """Have the remote get ready, and again while it can't for a fault that may pass. From another thread.

        Args:
            seconds: for all attempts.

        Raises:
            ModelLoadError: the options don't fit the model.
            OffloadError: it is not ready in time, or refuses.
        """
        try:
            self._loop.run(self._open(seconds))
        except (LoopClosedError, concurrent.futures.CancelledError):
            raise self._closed_error() from None

    def score(self, inputs: Sequence[JsonValue], seconds: float | None = None) -> list[Result]:
        """Score records and wait for them, beside those that were submitted. From any thread but the loop's.

        Args:
            inputs: the ``data`` of N events.
            seconds: for all of them, in place of the deadline of each request.

        Returns:
            N results in the order of the inputs.
        """
        try:
            return self._loop.run(self._score(inputs, seconds))
        except (LoopClosedError, concurrent.futures.CancelledError):
            return [self._closed_error()] * len(inputs)

    def close(self) -> None:
        """Close the remote once nothing is in flight or waits any more. Returns at once; from any thread.

        The loop must be closed after it.
        """
        self.is_ending = True
        try:
            self._loop.call_soon(self._begin_to_close)
        except LoopClosedError:
            _LOG.warning("%s was not closed: its loop was closed before", self._remote.endpoint)

    # What follows runs on the loop.

    def _accept(self, asks: Sequence[Ask]) -> None:
        self._waiting.add(asks)
        self._fill_window()

    def _fill_window(self) -> None:
        """Use the free slots of the window for what waits."""
        self._refuse_waiting()
        while not self._waiting.is_empty and len(self._slots) < self._settings.in_flight:
            slot = asyncio.get_running_loop().create_task(self._work(self._waiting.take(self._most())))
            self._slots.add(slot)
            slot.add_done_callback(self._end_slot)

    def _end_slot(self, slot: asyncio.Task[None]) -> None:
        self._slots.discard(slot)
        self._fill_window()
        self._close_if_idle()

    async def _work(self, batch: Sequence[Ask]) -> None:
        """Be one slot of the window: send batch after batch, until nothing waits."""
        while batch:
            await self._send(batch)
            # A remote that has its answers at hand must not keep the other lanes from the loop.
            await asyncio.sleep(0)
            self._refuse_waiting()
            batch = self._waiting.take(self._most())

    async def _send(self, batch: Sequence[Ask]) -> None:
        """Have a batch scored and answer its records, also where that is cancelled."""
        results: Sequence[Result] | None = None
        trace = next((ask.trace for ask in batch if ask.trace), ())
        self._counts.in_flight += 1
        try:
            inputs = [ask.data for ask in batch]
            results = await self._caller.call(inputs, self._settings.deadline, trace)
        finally:
            self._counts.in_flight -= 1
            self._answer(batch, results or [self._closed_error()] * len(batch))

    def _most(self) -> int:
        """Most records a request. The remote may know its own only when it is open."""
        return min(self._settings.max_batch, self._remote.max_batch or self._settings.max_batch)

    def _refuse_waiting(self) -> None:
        """Answer what waits at once, where none of it would be sent."""
        if self._waiting.is_empty:
            return
        refusal: OffloadError | None
        if self._is_closed or self._loop.is_closing:
            refusal = self._closed_error()
        else:
            refusal = self._breaker.refusal(self._clock())
        if refusal is not None:
            asks = self._waiting.take()
            self._answer(asks, [refusal] * len(asks))

    def _answer(self, asks: Sequence[Ask], results: Sequence[Result]) -> None:
        self._counts.records += len(asks)
        self._mailbox.put(list(map(Answer, (ask.ticket for ask in asks), results)))

    def _breaker_changed(self, state: BreakerState) -> None:
        if state is BreakerState.OPEN:
            self._counts.breaker_openings += self._counts.breaker_state == BreakerState.CLOSED
            self._refuse_waiting()
        self._counts.breaker_state = state

    async def _open(self, seconds: float) -> None:
        if self._is_closing:
            raise self._closed_error()
        self._opening = asyncio.current_task()
        try:
            await self._caller.open(seconds)
        finally:
            self._opening = None
            self._close_if_idle()

    async def _score(self, inputs: Sequence[JsonValue], seconds: float | None) -> list[Result]:
        if self._is_closed:
            return [self._closed_error()] * len(inputs)
        ends_at = None if seconds is None else self._clock() + seconds
        results: list[Result] = []
        self._beside += 1
        try:
            for start in range(0, len(inputs), self._most()):
                left = self._settings.deadline if ends_at is None else ends_at - self._clock()
                results += await self._caller.call(inputs[start : start + self._most()], left, ())
        finally:
            self._beside -= 1
            self._close_if_idle()
        return results

    def _begin_to_close(self) -> None:
        self._is_closing = True
        if self._opening is not None:
            self._opening.cancel()
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        is_busy = self._slots or not self._waiting.is_empty or self._beside or self._opening
        if self._is_closing and not self._is_closed and not is_busy:
            self._is_closed = True
            self._breaker.unwatch(self._breaker_changed)
            self._loop.finish(self._close_remote())

    async def _close_remote(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._remote.close()
        except Exception as error:  # noqa: BLE001  # whatever its library raises
            _LOG.warning(
                "%s was not closed in order: %s: %s", self._remote.endpoint, type(error).__name__, error
            )

    def _closed_error(self) -> OffloadError:
        return OffloadError(
            f"{self._remote.endpoint} was given up: its model is not loaded any more", Fault.PASSING
        )
