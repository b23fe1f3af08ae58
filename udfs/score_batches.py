"""The Flink function that scores micro-batches: unpacks, asks the subtask, emits. Nothing else."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from pyflink.common import Row, Types
from pyflink.datastream import OutputTag, RuntimeContext
from pyflink.datastream.functions import KeyedBroadcastProcessFunction
from pyflink.datastream.state import ListStateDescriptor, MapStateDescriptor

from udfs import worker
from udfs.batches import BatchKind
from udfs.code_version import CODE_VERSION
from udfs.held import HeldEvents
from udfs.metrics import OffloadMetrics
from udfs.missing import MissingPolicies
from udfs.model_thread import ModelThread
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.catalog import Catalog, Model
from udfs.models.catalog_state import decode_model, encode_model
from udfs.models.known import KnownCatalog
from udfs.models.load_ledger import LoadLedger
from udfs.models.loading import BackgroundLoader, BlockingLoader, Loader
from udfs.models.places import AllowedPlaces
from udfs.models.pool import LoadedModels, PoolBounds
from udfs.models.serving import Serving
from udfs.models.signatures import Verifier
from udfs.models.version_loading import LoadingSettings, VersionLoader
from udfs.offload.counts import GAUGES
from udfs.offload.opening import Offloading, OffloadSettings
from udfs.outputs import OutputLimits
from udfs.reports import Place
from udfs.scorers import FORMATS, load_scorer, warm_up_imports
from udfs.subtask import ScoringSubtask, Turn
from udfs.temporary_folders import remove_left_folders

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
OUTCOMES = Types.ROW([BYTES])
"""The function's output: an outcome batch, see `udfs.batches`."""
STATUSES = OutputTag("model-statuses", Types.ROW([BYTES, BYTES]))
"""The side output of model statuses: key and value of a record each."""
# Embedded, PyFlink keeps bytes in state as arrays of objects, which fail the checkpoint: text it is.
CATALOG = MapStateDescriptor("catalog", Types.STRING(), Types.STRING())
"""The broadcast state: a model's name -> its JSON; the empty name -> the catalog's offset."""
_KEYED_STATE = tuple(
    ListStateDescriptor(name, Types.STRING())
    for name in ("held-events", "highest-event-times", "served-versions")
)
"""Lists of texts, in the order of `udfs.subtask.State`."""
_OFFSET = ""
_CLOSE_SECONDS = 30.0


class ServingSettings(msgspec.Struct, frozen=True):
    """All that a subtask has to know of the configuration. Times in seconds."""

    job: str
    limits: OutputLimits
    formats: tuple[str, ...]
    default_model: str | None
    loads_beside: bool
    """Whether versions are loaded while events are scored; else events wait."""
    loading: LoadingSettings
    loaded: PoolBounds
    max_catalog_bytes: int
    max_periods: int
    """Most periods of a model's timeline."""
    max_batch: tuple[int, int]
    """Most events and bytes that are scored in one call."""
    hold: tuple[float, int, int]
    """Seconds, events and bytes that events may wait for a model."""
    missing: MissingPolicies
    verifier: Verifier
    time_field: str | None
    """The field of events' values that says their time; None: their records' timestamps."""
    report_interval: float
    artifacts: ArtifactSettings
    offload: OffloadSettings = OffloadSettings()


class ScoreBatches(KeyedBroadcastProcessFunction):  # type: ignore[misc]  # PyFlink has no types
    """Scores micro-batches with the models that the control topic names.

    Input: rows of one blob, an event batch; broadcast input: rows of a control record's envelope and
    value. Output: rows of one blob, an outcome batch; and STATUSES.
    """

    def __init__(self, known: KnownCatalog, settings: ServingSettings) -> None:
        self._known = known
        self._settings = settings
        self._code_version = CODE_VERSION
        self._opened = False

    def open(self, runtime_context: RuntimeContext) -> None:
        """Start the thread that does all model work, and import the formats' libraries in it."""
        worker.check_code_version(self._code_version)
        worker.end_with_task_manager()
        self._keyed_state = [runtime_context.get_list_state(one) for one in _KEYED_STATE]
        self._saved: Mapping[str, Model | None] = {}
        self._thread = ModelThread("model-thread")
        place = _place(self._settings.job, runtime_context)
        self._offloading = Offloading(
            self._settings.offload,
            AllowedPlaces(self._settings.artifacts.allow, self._settings.artifacts.allow_private_addresses),
            self._settings.formats,
        )
        self._metrics = OffloadMetrics(runtime_context.get_metrics_group(), GAUGES, time.monotonic)
        self._subtask = self._thread.run(_make_subtask, self._settings, place, self._offloading)
        self._opened = True
        self._started = False
        self._adopted = False

    def process_element(self, row: Row, context: Any) -> Iterable[object]:
        """Score a batch."""
        if not self._started:
            self._start(context)
        blob = row[0]
        if blob[1] == BatchKind.ROLL_CALL:
            # The batch of this subtask's own shard before the next checkpoint writes it again.
            self._adopt()
            return ()
        if not self._adopted:
            self._adopt()
            self._adopted = True
        self._metrics.update(self._offloading.counts)
        return self._emit(self._thread.run(self._subtask.on_batch, blob))

    def process_broadcast_element(self, row: Row, context: Any) -> Iterable[object]:
        """Follow a control record, and keep the catalog in broadcast state."""
        if not self._started:
            self._start(context)
        turn = self._thread.run(self._subtask.on_update, row[0], row[1])
        self._save(context.get_broadcast_state(CATALOG))
        return self._emit(turn)

    def close(self) -> None:
        """Close the models and end the thread."""
        if self._opened:
            self._thread.close(self._subtask.close, _CLOSE_SECONDS)
            self._offloading.close(_CLOSE_SECONDS)

    def _start(self, context: Any) -> None:
        state: dict[str, str] = dict(context.get_broadcast_state(CATALOG).items())
        offset = int(state.pop(_OFFSET, "-1"))
        restored = Catalog({name: decode_model(model.encode()) for name, model in state.items()}, offset)
        # What this attempt serves may be other than what an earlier one wrote.
        self._saved = dict.fromkeys(restored.models)
        self._thread.run(self._subtask.start, restored, self._known)
        self._started = True

    def _save(self, state: Any) -> None:
        """Make the broadcast state the catalog, of which it has what was saved."""
        catalog = self._subtask.catalog
        for name in self._saved.keys() - catalog.models.keys():
            state.remove(name)
        for name, model in catalog.models.items():
            if self._saved.get(name) is not model:
                state.put(name, encode_model(model).decode())
        state.put(_OFFSET, str(catalog.offset))
        self._saved = catalog.models

    def _adopt(self) -> None:
        """Go on from the keyed state, which the batch before the next checkpoint writes anew."""
        state = [list(one.get() or ()) for one in self._keyed_state]
        if any(state):
            self._thread.run(self._subtask.adopt, *state)
            for one in self._keyed_state:
                one.clear()

    def _emit(self, turn: Turn) -> Sequence[object]:
        if turn.state is not None:
            for one, texts in zip(self._keyed_state, turn.state, strict=True):
                one.update(texts)
        records: list[object] = [
            (STATUSES, Row(status.key(), msgspec.json.encode(status))) for status in turn.statuses
        ]
        if turn.outcomes is not None:
            records.append(Row(turn.outcomes))
        return records


def _place(job: str, context: RuntimeContext) -> Place:
    java_context = getattr(context, "_runtime_context", None)
    if java_context is None:
        return Place(
            job,
            context.get_index_of_this_subtask(),
            context.get_number_of_parallel_subtasks(),
            context.get_attempt_number(),
        )
    # Embedded, PyFlink 2.3 asks Flink for methods that Flink 2 has moved to TaskInfo.
    task = java_context.getTaskInfo()
    return Place(
        job, task.getIndexOfThisSubtask(), task.getNumberOfParallelSubtasks(), task.getAttemptNumber()
    )


def _make_subtask(settings: ServingSettings, place: Place, offloading: Offloading) -> ScoringSubtask:
    warm_up_imports([name for name in settings.formats if name in FORMATS])
    worker.settle_memory()
    remove_left_folders()  # an earlier attempt may have been killed
    serving = Serving(
        _make_loader(settings, offloading),
        LoadedModels(settings.loaded, time.monotonic),
        max_catalog_bytes=settings.max_catalog_bytes,
        max_periods=settings.max_periods,
    )
    return ScoringSubtask(
        place,
        serving,
        settings.limits,
        HeldEvents(*settings.hold),
        settings.missing,
        settings.default_model,
        time.monotonic,
        max_batch=settings.max_batch,
        mailbox=offloading.mailbox,
        verifier=settings.verifier,
        time_field=settings.time_field,
        report_interval=settings.report_interval,
    )


def _make_loader(settings: ServingSettings, offloading: Offloading) -> Loader:
    versions = VersionLoader(
        lambda: ArtifactStore(settings.artifacts),
        load_scorer,
        LoadLedger(ArtifactStore(settings.artifacts).folder),
        settings.formats,
        settings.loading,
        offload=offloading,
    )
    if settings.loads_beside:
        return BackgroundLoader(versions.load, settings.loading.deadline)
    return BlockingLoader(versions.load)
