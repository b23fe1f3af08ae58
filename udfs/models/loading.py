"""When versions are loaded: beside the stream, or between two micro-batches."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from udfs.errors import ModelLoadError, ModelstreamError
from udfs.models.load_watch import LoadWatch
from udfs.models.loaded import close_scorer
from udfs.models.switch_interval import short_switch_interval
from udfs.models.updates import PublishModel
from udfs.models.version_loading import Load, LoadedVersion

_GRACE_SECONDS = 1.0
"""A load that keeps to its deadline itself says better why it ended."""


class Told(NamedTuple):
    """The word of a load: what it came to, or, as a text, why it goes on."""

    published: PublishModel
    result: LoadedVersion | ModelstreamError | str


class Loader(Protocol):
    """Loads versions one after the other. Used by one thread."""

    def begin(self, published: PublishModel, *, is_return: bool = False) -> None:
        """Load a version, after those before.

        Args:
            published: the version.
            is_return: whether it was served before.
        """

    def take_told(self) -> list[Told]:
        """What loads have told since the last call."""

    def wait(self, seconds: float) -> None:
        """Wait until there is something to take, so long at most."""

    def close(self) -> None:
        """Give up what is not loaded yet; nothing is told any more."""


class BlockingLoader:
    """Loads a version while its caller waits.

    Args:
        load: loads one version.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._told: list[Told] = []

    def begin(self, published: PublishModel, *, is_return: bool = False) -> None:
        """Load a version now."""
        watch = LoadWatch(lambda _: None, is_return=is_return)
        self._told.append(Told(published, _outcome(self._load, published, watch)))

    def take_told(self) -> list[Told]:
        """What loads came to since the last call."""
        told, self._told = self._told, []
        return told

    def wait(self, seconds: float) -> None:
        """Nothing is loaded meanwhile."""

    def close(self) -> None:
        """Nothing is being loaded."""


class BackgroundLoader:
    """Loads versions in threads of their own, one at a time, while its caller goes on.

    A load that does not end in time is given up: its thread blocks nobody, and what it may still load is
    closed.

    Args:
        load: loads one version.
        deadline: seconds that one load may take, the time aside in which it waits for others.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, load: Load, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._deadline = deadline
        self._clock = clock
        self._waiting: deque[tuple[PublishModel, bool]] = deque()
        self._changed = threading.Condition()
        # Of both threads, under the condition's lock.
        self._running: _Running | None = None
        self._told: list[Told] = []

    def begin(self, published: PublishModel, *, is_return: bool = False) -> None:
        """Load a version when those before are done."""
        self._waiting.append((published, is_return))
        self._start_next()

    def take_told(self) -> list[Told]:
        """What loads have told since the last call; also gives up what has taken too long."""
        with self._changed:
            running = self._running
            if running is not None and running.watch.is_late():
                self._running = None
                running.watch.give_up()
                late = ModelLoadError(
                    f"{running.published.model}: not loaded in {self._deadline:.3g} s; see loading.deadline"
                )
                self._told.append(Told(running.published, late))
            told, self._told = self._told, []
        self._start_next()
        return told

    def wait(self, seconds: float) -> None:
        """Wait until a load tells something, so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._told, seconds)

    def close(self) -> None:
        """Give up what runs and what waits."""
        self._waiting.clear()
        with self._changed:
            running, self._running = self._running, None
            told, self._told = self._told, []
        if running is not None:
            running.watch.close()
        for one in told:
            if isinstance(one.result, LoadedVersion):
                close_scorer(one.result.scorer)

    def _start_next(self) -> None:
        if not self._waiting:
            return
        with self._changed:
            if self._running is not None:
                return
            published, is_return = self._waiting.popleft()
            watch = LoadWatch(
                lambda text: self._say(running, text),
                self._deadline + _GRACE_SECONDS,
                self._clock,
                is_return=is_return,
            )
            running = self._running = _Running(published, watch)
        threading.Thread(
            target=self._run, args=(running,), name=f"load {published.model}", daemon=True
        ).start()

    def _say(self, running: "_Running", text: str) -> None:
        with self._changed:
            if self._running is running:
                self._told.append(Told(running.published, text))

    def _run(self, running: "_Running") -> None:
        with short_switch_interval:
            result = _outcome(self._load, running.published, running.watch)
        with self._changed:
            if self._running is running:
                self._running = None
                self._told.append(Told(running.published, result))
                self._changed.notify_all()
                return
        if isinstance(result, LoadedVersion):
            close_scorer(result.scorer)


class _Running(NamedTuple):
    published: PublishModel
    watch: LoadWatch


def _outcome(load: Load, published: PublishModel, watch: LoadWatch) -> LoadedVersion | ModelstreamError:
    try:
        return load(published, watch)
    except ModelstreamError as error:
        return error
    except Exception as error:  # noqa: BLE001  # the edge to a format's own code
        return ModelLoadError(f"{published.model}: {type(error).__name__}: {error}")
