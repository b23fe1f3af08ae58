"""A worker that ends of a batch, while the time of that batch is over."""

import asyncio
import threading

from udfs.offload.worker import Worker
from udfs.offload.worker_ended import WorkerEndedError


class SlowToEnd(Worker):
    """Stands in for a worker that is gone already, and whose end takes as long as a test wants."""

    def __init__(self, may_end: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader()
        self._reader.feed_eof()
        self._cause = ""
        self._ending = None
        self._may_end = may_end

    async def ask(self, body: bytes, seconds: float) -> bytes:
        self._writer = _Writer()  # type: ignore[assignment]  # as much of one as is needed
        return await super().ask(body, seconds)

    def _leave(self) -> None:
        pass

    def _end_child(self) -> str:
        self._may_end.wait(60)
        return "SIGSEGV"


class _Writer:
    def write(self, _: bytes) -> None:
        pass

    async def drain(self) -> None:
        pass


def test_who_asked_knows_that_a_worker_ended_also_where_its_time_is_over_before_that() -> None:
    async def ask() -> BaseException | None:
        may_end = threading.Event()
        asyncio.get_running_loop().call_later(0.1, may_end.set)
        try:
            async with asyncio.timeout(0.02):
                await SlowToEnd(may_end).ask(b"batch", 60)
        except TimeoutError as error:
            return error.__cause__ and error.__cause__.__cause__
        return None

    assert isinstance(asyncio.run(ask()), WorkerEndedError)
