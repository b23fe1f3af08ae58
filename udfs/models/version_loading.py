"""All that brings a published version to a scorer that may serve: fetch, trial, load, checks."""

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from udfs.errors import ArtifactUnavailableError, Fault, ModelCrashedError, ModelLoadError
from udfs.models.artifacts import ArtifactStore
from udfs.models.fetching import fetch_with_retries
from udfs.models.load_ledger import LoadLedger
from udfs.models.load_watch import LoadWatch
from udfs.models.loaded import LoadScorer, accept, check_format, load_version
from udfs.models.trial import try_load
from udfs.models.trial_process import Trial
from udfs.models.updates import Artifact, PublishModel
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


_CONNECT_SECONDS = 20.0
"""Longest that a server may be away when a version of it is published."""

Load = Callable[[PublishModel, LoadWatch], LoadedVersion]
"""``load(published, watch)``; raises ArtifactError, ModelLoadError or OffloadError."""


class Offload(Protocol):
    """Makes scorers of versions that are scored beside the stream. Used by any thread."""

    def connect(
        self, published: PublishModel, seconds: float, *, late_after: Collection[Fault] = ()
    ) -> Scorer:
        """A scorer that asks a server, and has passed the version's checks.

        Args:
            published: the version, of a remote format.
            seconds: how long it may take.
            late_after: faults of the server after which the version connects, and its checks are run, before
                the first event that gets through. Where there are any, connecting takes no longer than a
                request may.

        Raises:
            ModelLoadError: its options are wrong, or a check differs.
            OffloadError: the server can't be reached, or refuses, and the fault is none of those.
        """

    def start_workers(
        self, published: PublishModel, artifact: Path, seconds: float, *, is_prepared: bool, held: object
    ) -> Scorer:
        """A scorer that asks processes which have a local model loaded.

        Args:
            published: the version.
            artifact: its file, local and verified, or what its trial prepared of that.
            seconds: how long it may take.
            is_prepared: which of the two.
            held: what keeps that file where it is, to be kept as long as the scorer.

        Raises:
            ModelLoadError: it can't be loaded.
        """


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
        offload: makes the scorers of versions that are scored beside the stream; None: there are none.
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
        offload: Offload | None = None,
    ) -> None:
        self._make_store = make_store
        self._load_scorer = load_scorer
        self._ledger = ledger
        self._formats = formats
        self._settings = settings
        self._offload = offload
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
            OffloadError: the server that is to score it can't be reached, or refuses.
        """
        started = time.monotonic()
        check_format(published, self._formats)
        if published.artifact is None:
            scorer = self._connect(published, watch)
            return _loaded(scorer, started, 0)
        identity = published.identity()
        self._ledger.check(identity)
        fetched, prepared = self._make_store(), self._make_store()
        with on_one_core():
            path = self._fetch(fetched, published.artifact, published, watch)
            memory_bytes, load, is_prepared = path.stat().st_size, self._load_scorer, False
            if self._settings.trial_process:
                remaining = self._settings.deadline - (time.monotonic() - started)
                trial, path = self._tried(published, path, prepared, remaining, watch)
                memory_bytes = trial.memory_bytes
                if trial.prepared is not None:
                    load, is_prepared = self._load_prepared, True
        _check_wanted(published, watch)
        if published.execution == "offload":
            remaining = self._settings.deadline - (time.monotonic() - started)
            scorer = self._start_workers(published, path, remaining, is_prepared, (fetched, prepared))
            return _loaded(scorer, started, memory_bytes)
        with self._ledger.attempt(identity) as let_go, watch.holding(let_go):
            scorer = load_version(published, path, load, self._formats)
        return _loaded(scorer, started, memory_bytes)

    def _connect(self, published: PublishModel, watch: LoadWatch) -> Scorer:
        offload = self._offload
        if offload is None:
            raise ModelLoadError(f"{published.model}: nothing is offloaded here")
        seconds = min(self._settings.deadline, _CONNECT_SECONDS)
        return offload.connect(published, seconds, late_after=watch.late_after)

    def _start_workers(
        self, published: PublishModel, path: Path, seconds: float, is_prepared: bool, held: object
    ) -> Scorer:
        offload = self._offload
        if offload is None:
            raise ModelLoadError(f"{published.model}: nothing is offloaded here")
        return accept(
            published,
            lambda: offload.start_workers(published, path, seconds, is_prepared=is_prepared, held=held),
            warm_up=False,  # each worker has done it
        )

    def _fetch(
        self, store: ArtifactStore, artifact: Artifact, published: PublishModel, watch: LoadWatch
    ) -> Path:
        def on_retry(attempt: int, error: ArtifactUnavailableError, wait: float) -> None:
            _check_wanted(published, watch)
            watch.say(f"{error}; attempt {attempt} of {self._settings.fetch_attempts}, again in {wait:.0f} s")

        return fetch_with_retries(
            store.fetch,
            artifact,
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


def _loaded(scorer: Scorer, started: float, memory_bytes: int) -> LoadedVersion:
    load_ms = (time.monotonic() - started) * 1000
    return LoadedVersion(scorer, load_ms, memory_bytes, tuple(getattr(scorer, "notes", ())))


def _check_wanted(published: PublishModel, watch: LoadWatch) -> None:
    if watch.is_given_up:
        raise ModelLoadError(f"{published.model}: its load was cancelled")
