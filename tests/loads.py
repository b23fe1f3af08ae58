"""Loads for tests: without files, processes and threads."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from udfs.engine import LoadedModel
from udfs.errors import Fault
from udfs.event_times import EventTimes
from udfs.models.fetching import Fetch
from udfs.models.load_watch import LoadWatch
from udfs.models.loaded import LoadScorer, check_format, load_version
from udfs.models.loading import BlockingLoader, Loader, Told
from udfs.models.pool import LoadedModels, PoolBounds
from udfs.models.serving import Serving
from udfs.models.updates import PublishModel
from udfs.models.version_loading import Load, LoadedVersion


class Clock:
    """Seconds that pass when a test says so."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def fetch_by_name(artifact: object) -> Path:
    """A path that names an artifact by its sha256, where nothing is."""
    return Path(getattr(artifact, "sha256"))  # noqa: B009  # any artifact


def plain_load(load_scorer: LoadScorer, formats: tuple[str, ...], fetch: Fetch = fetch_by_name) -> Load:
    """A load without retries, trial and ledger."""

    def load(published: PublishModel, watch: LoadWatch) -> LoadedVersion:
        check_format(published, formats)
        assert published.artifact is not None
        scorer = load_version(published, fetch(published.artifact), load_scorer, formats)
        return LoadedVersion(scorer, 1.0, 10, tuple(getattr(scorer, "notes", ())))

    return load


class LoaderByHand:
    """Loads when a test says so, or when it is waited for."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.finish_when_waited_for = False
        self._inner = BlockingLoader(load)
        self._begun: list[tuple[PublishModel, Collection[Fault]]] = []

    def begin(self, published: PublishModel, *, late_after: Collection[Fault] = ()) -> None:
        self._begun.append((published, late_after))

    def finish(self, count: int | None = None) -> None:
        """Load all that was begun, or so many at most."""
        count = len(self._begun) if count is None else count
        begun, self._begun = self._begun[:count], self._begun[count:]
        for published, late_after in begun:
            self._inner.begin(published, late_after=late_after)

    def take_told(self) -> list[Told]:
        return self._inner.take_told()

    def wait(self, seconds: float) -> None:
        assert self.finish_when_waited_for, "nothing is to be waited for"
        self.finish()

    def close(self) -> None: ...


def make_serving(
    load: Load, max_loaded: int = 10, max_catalog_bytes: int = 10_000, loader: Loader | None = None
) -> Serving:
    """What serves with versions that are loaded at once, unless a loader is given."""
    pool = LoadedModels(PoolBounds(max_loaded, 2**40, idle=60.0), lambda: 0.0)
    return Serving(loader or BlockingLoader(load), pool, max_catalog_bytes=max_catalog_bytes)


class PlainModels:
    """Models that score events of all times, for the engine alone."""

    def __init__(self, serve: Callable[[str], LoadedModel]) -> None:
        self._serve = serve

    def serve(self, reference: str, at: int) -> LoadedModel:
        return self._serve(reference)

    def boundaries(self, reference: str) -> tuple[int, ...]:
        return ()

    def note(self, reference: str, model: LoadedModel, at: NDArray[np.int64]) -> None: ...


def no_times(count: int) -> EventTimes:
    """Times of events that have none."""
    return EventTimes(np.full(count, -1, np.int64), {})
