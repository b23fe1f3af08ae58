"""A subtask one of whose models is offloaded, to a lane that answers when a test says so."""

import json
from collections.abc import Callable
from typing import Any, cast

import msgspec

from tests.subtasks import Bench, E
from tests.unit.test_subtask import publish
from udfs.batches import BatchKind, Envelope, OutcomeKind, decode_headers, decode_outcomes, encode_envelope
from udfs.errors import Fault, ModelstreamError, OffloadError
from udfs.json_values import JsonValue
from udfs.models.updates import RetiredModel, RetireModel
from udfs.models.version_loading import LoadedVersion
from udfs.offload.lane import Ask, Lane
from udfs.offload.lane_settings import LaneSettings
from udfs.offload.mailbox import Answer, Mailbox
from udfs.offload.offloaded_scorer import OffloadedScorer
from udfs.records import ModelId

__all__ = ["E", "LaneByHand", "OffloadingBench"]


class MailboxByHand(Mailbox):
    """Does what a test says when it is waited for."""

    when_waited: Callable[[], None] = staticmethod(lambda: None)

    def wait(self, seconds: float, count: int = 1) -> bool:
        self.when_waited()
        return super().wait(seconds, count)


class LaneByHand:
    """Stands in for a lane: it answers when a test says so."""

    def __init__(self, mailbox: Mailbox, settings: LaneSettings) -> None:
        self.settings = settings
        self.asks: list[Ask] = []
        self.is_ending = False
        self.refusal: OffloadError | None = None
        self.refused = 0
        self.answer_when_full: Callable[[], None] = lambda: None
        self._mailbox = mailbox

    def has_room(self, size: int, count: int = 1) -> bool:
        if len(self.asks) + count > self.settings.max_waiting:
            self.answer_when_full()
        return len(self.asks) + count <= self.settings.max_waiting

    def count_refused(self, records: int) -> None:
        self.refused += records

    def submit(self, asks: list[Ask]) -> None:
        assert not self.is_ending, "nothing is handed to a lane that ends"
        self.asks += asks

    def answer(self, *datas: int, result: JsonValue | ModelstreamError = "remote") -> None:
        """Answer the asks of some data; of all of them where none is named."""
        answered = [ask for ask in self.asks if not datas or ask.data in datas]
        self.asks = [ask for ask in self.asks if ask not in answered]
        self._mailbox.put([Answer(ask.ticket, result) for ask in answered])

    def close(self) -> None:
        self.is_ending = True


DEFAULT = LaneSettings()


class OffloadingBench(Bench):
    """A subtask whose model ``far`` is offloaded, and whose others are scored at once.

    Args:
        settings: of the lanes.
        before: an earlier attempt, whose state at its last batch this one goes on from.
    """

    def __init__(
        self, settings: LaneSettings = DEFAULT, before: "OffloadingBench | None" = None, **more: Any
    ) -> None:
        self.mailbox = MailboxByHand()
        self.lanes: dict[ModelId, LaneByHand] = {}
        self.lane_settings = settings
        self.answers_when_full = False
        """Whether lanes that are made from now on answer when they are full."""
        self.offloaded: set[ModelId] = set() if before is None else set(before.offloaded)
        super().__init__(before=before, mailbox=self.mailbox, wrap=self._wrap, **more)

    def offload(self, version: int = 1, *, execution: str = "offload", activate: bool = True) -> LaneByHand:
        """Have a version of ``far`` published and loaded."""
        model = ModelId("far", version)
        if execution == "offload":
            self.offloaded.add(model)
        self.update(msgspec.structs.replace(publish(version), model=model, activate=activate))
        self.loader.finish()
        self.events()
        return self.lanes[model] if execution == "offload" else LaneByHand(self.mailbox, self.lane_settings)

    def connect_later(self) -> None:
        """Have an offloaded version of ``far`` published, which is loaded later."""
        self.offloaded.add(ModelId("far", 1))
        self.update(msgspec.structs.replace(publish(1), model=ModelId("far", 1)))

    def answer(self) -> None:
        """Have all lanes answer what they were asked."""
        for lane in self.lanes.values():
            lane.answer()

    def retire_far(self, version: int) -> None:
        """Have a version of ``far`` retired."""
        self.update(RetireModel(RetiredModel("far", version)))

    def send_traced(self, number: int, **headers: str) -> None:
        """Send an event of ``far`` that has headers."""
        value = json.dumps({"id": number, "model": "far", "data": number}).encode()
        pairs = tuple((name, text.encode()) for name, text in headers.items())
        self.turn(BatchKind.EVENTS, [(value, encode_envelope(Envelope("e", 0, 1, 0, b"k", False, pairs)))])

    def outcomes(self, *events: E, kind: BatchKind | None = None) -> list[tuple[int, str]]:
        """The id of each event that came out, with the version that scored it or the error's text."""
        records = [
            (
                json.dumps({"id": one.number, "model": one.model, "data": one.number}).encode(),
                encode_envelope(Envelope("events", 0, one.number, one.time, one.key, False, ())),
            )
            for one in events
        ]
        turn = self.turn(kind or (BatchKind.EVENTS if events else BatchKind.HEARTBEAT), records)
        found = []
        for one in decode_outcomes(turn.outcomes) if turn.outcomes else ():
            value = json.loads(one.value)
            if one.kind is OutcomeKind.PREDICTION:
                said = f"{value['model']['name']}:{value['model']['version']}"
            else:
                headers = dict(decode_headers(one.details))
                said = f"{(headers['ms-stage'] or b'').decode()}: {(headers['ms-message'] or b'').decode()}"
            found.append((value["id"], said))
        return found

    def _wrap(self, model: ModelId, version: LoadedVersion) -> LoadedVersion:
        if model not in self.offloaded:
            return version
        lane = self.lanes[model] = LaneByHand(self.mailbox, self.lane_settings)
        if self.answers_when_full:
            lane.answer_when_full = lane.answer
        return version._replace(scorer=OffloadedScorer(cast(Lane, lane)))


def unreachable(text: str = "nobody answers") -> OffloadError:
    """What a lane answers for a server that is away."""
    return OffloadError(text, Fault.PASSING)
