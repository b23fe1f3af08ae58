"""A subtask for tests, whose loads end, and fail, when a test says so."""

import json
from collections.abc import Callable, Sequence, Set
from typing import NamedTuple

import msgspec

from tests.loads import Clock, LoaderByHand, plain_load
from tests.unit.test_subtask import envelope, load_doubling, publish
from udfs.batches import (
    BatchKind,
    Envelope,
    OutcomeKind,
    decode_events,
    decode_outcomes,
    encode_envelope,
    encode_events,
)
from udfs.errors import ModelLoadError
from udfs.held import HeldEvents
from udfs.missing import MissingPolicies
from udfs.models.catalog import Catalog
from udfs.models.known import KnownCatalog, fold
from udfs.models.load_watch import LoadWatch
from udfs.models.loading import BlockingLoader
from udfs.models.pool import LoadedModels, PoolBounds
from udfs.models.serving import Serving
from udfs.models.updates import (
    ActivateModel,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
    encode_update,
)
from udfs.models.version_loading import Load, LoadedVersion
from udfs.offload.mailbox import Mailbox
from udfs.outputs import OutputLimits
from udfs.records import ModelId, ModelStatus
from udfs.reports import Place
from udfs.subtask import ScoringSubtask, State, Turn


class E(NamedTuple):
    """An event of a test."""

    number: int
    time: int = 0
    key: bytes | None = b"key"
    model: str = "m"


class Bench:
    """A subtask whose loads end, and fail, when a test says so.

    Args:
        max_events: most that it holds.
        missing: what becomes of events without a model.
        before: an earlier attempt, whose state at its last batch this one goes on from.
        blocking: whether versions are loaded while its caller waits.
        fails: versions that fail to load.
        mailbox: where the answers of lanes come in.
        wrap: what is made of a version that was loaded.
        load: loads versions, in place of one that gives them all a scorer that doubles.
    """

    def __init__(
        self,
        max_events: int = 10,
        missing: MissingPolicies | None = None,
        before: "Bench | None" = None,
        *,
        blocking: bool = False,
        fails: Set[ModelId] = frozenset(),
        mailbox: Mailbox | None = None,
        wrap: Callable[[ModelId, LoadedVersion], LoadedVersion] = lambda _, version: version,
        load: Load | None = None,
    ) -> None:
        self.clock, self.pool_clock = Clock(), Clock()
        self.fails: set[ModelId] = {*fails, *(before.fails if before else ())}
        load = load or plain_load(load_doubling, ("double",))

        def failing(published: PublishModel, watch: LoadWatch) -> LoadedVersion:
            if published.model in self.fails:
                raise ModelLoadError("on purpose")
            return wrap(published.model, load(published, watch))

        self.loader = LoaderByHand(failing)
        self.pool = LoadedModels(PoolBounds(10, 2**40, idle=60.0), self.pool_clock)
        self.serving = Serving(
            BlockingLoader(failing) if blocking else self.loader, self.pool, max_catalog_bytes=10_000
        )
        self.subtask = ScoringSubtask(
            Place("job"),
            self.serving,
            OutputLimits(10_000, 10_000),
            HeldEvents(30, max_events, 100_000),
            missing or MissingPolicies(),
            None,
            self.clock,
            max_batch=(100, 10_000),
            mailbox=mailbox,
            report_interval=0.0,
        )
        self.topic: list[ModelUpdate] = [] if before is None else list(before.topic)
        self.statuses: list[ModelStatus] = []
        self.state = State([], [], [])
        restored = Catalog() if before is None else before.subtask.catalog
        self.subtask.start(restored, known(self.topic))
        if before is not None:
            self.subtask.adopt(*before.state)

    def update(self, update: ModelUpdate) -> None:
        """Have the subtask follow an update."""
        self.statuses += self.subtask.on_update(*self.record(update)).statuses

    def record(self, update: ModelUpdate) -> tuple[bytes, bytes]:
        """An update as the next record of the control topic."""
        self.topic.append(update)
        return envelope(len(self.topic) - 1), encode_update(update)

    def publish(
        self,
        version: int,
        since: int | None = None,
        name: str = "m",
        *,
        fails: bool = False,
        activate: bool = True,
    ) -> None:
        """Have a version published, which is loaded later, or fails to."""
        model = ModelId(name, version)
        (self.fails.add if fails else self.fails.discard)(model)
        self.update(
            msgspec.structs.replace(publish(version), model=model, effective_from=since, activate=activate)
        )

    def loaded(self, version: int, since: int | None = None, name: str = "m", *, fails: bool = False) -> None:
        """Have a version published and loaded, or not."""
        self.publish(version, since, name, fails=fails)
        self.loader.finish()
        self.events()

    def activate(self, version: int, since: int | None = None) -> None:
        """Have a version activated."""
        self.update(ActivateModel(ModelId("m", version), effective_from=since))

    def retire(self, version: int, since: int | None = None) -> None:
        """Have a version retired."""
        self.update(RetireModel(RetiredModel("m", version), effective_from=since))

    def events(self, *events: E) -> list[int | tuple[int, int]]:
        """The id and version of each prediction, or the id of a dead letter alone."""
        records = [
            (
                json.dumps({"id": one.number, "model": one.model, "data": 1}).encode(),
                encode_envelope(Envelope("events", 0, one.number, one.time, one.key, False, ())),
            )
            for one in events
        ]
        return self.batch(BatchKind.EVENTS if events else BatchKind.HEARTBEAT, records)

    def end(self) -> list[int | tuple[int, int]]:
        """What comes out when the input ends."""
        self.loader.finish_when_waited_for = True
        return self.batch(BatchKind.END_OF_INPUT, [])

    def batch(self, kind: BatchKind, records: list[tuple[bytes, bytes]]) -> list[int | tuple[int, int]]:
        """What comes out of a batch before a checkpoint."""
        turn = self.turn(kind, records)
        ended: list[int | tuple[int, int]] = []
        for one in decode_outcomes(turn.outcomes) if turn.outcomes else ():
            value = json.loads(one.value)
            if "id" not in value:
                continue  # an update's dead letter
            is_prediction = one.kind is OutcomeKind.PREDICTION
            ended.append((value["id"], value["model"]["version"]) if is_prediction else value["id"])
        return ended

    def turn(self, kind: BatchKind, records: list[tuple[bytes, bytes]]) -> Turn:
        """What a batch before a checkpoint comes to."""
        turn = self.subtask.on_batch(encode_events(kind, 0, records, barrier_follows=True))
        self.statuses += turn.statuses
        assert turn.state is not None
        self.state = turn.state
        return turn

    def late(self) -> list[tuple[str, int | None, int | None]]:
        """Version, time and number of what was late since the last call."""
        said = [
            (str(one.model), one.effective_from, one.late_events)
            for one in self.statuses
            if one.status == "late"
        ]
        self.statuses = []
        return said


def known(topic: Sequence[ModelUpdate]) -> KnownCatalog:
    """What updates come to that a start reads from the control topic."""
    records = [(encode_update(update), envelope(offset)) for offset, update in enumerate(topic)]
    return fold(decode_events(encode_events(BatchKind.EVENTS, 0, records)), len(topic), 10_000)
