"""An event loop whose time passes at once: where nothing else is to do, it is as late as the next timer."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class _Selector(selectors.BaseSelector):
    """Waits for what other threads and sockets do; instead of waiting for a timer it moves the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stands_still = False
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.stands_still and timeout:
            timeout = None
        ready = self._real.select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(0.0, timeout)
        return ready

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that is never late, and takes no time.

    Args:
        stands_still: whether time passes only by `advance`, which what other threads do wants.
    """

    def __init__(self, *, stands_still: bool = False) -> None:
        self._virtual = _Selector()
        self._virtual.stands_still = stands_still
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def advance(self, seconds: float) -> None:
        """Let time pass, between two steps of the loop."""
        self._virtual.now += seconds
