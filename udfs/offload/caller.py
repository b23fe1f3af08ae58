"""One batch of records on its way to a remote: attempts within a deadline, and halves of what is refused."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count

from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.breaker import Breaker
from udfs.offload.counts import Counts
from udfs.remotes.base import Remote, Trace

Result = JsonValue | ScoreError | OffloadError
"""What became of a record: its outputs, its own error, or that of its request."""

MOST_REQUESTS = 64
"""For one batch whose content is refused; its records are alone after 2 log2(N) requests where one is bad."""
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0
_SOON_SECONDS = 0.01
"""A remote's own timer may be so much earlier than the deadline."""


def wait_seconds(attempt: int, error: OffloadError, random: Callable[[], float]) -> float:
    """How long to wait before the next attempt: exponential backoff with full jitter.

    stamina, which fetches of artifacts use, adds its jitter to the backoff and takes it from a clock and
    a source of random numbers of its own. Source: "Exponential Backoff And Jitter" (AWS, 2015).

    Args:
        attempt: which failed, from 1.
        error: with the server's word on when to come back.
        random: gives numbers from 0 to 1.
    """
    # The exponent is bounded too: 2.0 ** 1024 is an error.
    longest = min(FIRST_WAIT_SECONDS * 2.0 ** min(attempt - 1, 16), LONGEST_WAIT_SECONDS)
    return max(0.0, error.retry_after or 0.0) + random() * longest


class Caller:
    """Asks a remote for the results of batches. Used on one event loop, for any number of batches at a time.

    Args:
        remote: whom to ask.
        attempts: most attempts of a request.
        breaker: of its endpoint.
        counts: of the model.
        clock: the loop's, in seconds.
        random: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        remote: Remote,
        attempts: int,
        breaker: Breaker,
        counts: Counts,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._remote = remote
        self._attempts = attempts
        self._breaker = breaker
        self._counts = counts
        self._clock = clock
        self._random = random

    async def open(self, seconds: float) -> None:
        """Have the remote get ready, and again while it can't for a fault that may pass.

        The breaker is not asked for leave, but told of success: that is how an endpoint is known to be back.

        Args:
            seconds: for all attempts.

        Raises:
            ModelLoadError: the options don't fit the model.
            OffloadError: it is not ready in time, or refuses.
        """
        ends_at = self._clock() + seconds
        for attempt in count(1):
            try:
                await self._open_once(ends_at - self._clock())
                break
            except OffloadError as error:
                wait = wait_seconds(attempt, error, self._random)
                if error.fault is not Fault.PASSING or self._clock() + wait >= ends_at:
                    raise
            await asyncio.sleep(wait)
        self._breaker.succeed()

    async def call(self, inputs: Sequence[JsonValue], seconds: float, trace: Trace) -> list[Result]:
        """Have a batch scored.

        A batch that is refused for its content is halved until the bad records are alone, where asking
        again does no harm.

        Args:
            inputs: the ``data`` of N events, no more than the remote takes at a time.
            seconds: for all requests together.
            trace: goes with each of them.

        Returns:
            N results in the order of the inputs. It raises nothing but what cancels it.
        """
        ends_at = self._clock() + seconds
        results: list[Result] = []
        parts, requests, refused = [inputs], 0, ""
        while parts:  # from the last, which is the first of the inputs that have no result yet
            part = parts.pop()
            if requests == MOST_REQUESTS:
                text = f"{refused} (of one of {len(part)} records; they took {requests} requests already)"
                results += [OffloadError(text, Fault.RECORD)] * len(part)
                continue
            requests += 1
            try:
                results += await self._ask(part, ends_at, trace)
            except OffloadError as error:
                if error.fault is Fault.RECORD and len(part) > 1 and self._remote.is_repeatable:
                    middle, refused = len(part) // 2, str(error)
                    parts += [part[middle:], part[:middle]]
                else:
                    # A new one: what was raised holds on to the frames, and so to the batch.
                    results += [OffloadError(str(error), error.fault, error.retry_after)] * len(part)
        return results

    async def _open_once(self, seconds: float) -> None:
        endpoint = self._remote.endpoint
        try:
            async with asyncio.timeout(seconds) as limit:
                await self._remote.open(seconds)
        except (OffloadError, ModelLoadError):
            raise
        except Exception as error:  # whatever its library raises
            raise _foreign(error, endpoint, seconds, limit) from error

    async def _ask(
        self, inputs: Sequence[JsonValue], ends_at: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Send a request until it is answered, its fault stays, or its attempts or its time are used up."""
        attempt = 0
        while True:
            now = self._clock()
            if now >= ends_at:
                raise OffloadError(f"{self._remote.endpoint}: no time left to ask it", Fault.PASSING)
            try:
                probe = self._breaker.admit(now)
            except OffloadError as refusal:
                if attempt == 0:
                    raise
                error = refusal  # it was sent before and has time: the endpoint may be back within that
            else:
                attempt += 1
                self._counts.retries += attempt > 1
                try:
                    return await self._send(inputs, ends_at, trace, probe)
                except OffloadError as fault:
                    error = fault
            if (
                error.fault is not Fault.PASSING
                or attempt >= self._attempts
                or not self._remote.is_repeatable
            ):
                raise error
            wait = wait_seconds(attempt, error, self._random)
            if self._clock() + wait >= ends_at:
                raise error
            await asyncio.sleep(wait)

    async def _send(
        self, inputs: Sequence[JsonValue], ends_at: float, trace: Trace, probe: int
    ) -> Sequence[JsonValue | ScoreError]:
        """Send a request once, and tell the breaker and the counters what became of it."""
        started = self._clock()
        self._counts.add_request(len(inputs))
        try:
            results = await self._bounded(inputs, ends_at - started, trace)
        except OffloadError as error:
            self._counts.failures += 1
            now = self._clock()
            if error.fault is Fault.PASSING:
                self._counts.timeouts += now >= ends_at - _SOON_SECONDS
                self._breaker.fail(now, str(error), probe, started)
            else:
                self._breaker.succeed()
            raise
        except BaseException:
            self._breaker.abandon(self._clock(), probe)
            raise
        else:
            self._breaker.succeed()
            return results
        finally:
            self._counts.add_latency(self._clock() - started)

    async def _bounded(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Ask the remote, and hold it to what it promises."""
        endpoint = self._remote.endpoint
        try:
            async with asyncio.timeout(seconds) as limit:
                results = list(await self._remote.score(inputs, seconds, trace))
        except OffloadError:
            raise
        except Exception as error:  # whatever its library raises
            raise _foreign(error, endpoint, seconds, limit) from error
        if len(results) != len(inputs):
            raise OffloadError(f"{endpoint} gave {len(results)} results for {len(inputs)} records")
        return results


def _foreign(error: Exception, endpoint: str, seconds: float, limit: asyncio.Timeout) -> OffloadError:
    """The error of a remote that took too long, or raised what it should not."""
    if isinstance(error, TimeoutError) and limit.expired():
        return OffloadError(f"{endpoint} did not answer within {seconds:.3g} s", Fault.PASSING)
    return OffloadError(f"{endpoint}: unexpected {type(error).__name__}: {error}")
