"""A remote that may get ready later than its version: when its server can be reached."""

import asyncio
from collections.abc import Sequence

from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.checks import compare_checks
from udfs.models.updates import Check
from udfs.remotes.base import Remote, Trace


class LateRemote:
    """Opens a remote, and runs its version's checks, before its first request at the latest.

    A version that was served before a restart goes on after it whether or not its server is there: like
    one whose server goes away while it is served.

    Args:
        remote: what is asked.
        checks: the version's.
        max_batch: most records of a request, where the remote allows more.
        opening_seconds: how long getting ready may take once events are there, however long a request may.
    """

    def __init__(
        self,
        remote: Remote,
        checks: Sequence[Check] = (),
        max_batch: int = 1,
        opening_seconds: float = 20.0,
    ) -> None:
        self._remote = remote
        self._checks = checks
        self._max_batch = max_batch
        self._opening_seconds = opening_seconds
        self._passed = 0
        """How many of the checks."""
        self._is_connected = False
        self._opening: asyncio.Task[Exception | None] | None = None
        """Begun by a request; others wait for it too."""
        self.is_open = False
        """Whether the remote is ready and its checks have passed. Read by any thread."""
        self.failure: ModelLoadError | None = None
        """Why it never serves, where its server was reached and showed that. Read by any thread."""

    @property
    def endpoint(self) -> str:
        """Whom it asks."""
        return self._remote.endpoint

    @property
    def is_repeatable(self) -> bool:
        """Whether sending a request again does no harm."""
        return self._remote.is_repeatable

    @property
    def max_batch(self) -> int | None:
        """Most records that a request can hold; one until that is known."""
        return self._remote.max_batch if self.is_open else 1

    async def open(self, seconds: float) -> bool:
        """Connect; called again, run the checks. What has succeeded is not done again.

        A fault that may pass is a lasting one where a check has met it and must not be sent again.

        Args:
            seconds: how long it may take.

        Returns:
            Whether the server was asked for anything now, and answered.

        Raises:
            OffloadError: the server can't be reached, or refuses; the checks that are left were not run.
            ModelLoadError: the options don't fit the model, or a check differs: it stays so.
        """
        try:
            return await self._take_step(seconds)
        except OffloadError as error:
            if self._is_connected and not self.is_repeatable:
                raise OffloadError(str(error), Fault.LASTING, is_answer=error.is_answer) from error
            raise

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Score records with one request, after getting ready where that is still to be done."""
        if not self.is_open:
            await self._wait_until_open()
        return await self._remote.score(inputs, seconds, trace)

    async def close(self) -> None:
        """Free what it holds."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._remote.close()

    async def _take_step(self, seconds: float) -> bool:
        """Connect, or run the checks; returns whether the server was asked and answered."""
        try:
            if self._is_connected:
                has_answered = await self._run_checks(seconds)
            else:
                has_answered = await self._remote.open(seconds)
                self._is_connected = True
        except ModelLoadError as error:
            self.failure = ModelLoadError(str(error))  # what was raised holds on to its frames
            raise
        self.is_open = self._passed == len(self._checks)
        return has_answered

    async def _run_checks(self, seconds: float) -> bool:
        """Run those that are left; returns whether there were any."""
        passed = self._passed
        most = min(self._max_batch, self._remote.max_batch or self._max_batch)
        while self._passed < len(self._checks):
            checks = self._checks[self._passed : self._passed + most]
            results = await self._remote.score([check.data for check in checks], seconds, ())
            if len(results) != len(checks):
                raise OffloadError(f"{self.endpoint} gave {len(results)} results for {len(checks)} checks")
            compare_checks(checks, results, first=self._passed + 1)
            self._passed += len(checks)
        return self._passed > passed

    async def _wait_until_open(self) -> None:
        """Wait for the one opening that goes on, also when requests that wait for it end before."""
        if self.failure is not None:
            raise OffloadError(str(self.failure), Fault.LASTING)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open_late())
        error = await asyncio.shield(self._opening)
        if isinstance(error, ModelLoadError):
            raise OffloadError(str(error), Fault.LASTING)
        if isinstance(error, OffloadError):
            # Where it does not pass, the records are not to blame for it: they were not sent.
            fault = Fault.PASSING if error.fault is Fault.PASSING else Fault.LASTING
            raise OffloadError(str(error), fault, error.retry_after, is_answer=error.is_answer)
        if error is not None:
            raise error

    async def _open_late(self) -> Exception | None:
        """Get ready; returns why it is not, for there may be nobody left to raise it to."""
        try:
            async with asyncio.timeout(self._opening_seconds) as limit:
                while not self.is_open:
                    await self._take_step(self._opening_seconds)
        except Exception as error:  # noqa: BLE001  # whatever its library raises
            if isinstance(error, TimeoutError) and limit.expired():
                text = f"{self.endpoint} was not ready within {self._opening_seconds:.3g} s"
                return OffloadError(text, Fault.PASSING)
            return error
        return None
