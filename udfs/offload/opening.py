"""From a published version to one that is scored beside the stream, and all that those of a subtask share."""

import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from udfs import remotes
from udfs.errors import Fault, ModelLoadError, ModelstreamError, OffloadError
from udfs.models.places import AllowedPlaces
from udfs.models.updates import PublishModel
from udfs.offload.breaker import Breakers
from udfs.offload.counts import Counts
from udfs.offload.lane import Lane
from udfs.offload.lane_settings import LaneSettings, split_options
from udfs.offload.late_remote import LateRemote
from udfs.offload.loop_thread import LoopThread
from udfs.offload.mailbox import Mailbox
from udfs.offload.offloaded_scorer import OffloadedScorer
from udfs.offload.worker_pool import WorkerPool
from udfs.remotes import Surroundings
from udfs.remotes.credentials import Credentials

WORKERS_DEADLINE = 60.0
"""Seconds; the default for worker processes, which may have to start again over and over until a record that
ends them is found."""


class OffloadSettings(msgspec.Struct, frozen=True):
    """What the configuration says of versions that are scored beside the stream."""

    credentials: dict[str, Credentials] = {}
    """By the names that a version's option ``credentials`` may have."""
    max_memory: int = 4 * 1024**3
    """Most bytes of resident memory of one worker process."""


class Offloading:
    """Makes the scorers of offloaded versions. Used by any thread.

    Args:
        settings: what the configuration says.
        places: endpoints that may be asked, with those that artifacts may come from.
        formats: formats that may be served.
    """

    def __init__(self, settings: OffloadSettings, places: AllowedPlaces, formats: Collection[str]) -> None:
        self.mailbox = Mailbox()
        """Where the answers of all lanes come in."""
        self._surroundings = Surroundings(places, settings.credentials)
        self._max_memory = settings.max_memory
        self._formats = formats
        self._loop = LoopThread("offload")
        self._lock = threading.Lock()
        self._breakers = Breakers()
        self._counts: dict[str, Counts] = {}

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What was counted of each model, by its name."""
        return dict(self._counts)

    def connect(
        self, published: PublishModel, seconds: float, *, late_after: Collection[Fault] = ()
    ) -> OffloadedScorer:
        """A scorer that asks a server; see `udfs.models.version_loading.Offload`."""
        settings, options = split_options(published.options)
        if "workers" in published.options:
            raise ModelLoadError(
                f"option workers: a server scores {published.model}, no process of the job's"
            )
        remote = remotes.connect(published.format, options, self._surroundings)
        late = LateRemote(remote, published.checks, settings.max_batch, seconds)
        lane = self._lane(published, late, settings)
        ends_at = time.monotonic() + seconds
        try:
            lane.open(min(seconds, settings.deadline) if late_after else seconds)
            lane.open(max(0.0, ends_at - time.monotonic()))  # the checks
        except OffloadError as error:
            if error.fault in late_after:
                note = f"could not be reached when it was loaded: {error}"
                return OffloadedScorer(lane, (note,), late=late)
            lane.close()
            raise
        except ModelstreamError:
            lane.close()
            raise
        return OffloadedScorer(lane)

    def start_workers(
        self, published: PublishModel, artifact: Path, seconds: float, *, is_prepared: bool, held: object
    ) -> OffloadedScorer:
        """A scorer that asks processes; see `udfs.models.version_loading.Offload`."""
        settings, options = split_options(published.options, WORKERS_DEADLINE)
        workers = WorkerPool(
            published,
            artifact,
            options,
            workers=settings.workers,
            max_memory=self._max_memory,
            prepared=artifact if is_prepared else None,
            formats=self._formats,
        )
        # One batch a worker: what waits for a worker waits in the lane, and grows to larger batches there.
        settings = msgspec.structs.replace(settings, in_flight=settings.workers)
        lane = self._lane(published, LateRemote(workers), settings)
        try:
            lane.open(seconds)
        except ModelstreamError:
            lane.close()
            raise
        return OffloadedScorer(lane, workers.notes, held)

    def close(self, timeout: float) -> None:
        """End the lanes that are closed, and give up what is in flight."""
        self._loop.close(timeout)

    def _lane(self, published: PublishModel, remote: LateRemote, settings: LaneSettings) -> Lane:
        with self._lock:
            breaker = self._breakers.of(remote.endpoint)
            counts = self._counts.setdefault(published.model.name, Counts())
        return Lane(remote, settings, breaker, self._loop, self.mailbox, counts)
