"""When versions are loaded: beside the stream, or between two micro-batches."""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from udfs.errors import Fault, ModelLoadError, ModelstreamError
from udfs.models.load_watch import LoadWatch
from udfs.models.loaded import close_scorer
from udfs.models.switch_interval import short_switch_interval
from udfs.models.updates import PublishModel
from udfs.models.version_loading import Load, LoadedVersion

_GRACE_SECONDS = 1.0
"""A load that keeps to its deadline itself says better why it ended."""
_MOST_CONNECTING = 16
"""Models whose remote versions are connected at a time: each takes a thread."""


class Told(NamedTuple):
    """The word of a load: what it came to, or, as a text, why it goes on."""

    published: PublishModel
    result: LoadedVersion | ModelstreamError | str


class Loader(Protocol):
    """Loads versions. Used by one thread."""

    def begin(self, published: PublishModel, *, late_after: Collection[Fault] = ()) -> None:
        """Load a version, after those before that its load would hinder.

        Args:
            published: the version.
            late_after: faults of its server after which it connects later, instead of failing.
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

    def begin(self, published: PublishModel, *, late_after: Collection[Fault] = ()) -> None:
        """Load a version now."""
        watch = LoadWatch(lambda _: None, late_after=late_after)
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
    """Loads versions in threads of their own, while its caller goes on.

    Local versions are loaded one at a time, for each may take much memory. To connect a remote one takes
    nothing but time: those of a model are connected one at a time, beside all else, so that a server that is
    away delays no other model; 16 models at a time.

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
        self._waiting: dict[_Line, deque[tuple[PublishModel, Collection[Fault]]]] = {}
        self._changed = threading.Condition()
        # Of all threads, under the condition's lock.
        self._running: dict[_Line, _Running] = {}
        self._told: list[Told] = []

    def begin(self, published: PublishModel, *, late_after: Collection[Fault] = ()) -> None:
        """Load a version when those before it in its line are done."""
        self._waiting.setdefault(_line_of(published), deque()).append((published, late_after))
        self._start_next()

    def take_told(self) -> list[Told]:
        """What loads have told since the last call; also gives up what has taken too long."""
        with self._changed:
            for running in [one for one in self._running.values() if one.watch.is_late()]:
                del self._running[_line_of(running.published)]
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
            running, self._running = self._running, {}
            told, self._told = self._told, []
        for load in running.values():
            load.watch.close()
        for one in told:
            if isinstance(one.result, LoadedVersion):
                close_scorer(one.result.scorer)

    def _start_next(self) -> None:
        for line in [*self._waiting]:
            self._start_next_of(line)

    def _start_next_of(self, line: "_Line") -> None:
        with self._changed:
            if line in self._running or (line is not None and self._connecting() >= _MOST_CONNECTING):
                return
            published, late_after = self._waiting[line].popleft()
            if not self._waiting[line]:
                del self._waiting[line]
            watch = LoadWatch(
                lambda text: self._say(running, text),
                self._deadline + _GRACE_SECONDS,
                self._clock,
                late_after=late_after,
            )
            running = self._running[line] = _Running(published, watch)
        threading.Thread(
            target=self._run, args=(running,), name=f"load {published.model}", daemon=True
        ).start()

    def _connecting(self) -> int:
        return sum(line is not None for line in self._running)

    def _say(self, running: "_Running", text: str) -> None:
        with self._changed:
            if self._is_awaited(running):
                self._told.append(Told(running.published, text))

    def _run(self, running: "_Running") -> None:
        with short_switch_interval:
            result = _outcome(self._load, running.published, running.watch)
        with self._changed:
            if self._is_awaited(running):
                del self._running[_line_of(running.published)]
                self._told.append(Told(running.published, result))
                self._changed.notify_all()
                return
        if isinstance(result, LoadedVersion):
            close_scorer(result.scorer)

    def _is_awaited(self, running: "_Running") -> bool:
        return self._running.get(_line_of(running.published)) is running


class _Running(NamedTuple):
    published: PublishModel
    watch: LoadWatch


_Line = str | None
"""What is loaded one after the other: the remote versions of a model, by its name, or all local ones."""


def _line_of(published: PublishModel) -> _Line:
    return published.model.name if published.is_remote else None


def _outcome(load: Load, published: PublishModel, watch: LoadWatch) -> LoadedVersion | ModelstreamError:
    try:
        return load(published, watch)
    except ModelstreamError as error:
        return error
    except Exception as error:  # noqa: BLE001  # the edge to a format's own code
        return ModelLoadError(f"{published.model}: {type(error).__name__}: {error}")
