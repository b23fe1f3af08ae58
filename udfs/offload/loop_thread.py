"""One asyncio event loop in a thread beside the stream."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")
_MOST_THREADS = 32
"""For what blocks: lookups of names, which may take a resolver half a minute each, and ends of processes.
asyncio's own bound grows with the cores, and would be 6 on two: few slow lookups would hold up all others."""


class LoopClosedError(RuntimeError):
    """The loop takes nothing any more, or ended before what it was asked to run."""


class LoopThread:
    """An event loop in a daemon thread that Python itself starts, when it is first needed.

    Args:
        name: the thread's name.
        make_loop: makes the event loop.
    """

    def __init__(
        self,
        name: str = "offload",
        make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self._name = name
        self._make_loop = make_loop
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = asyncio.Event()
        self._is_closing = False
        self._closing_seconds = 0.0
        self._last: set[asyncio.Task[None]] = set()

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._is_closing

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop. From any thread; what was accepted is called, whatever happens.

        Raises:
            LoopClosedError: `close` was called.
        """
        with self._lock:
            if self._is_closing:
                raise LoopClosedError(f"the loop {self._name!r} is closed")
            self._started().call_soon_threadsafe(function, *arguments)

    def start(self, coroutine: Coroutine[object, object, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine on the loop. From any thread; it is cancelled when the loop is closed.

        Raises:
            LoopClosedError: `close` was called.
        """
        with self._lock:
            if self._is_closing:
                coroutine.close()
                raise LoopClosedError(f"the loop {self._name!r} is closed")
            return asyncio.run_coroutine_threadsafe(coroutine, self._started())

    def run(self, coroutine: Coroutine[object, object, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it. From any thread but the loop's.

        Args:
            coroutine: its result or its exception is the caller's.
            timeout: seconds; then it is cancelled.

        Raises:
            LoopClosedError: `close` was called, before or meanwhile.
            TimeoutError: it took longer.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(f"the loop {self._name!r} can't wait for itself")
        future = self.start(coroutine)
        try:
            return future.result(timeout)
        except concurrent.futures.CancelledError:
            if self._is_closing:
                raise LoopClosedError(f"the loop {self._name!r} was closed meanwhile") from None
            raise
        except BaseException:
            future.cancel()  # nobody waits for it any more; nothing happens where it has ended
            raise

    def finish(self, coroutine: Coroutine[object, object, None]) -> None:
        """Start a coroutine that `close` does not cancel but waits for. From the loop's thread."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._last.add(task)
        task.add_done_callback(self._last.discard)

    def close(self, timeout: float) -> None:
        """Cancel what runs, wait for what must come to its end, and end the thread.

        Args:
            timeout: seconds to wait for that; what takes longer goes on in a daemon thread.
        """
        with self._lock:
            is_first, self._is_closing = not self._is_closing, True
            if is_first and self._loop is not None:
                self._closing_seconds = timeout
                self._loop.call_soon_threadsafe(self._closing.set)
        if self._thread is not None:
            self._thread.join(timeout)

    def _started(self) -> asyncio.AbstractEventLoop:
        """The loop; the caller has the lock."""
        if self._loop is None:
            loop = self._loop = self._make_loop()
            self._thread = threading.Thread(target=self._work, args=(loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.set_default_executor(
            concurrent.futures.ThreadPoolExecutor(_MOST_THREADS, f"{self._name}-blocking")
        )
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        await self._closing.wait()
        # A task that is cancelled before its first step never gets to its `finally`: let all begin.
        await asyncio.sleep(0)
        running = asyncio.all_tasks() - self._last - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=self._closing_seconds)
        if self._last:
            await asyncio.wait(self._last, timeout=self._closing_seconds)
