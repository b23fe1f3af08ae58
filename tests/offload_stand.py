"""A subtask with all that a job has to score beside the stream, without Flink and Kafka."""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.subtasks import known
from tests.unit.test_subtask import envelope
from tests.waiting import wait_until
from udfs.batches import (
    BatchKind,
    Envelope,
    OutcomeKind,
    decode_headers,
    decode_outcomes,
    encode_envelope,
    encode_events,
)
from udfs.held import HeldEvents
from udfs.json_values import JsonValue
from udfs.missing import MissingPolicies
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.catalog import Catalog
from udfs.models.load_ledger import LoadLedger
from udfs.models.loading import BackgroundLoader
from udfs.models.places import AllowedPlaces
from udfs.models.pool import LoadedModels, PoolBounds
from udfs.models.serving import Serving
from udfs.models.updates import ModelUpdate, PublishModel, encode_update
from udfs.models.version_loading import LoadingSettings, VersionLoader
from udfs.offload.opening import Offloading, OffloadSettings
from udfs.outputs import OutputLimits
from udfs.records import ModelId, ModelStatus, Phase
from udfs.reports import Place
from udfs.scorers import load_scorer
from udfs.subtask import ScoringSubtask, State, Turn

FORMATS = ("onnx", "open-inference")
KEYS = 5
"""How many keys events have that are sent without one."""
_SECONDS = 60.0
"""Of patience."""
_MEBIBYTE = 1 << 20


class Ended(NamedTuple):
    """What became of an event."""

    number: int
    model: str
    """The version that scored it, or that failed to."""
    outputs: JsonValue = None
    """None: it is a dead letter."""
    error: str = ""
    """The stage and the message of a dead letter."""


class _Checkpoint(NamedTuple):
    state: State
    catalog: Catalog
    sent: int
    """Batches that came before it."""
    ended: int
    """Events that had left before it."""


class OffloadStand:
    """A subtask whose versions are loaded beside it, and scored by whom they name.

    Args:
        folder: for its artifacts.
        places: endpoints that may be asked.
        data: what to score of an event, by the event's number.
        before: an earlier attempt that this one follows: from its last checkpoint, with the events that were
            sent since sent again. The earlier one is closed.
    """

    def __init__(
        self,
        folder: Path,
        places: Sequence[str],
        data: Callable[[int], JsonValue],
        before: "OffloadStand | None" = None,
    ) -> None:
        self.ended: list[Ended] = []
        """What became of events, in the order in which they left."""
        self.statuses: list[ModelStatus] = []
        self._settings = folder, places, data
        self._sent: list[bytes] = []
        self._numbers: set[int] = set()
        self._topic: list[ModelUpdate] = []
        self._checkpoint = _Checkpoint(State([], [], []), Catalog(), 0, 0)
        self._offloading = Offloading(OffloadSettings(), AllowedPlaces(places), FORMATS)
        self._subtask = self._make_subtask()
        if before is None:
            self._subtask.start(Catalog(), known([]))
        else:
            self._follow(before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End its lanes; a second time does nothing."""
        self._subtask.close()
        self._offloading.close(_SECONDS)

    def crash(self) -> "OffloadStand":
        """What comes after it as Flink starts a job again: nothing but its last checkpoint is left of it."""
        return OffloadStand(*self._settings, before=self)

    @property
    def in_flight(self) -> set[int]:
        """The events that were sent and have not left."""
        return self._numbers - {one.number for one in self.ended}

    def count(self, model: str, name: str) -> int:
        """What was counted of a model, see `udfs.offload.counts`; 0 before it is loaded."""
        counts = self._offloading.counts.get(model)
        return 0 if counts is None else dict(counts.items())[name]

    def publish(self, published: PublishModel, wanted: Phase = "active") -> ModelStatus:
        """Have a version published, and wait for what is to be said of it."""
        turn = self._subtask.on_update(envelope(len(self._topic)), encode_update(published))
        self._topic.append(published)
        self._take(turn)
        return self.said_of(published.model, wanted)

    def said_of(self, model: ModelId, wanted: Phase) -> ModelStatus:
        """Wait until something is said of a version, and give it."""

        def said() -> list[ModelStatus]:
            return [one for one in self.statuses if (one.model, one.status) == (model, wanted)]

        self.until(lambda: bool(said()), f"{model} {wanted}")
        return said()[-1]

    def send(self, numbers: Iterable[int], model: str = "far", key: bytes | None = None) -> None:
        """Send events as one batch."""
        self.send_to([(number, model) for number in numbers], key)

    def send_to(self, events: Sequence[tuple[int, str]], key: bytes | None = None) -> None:
        """Send events, each of some model, as one batch."""
        _, _, data = self._settings
        records = [
            (
                json.dumps({"id": number, "model": model, "data": data(number)}).encode(),
                encode_envelope(_envelope(number, key or b"key-%d" % (number % KEYS))),
            )
            for number, model in events
        ]
        self._numbers |= {number for number, _ in events}
        self._sent.append(encode_events(BatchKind.EVENTS, 0, records))
        self._take(self._subtask.on_batch(self._sent[-1]))

    def send_until(self, condition: Callable[[], bool]) -> int:
        """Send event after event until something is so; returns the number that the next one would have."""

        def holds() -> bool:
            self.send([max(self._numbers, default=-1) + 1])
            return condition()

        wait_until(holds, _SECONDS, "what events bring about")
        return max(self._numbers) + 1

    def beat(self) -> None:
        """Let it report, as the stream does where no events come."""
        self._take(self._subtask.on_batch(encode_events(BatchKind.HEARTBEAT, 0, [])))

    def checkpoint(self) -> None:
        """Have it write its state; what has left by then is committed."""
        turn = self._subtask.on_batch(encode_events(BatchKind.HEARTBEAT, 0, [], barrier_follows=True))
        self._take(turn)
        assert turn.state is not None
        self._checkpoint = _Checkpoint(turn.state, self._subtask.catalog, len(self._sent), len(self.ended))

    def until(self, condition: Callable[[], bool], what: str, deadline: float = _SECONDS) -> None:
        """Wait for something, seconds at most, while time passes for the subtask too."""

        def holds() -> bool:
            self.beat()
            return condition()

        wait_until(holds, deadline, what, pause=0.002)

    def outcomes(self, numbers: Collection[int], deadline: float = _SECONDS) -> list[Ended]:
        """Wait until events have left, see that each left once, and give what became of them."""
        self.until(lambda: self.in_flight.isdisjoint(numbers), "the outcomes", deadline)
        left = Counter(one.number for one in self.ended)
        assert {number: left[number] for number in numbers if left[number] != 1} == {}
        found = {one.number: one for one in self.ended}
        return [found[number] for number in numbers]

    def _follow(self, before: "OffloadStand") -> None:
        checkpoint = before._checkpoint
        before.close()
        self._topic, self._numbers = list(before._topic), set(before._numbers)
        self.ended = before.ended[: checkpoint.ended]
        self._subtask.start(checkpoint.catalog, known(self._topic))
        self._subtask.adopt(*checkpoint.state)
        for batch in before._sent[checkpoint.sent :]:
            self._sent.append(batch)
            self._take(self._subtask.on_batch(batch))

    def _take(self, turn: Turn) -> None:
        self.statuses += turn.statuses
        for one in decode_outcomes(turn.outcomes) if turn.outcomes else ():
            value = json.loads(one.value)
            if one.kind is OutcomeKind.PREDICTION:
                model = f"{value['model']['name']}:{value['model']['version']}"
                self.ended.append(Ended(value["id"], model, value["outputs"]))
                continue
            said = {name: (text or b"").decode() for name, text in decode_headers(one.details)}
            assert "id" in value, said  # an update that was refused
            error = f"{said['ms-stage']}: {said['ms-message']}"
            self.ended.append(Ended(value["id"], said.get("ms-model", ""), error=error))

    def _make_subtask(self) -> ScoringSubtask:
        folder, _, _ = self._settings
        artifacts = ArtifactSettings(folder=str(folder), max_bytes=100 * _MEBIBYTE)
        versions = VersionLoader(
            lambda: ArtifactStore(artifacts),
            load_scorer,
            LoadLedger(folder),
            FORMATS,
            LoadingSettings(trial_process=False, deadline=120, fetch_attempts=1, max_memory=4096 * _MEBIBYTE),
            offload=self._offloading,
        )
        serving = Serving(
            BackgroundLoader(versions.load, 120),
            LoadedModels(PoolBounds(10, 4096 * _MEBIBYTE, idle=600), time.monotonic),
            max_catalog_bytes=100 * _MEBIBYTE,
        )
        return ScoringSubtask(
            Place("job"),
            serving,
            OutputLimits(_MEBIBYTE, _MEBIBYTE),
            HeldEvents(600, 10_000, 100 * _MEBIBYTE),
            MissingPolicies(),
            None,
            time.monotonic,
            max_batch=(1000, _MEBIBYTE),
            mailbox=self._offloading.mailbox,
            report_interval=0.0,
        )


def _envelope(number: int, key: bytes) -> Envelope:
    return Envelope("events", 0, number, 0, key, False, ())
