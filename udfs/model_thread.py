"""One thread for all model work of a function.

Embedded in a TaskManager, PyFlink calls Python on a thread that Python's C interface does not know;
a native library that asks for the interpreter lock there waits for itself for ever. So models are
imported, loaded and used in a thread that Python itself started, in both execution modes.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Call(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()


class ModelThread:
    """Runs calls one after the other in a thread of its own, while the caller waits."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call[object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the thread; its result or its exception is the caller's."""
        call = _Call(lambda: function(*args, **kwargs))
        self._calls.put(call)  # type: ignore[arg-type]  # the queue holds calls of any result
        result, error = call.done.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # no error: there is a result

    def close(self, last: Callable[[], object], timeout: float) -> None:
        """End the thread after the calls before and one last call; waits up to ``timeout`` seconds.

        A call that does not end in time goes on, in a daemon thread that blocks nobody.
        """
        self._calls.put(_Call(last))
        self._calls.put(None)
        self._thread.join(timeout)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.done.put((call.function(), None))
            except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
                call.done.put((None, error))
