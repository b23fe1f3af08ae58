"""All that brings a published version to a scorer that may serve: fetch, trial, load, checks."""

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from udfs.errors import ArtifactUnavailableError, ModelCrashedError, ModelLoadError
from udfs.models.artifacts import ArtifactStore
from udfs.models.fetching import fetch_with_retries
from udfs.models.load_ledger import LoadLedger
from udfs.models.load_watch import LoadWatch
from udfs.models.loaded import LoadScorer, check_format, load_version
from udfs.models.trial import try_load
from udfs.models.trial_process import Trial
from udfs.models.updates import PublishModel
from udfs.one_core import on_one_core
from udfs.scorers import Scorer, library_version, load_prepared


class LoadingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a version is loaded."""

    trial_process: bool
    """Load it in a process of its own first."""
    deadline: float
    """Seconds for all of one load."""
    fetch_attempts: int
    """How often to fetch where fetching again can help."""
    max_memory: int
    """Most bytes of memory that the trial's process may use."""


class LoadedVersion(NamedTuple):
    """What a load came to."""

    scorer: Scorer
    load_ms: float
    memory_bytes: int
    """What it takes: as its trial found, else the artifact's size."""
    notes: tuple[str, ...]


Load = Callable[[PublishModel, LoadWatch], LoadedVersion]
"""``load(published, watch)``; raises ArtifactError or ModelLoadError."""


class VersionLoader:
    """Loads versions. Each load has a store of its own and may run in any thread.

    Args:
        make_store: makes what brings artifacts to local files. Each holds on to the file that it gave.
        load_scorer: loads a file with its format's scorer.
        ledger: what is known of earlier loads on this machine.
        formats: formats that may be served.
        settings: how.
        trial_loader: ``module:function`` of ``load_scorer``, for the trial's process.
        load_prepared: loads what a trial prepared.
    """

    def __init__(
        self,
        make_store: Callable[[], ArtifactStore],
        load_scorer: LoadScorer,
        ledger: LoadLedger,
        formats: Collection[str],
        settings: LoadingSettings,
        trial_loader: str = "udfs.scorers:load_scorer",
        load_prepared: LoadScorer = load_prepared,
    ) -> None:
        self._make_store = make_store
        self._load_scorer = load_scorer
        self._ledger = ledger
        self._formats = formats
        self._settings = settings
        self._trial_loader = trial_loader
        self._load_prepared = load_prepared

    def load(self, published: PublishModel, watch: LoadWatch) -> LoadedVersion:
        """Fetch a version, try it where it was not tried here before, load it, run its checks.

        Args:
            published: the version.
            watch: told why it takes longer; a load that it gives up fetches and tries no more.

        Raises:
            ArtifactError: the artifact can't be had.
            ModelLoadError: the version can't be loaded, a check differs, or it took too long.
        """
        started = time.monotonic()
        check_format(published, self._formats)
        identity = published.identity()
        self._ledger.check(identity)
        fetched, prepared = self._make_store(), self._make_store()
        with on_one_core():
            path = self._fetch(fetched, published, watch)
            memory_bytes, load = path.stat().st_size, self._load_scorer
            if self._settings.trial_process:
                remaining = self._settings.deadline - (time.monotonic() - started)
                trial, path = self._tried(published, path, prepared, remaining, watch)
                memory_bytes = trial.memory_bytes
                if trial.prepared is not None:
                    load = self._load_prepared
        _check_wanted(published, watch)
        with self._ledger.attempt(identity) as let_go, watch.holding(let_go):
            scorer = load_version(published, path, load, self._formats)
        load_ms = (time.monotonic() - started) * 1000
        return LoadedVersion(scorer, load_ms, memory_bytes, tuple(getattr(scorer, "notes", ())))

    def _fetch(self, store: ArtifactStore, published: PublishModel, watch: LoadWatch) -> Path:
        def on_retry(attempt: int, error: ArtifactUnavailableError, wait: float) -> None:
            _check_wanted(published, watch)
            watch.say(f"{error}; attempt {attempt} of {self._settings.fetch_attempts}, again in {wait:.0f} s")

        return fetch_with_retries(
            store.fetch,
            published.artifact,
            attempts=self._settings.fetch_attempts,
            deadline=self._settings.deadline,
            on_retry=on_retry,
        )

    def _tried(
        self,
        published: PublishModel,
        artifact: Path,
        prepared: ArtifactStore,
        deadline: float,
        watch: LoadWatch,
    ) -> tuple[Trial, Path]:
        """What a version's trial found, here now or earlier, and the file to load."""
        earlier = self._earlier(published, artifact, prepared)
        if earlier is not None:
            return earlier
        with ExitStack() as stack:
            with watch.waiting_for_others():
                stack.enter_context(self._ledger.turn(lambda: _check_wanted(published, watch)))
            # Another subtask may have tried it meanwhile, whatever came of it.
            self._ledger.check(published.identity())
            return self._earlier(published, artifact, prepared) or self._try(
                published, artifact, prepared, deadline, watch
            )

    def _earlier(
        self, published: PublishModel, artifact: Path, prepared: ArtifactStore
    ) -> tuple[Trial, Path] | None:
        trial = self._ledger.passed(published.identity(), library_version(published.format))
        if trial is None or trial.memory_bytes > self._settings.max_memory:
            return None
        path = artifact if trial.prepared is None else prepared.take(trial.prepared)
        return None if path is None else (trial, path)

    def _try(
        self,
        published: PublishModel,
        artifact: Path,
        prepared: ArtifactStore,
        deadline: float,
        watch: LoadWatch,
    ) -> tuple[Trial, Path]:
        with prepared.new_file() as file:
            try:
                trial = try_load(
                    published,
                    artifact,
                    formats=self._formats,
                    deadline=deadline,
                    max_memory=self._settings.max_memory,
                    prepared=Path(file.name),
                    is_cancelled=lambda: watch.is_given_up,
                    load_scorer=self._trial_loader,
                )
            except ModelCrashedError:
                self._ledger.record_death(published.identity())
                raise
            path = artifact if trial.prepared is None else prepared.keep(file, trial.prepared)
        self._ledger.record_trial(published.identity(), trial, library_version(published.format))
        return trial, path


def _check_wanted(published: PublishModel, watch: LoadWatch) -> None:
    if watch.is_given_up:
        raise ModelLoadError(f"{published.model}: its load was cancelled")
