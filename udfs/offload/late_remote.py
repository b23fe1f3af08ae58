"""A remote that may get ready later than its version: when its server can be reached."""

import asyncio
from collections.abc import Sequence

from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.remotes.base import Remote, Trace


class LateRemote:
    """Opens a remote before its first request, where that was not possible earlier.

    A version that was served before a restart goes on after it whether or not its server is there: like
    one whose server goes away while it is served.

    Args:
        remote: what is asked.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._is_open = False
        self._opening: asyncio.Lock | None = None

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
        return self._remote.max_batch if self._is_open else 1

    async def open(self, seconds: float) -> None:
        """Get ready to score."""
        await self._remote.open(seconds)
        self._is_open = True

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Score records with one request, after getting ready where that is still to be done."""
        if not self._is_open:
            await self._open_now(seconds)
        return await self._remote.score(inputs, seconds, trace)

    async def close(self) -> None:
        """Free what it holds."""
        await self._remote.close()

    async def _open_now(self, seconds: float) -> None:
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if self._is_open:
                return
            try:
                await self.open(seconds)
            except ModelLoadError as error:
                raise OffloadError(str(error), Fault.LASTING) from error
