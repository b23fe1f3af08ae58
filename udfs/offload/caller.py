"""One batch of records on its way to a remote: attempts within a deadline, and halves of what is refused."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.batch_parts import HALVED, Part, final_error, given_up
from udfs.offload.breaker import Breaker
from udfs.offload.counts import Counts
from udfs.offload.worker_ended import WorkerEndedError
from udfs.remotes.base import Remote, Trace

Result = JsonValue | ScoreError | OffloadError
"""What became of a record: its outputs, its own error, or that of its request."""

MOST_REQUESTS = 64
"""For one batch whose content is refused; its records are alone after 2 log2(N) requests where one is bad."""
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0
_SOON_SECONDS = 0.01
"""A remote's own timer may be so much earlier than the deadline."""
_MOST_ALONE = 2
"""Records that were sent alone, and failed for what may be the server's fault, before any has a result."""
_LEAST_SHARE = 8
"""A part of a batch that ended or hung its process has at least this part of the deadline."""


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

        The breaker is not asked for leave, but told where the endpoint answered: that is how it is known to
        be back.

        Args:
            seconds: for all attempts.

        Raises:
            ModelLoadError: the options don't fit the model.
            OffloadError: it is not ready in time, or refuses.
        """
        ends_at = self._clock() + seconds
        for attempt in count(1):
            try:
                has_answered = await self._open_once(ends_at - self._clock())
                break
            except OffloadError as error:
                wait = wait_seconds(attempt, error, self._random)
                if error.fault is not Fault.PASSING or self._clock() + wait >= ends_at:
                    raise
            await asyncio.sleep(wait)
        if has_answered:
            self._breaker.succeed()

    async def call(self, inputs: Sequence[JsonValue], seconds: float, trace: Trace) -> list[Result]:
        """Have a batch scored.

        A batch that is refused for its content is halved until the bad records are alone, where asking
        again does no harm. So is one that

        - ended the process that tried, or hung it (HARMFUL). A half has half of the time of its whole, at
          least an eighth of the deadline, and all of them together have twice the deadline more. A record
          that has no result then is HARMFUL too, for nothing shows that it is not;
        - met a server that failed (UNCLEAR). Until a record has a result, the way leads straight down to two
          records that are alone: where these fail as well, it is no record's fault but PASSING, for all of
          the batch, and one fault for the breaker.

        Records that are not tried any more have a PASSING fault, whatever their batch had.

        Args:
            inputs: the ``data`` of N events, no more than the remote takes at a time.
            seconds: for all requests together, but for those that look for harmful records.
            trace: goes with each of them.

        Returns:
            N results in the order of the inputs. It raises nothing but what cancels it.
        """
        started = self._clock()
        ends_at = started + seconds
        results: list[Result] = [None] * len(inputs)
        failed: list[tuple[Part, OffloadError]] = []
        parts = deque([Part(0, len(inputs), seconds)])
        requests = alone = 0
        has_results = is_longer = is_down = False
        while parts:
            part = parts.popleft()
            if part.cause is not None and (is_down or requests >= MOST_REQUESTS):
                why = "" if is_down else f"they took {requests} requests already"
                failed.append((part, given_up(part, part.cause, why)))
                continue
            requests += 1
            try:
                results[part.start : part.end] = await self._ask(
                    inputs[part.start : part.end],
                    part.seconds,
                    ends_at,
                    trace,
                    is_whole=part.cause is None,
                )
                has_results = True
            except OffloadError as error:
                # A new one: what was raised holds on to the frames, and so to the batch.
                fault = OffloadError(str(error), error.fault, error.retry_after)
                if fault.fault is Fault.HARMFUL and not is_longer:
                    is_longer, ends_at = True, ends_at + 2 * seconds
                if fault.fault in HALVED and part.size > 1 and self._remote.is_repeatable:
                    halves = part.halves(fault, seconds / _LEAST_SHARE)
                    if fault.fault is Fault.UNCLEAR and not has_results:
                        parts.extendleft(reversed(halves))
                    else:  # whole levels: both halves of a part are asked before halves of theirs
                        parts += halves
                    continue
                failed.append((part, fault))
                alone += fault.fault is Fault.UNCLEAR
                is_down = not has_results and alone >= min(len(inputs), _MOST_ALONE)
        if alone and not has_results:
            self._breaker.fail(self._clock(), str(failed[0][1]), 0, started, is_evidence=True)
        for part, fault in failed:
            final = final_error(part, fault, has_results=has_results)
            results[part.start : part.end] = [final] * part.size
        return results

    async def _open_once(self, seconds: float) -> bool:
        endpoint = self._remote.endpoint
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._remote.open(seconds)
        except (OffloadError, ModelLoadError):
            raise
        except Exception as error:  # whatever its library raises
            raise _foreign(error, endpoint, seconds, limit) from error

    async def _ask(
        self,
        inputs: Sequence[JsonValue],
        seconds: float,
        ends_at: float,
        trace: Trace,
        *,
        is_whole: bool,
    ) -> Sequence[JsonValue | ScoreError]:
        """Send a request until it is answered, its fault stays, or its attempts or its time are used up.

        Args:
            inputs: some of a batch's records.
            seconds: how long a request may take.
            ends_at: when the time of all of them is over.
            trace: goes with it.
            is_whole: whether these are all of the batch.
        """
        attempt = 0
        harm: OffloadError | None = None  # whatever comes later, the record did it
        while True:
            now = self._clock()
            if now >= ends_at:
                text = f"{self._remote.endpoint}: no time left to ask it"
                raise harm or OffloadError(text, Fault.PASSING)
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
                    return await self._send(inputs, seconds, ends_at, trace, probe)
                except OffloadError as fault:
                    error = fault
                    harm = error if error.fault is Fault.HARMFUL else harm
            match error.fault:
                case Fault.PASSING:
                    attempts = self._attempts
                case Fault.UNCLEAR if is_whole:  # it may have failed for a moment
                    attempts = min(self._attempts, 2)
                case Fault.HARMFUL if len(inputs) == 1 and self._clock() - now < seconds / 2:
                    # The process may have ended of something else. What hung would take as long again.
                    attempts = min(self._attempts, 2)
                case _:
                    attempts = 1
            if attempt >= attempts or not self._remote.is_repeatable:
                raise harm or error
            wait = wait_seconds(attempt, error, self._random)
            if self._clock() + wait >= ends_at:
                raise harm or error
            await asyncio.sleep(wait)

    async def _send(
        self, inputs: Sequence[JsonValue], seconds: float, ends_at: float, trace: Trace, probe: int
    ) -> Sequence[JsonValue | ScoreError]:
        """Send a request once, and tell the breaker and the counters what became of it."""
        started = self._clock()
        left = ends_at - started
        self._counts.add_request(len(inputs))
        try:
            results = await self._bounded(inputs, min(seconds, left), left, trace)
        except OffloadError as error:
            self._counts.failures += 1
            now = self._clock()
            has_timed_out = error.fault in (Fault.PASSING, Fault.HARMFUL) and (
                now - started >= min(seconds, left) - _SOON_SECONDS
            )
            self._counts.timeouts += has_timed_out
            if error.fault is Fault.PASSING or (error.fault is Fault.UNCLEAR and probe):
                self._breaker.fail(now, str(error), probe, started, is_evidence=has_timed_out)
            elif error.fault is Fault.UNCLEAR:
                pass  # whose fault it is shows when others of its batch are asked
            elif error.is_answer:
                self._breaker.succeed()
            else:
                # It was not sent, nobody can read what came, or the record ended its process: nothing of
                # that says whether the endpoint is well.
                self._breaker.abandon(now, probe)
            raise
        except BaseException:
            self._breaker.abandon(self._clock(), probe)
            raise
        else:
            if all(isinstance(one, ScoreError) for one in results):  # it may not have been sent
                self._breaker.abandon(self._clock(), probe)
            else:
                self._breaker.succeed()
            return results
        finally:
            self._counts.add_latency(self._clock() - started)

    async def _bounded(
        self, inputs: Sequence[JsonValue], seconds: float, left: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Ask the remote, and hold it to what it promises.

        Args:
            inputs: records.
            seconds: how long it may take, but for a process that has to be started first.
            left: seconds in which it ends in any case.
            trace: goes with the request.
        """
        endpoint = self._remote.endpoint
        try:
            async with asyncio.timeout(left) as limit:
                results = list(await self._remote.score(inputs, seconds, trace))
        except OffloadError:
            raise
        except Exception as error:  # whatever its library raises
            raise _foreign(error, endpoint, left, limit) from error
        if len(results) != len(inputs):
            raise OffloadError(f"{endpoint} gave {len(results)} results for {len(inputs)} records")
        return results


def _foreign(error: Exception, endpoint: str, seconds: float, limit: asyncio.Timeout) -> OffloadError:
    """The error of a remote that took too long, or raised what it should not."""
    if isinstance(error, TimeoutError) and limit.expired():
        given_up = error.__cause__  # by a worker, where it has a cause of its own
        has_hung = given_up is not None and isinstance(given_up.__cause__, WorkerEndedError)
        fault = Fault.HARMFUL if has_hung else Fault.PASSING
        return OffloadError(f"{endpoint} did not answer within {seconds:.3g} s", fault)
    return OffloadError(f"{endpoint}: unexpected {type(error).__name__}: {error}")
