"""What one subtask promises of events that wait, of updates, and of versions that fail to load."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest

from udfs.batches import (
    BatchKind,
    Envelope,
    Outcome,
    OutcomeKind,
    decode_events,
    decode_headers,
    decode_outcomes,
    encode_envelope,
    encode_events,
)
from udfs.errors import ModelLoadError
from udfs.held import HeldEvents
from udfs.json_values import JsonValue
from udfs.models.catalog import Catalog
from udfs.models.known import KnownCatalog, fold
from udfs.models.serving import Serving
from udfs.models.updates import (
    ActivateModel,
    Artifact,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
    encode_update,
)
from udfs.outputs import OutputLimits
from udfs.records import ModelId
from udfs.scorers import Options
from udfs.subtask import Place, ScoringSubtask, Turn

GOOD, BROKEN = b"good", b"broken"


class DoublingScorer:
    """Doubles numbers; stands in for a model."""

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        return [2 * value for value in inputs if isinstance(value, int)]

    def close(self) -> None: ...


def load_doubling(format_name: str, artifact: Path, options: Options) -> DoublingScorer:
    if artifact.name != hashlib.sha256(GOOD).hexdigest():
        raise ModelLoadError("broken on purpose")
    return DoublingScorer()


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def subtask(clock: Clock) -> ScoringSubtask:
    return make_subtask(clock)


LIMITS = OutputLimits(10_000, 10_000)


def make_subtask(
    clock: Clock, number: int = 0, limits: OutputLimits = LIMITS, known: KnownCatalog | None = None
) -> ScoringSubtask:
    serving = Serving(
        lambda artifact: Path(artifact.sha256),
        load_doubling,
        formats=("double",),
        max_loaded=10,
        max_catalog_bytes=1000,
    )
    held = HeldEvents(seconds=30, max_events=3, max_bytes=10_000)
    made = ScoringSubtask(Place("job", number), serving, limits, held, None, clock, max_batch=(2, 10_000))
    made.start(Catalog(), known or KnownCatalog())
    return made


def envelope(offset: int) -> bytes:
    return encode_envelope(Envelope("topic", 0, offset, 0, b"key", False, ()))


def score(
    subtask: ScoringSubtask, *data: int, model: str = "m", kind: BatchKind = BatchKind.EVENTS
) -> tuple[Turn, list[Outcome]]:
    values = [json.dumps({"id": number, "model": model, "data": number}).encode() for number in data]
    turn = subtask.on_batch(encode_events(kind, 0, [(value, envelope(0)) for value in values]))
    return turn, decode_outcomes(turn.outcomes) if turn.outcomes else []


def update(subtask: ScoringSubtask, offset: int, change: ModelUpdate) -> list[str]:
    """Follow an update; the messages of its dead letters."""
    turn = subtask.on_update(envelope(offset), encode_update(change))
    letters = decode_outcomes(turn.outcomes) if turn.outcomes else []
    return [dict(decode_headers(letter.details))["ms-message"].decode() for letter in letters]  # type: ignore[union-attr]


def publish(version: int, content: bytes = GOOD) -> PublishModel:
    sha256 = hashlib.sha256(content).hexdigest()
    return PublishModel(ModelId("m", version), "double", Artifact(sha256=sha256, inline=content))


def answers(outcomes: list[Outcome]) -> list[tuple[int, int, int]]:
    """Id, output and version of each prediction."""
    read = [json.loads(one.value) for one in outcomes if one.kind is OutcomeKind.PREDICTION]
    return [(one["id"], one["outputs"], one["model"]["version"]) for one in read]


def test_events_wait_for_their_model_and_leave_in_their_order(subtask: ScoringSubtask) -> None:
    turn, outcomes = score(subtask, 1, 2)
    assert outcomes == []
    assert len(turn.held or ()) == 2

    update(subtask, 0, publish(1))
    turn, outcomes = score(subtask, 3)

    assert answers(outcomes) == [(1, 2, 1), (2, 4, 1), (3, 6, 1)]
    assert turn.held == []


def test_what_is_held_goes_on_being_held_after_a_restart(subtask: ScoringSubtask, clock: Clock) -> None:
    turn, _ = score(subtask, 1, 2)
    restarted = make_subtask(clock)

    restarted.adopt(turn.held or ())
    update(restarted, 0, publish(1))

    assert answers(score(restarted, kind=BatchKind.HEARTBEAT)[1]) == [(1, 2, 1), (2, 4, 1)]


def test_what_is_held_is_written_with_a_batch_alone(subtask: ScoringSubtask, clock: Clock) -> None:
    # Keyed state has a key on that side alone: an update that comes first must not write it.
    held = score(subtask, 1)[0].held
    restarted = make_subtask(clock)
    restarted.adopt(held or ())

    assert restarted.on_update(envelope(0), encode_update(publish(1))).held is None
    assert score(restarted, kind=BatchKind.HEARTBEAT)[0].held == []


def test_a_held_event_that_has_become_too_old_for_its_topic_is_a_dead_letter(clock: Clock) -> None:
    subtask = make_subtask(clock, limits=OutputLimits(10_000, 10_000, None, behind_ms=1000))
    subtask.adopt(
        [json.dumps(["m", b64encode(b'{"model":"m","data":1}').decode(), b64encode(envelope(0)).decode()])]
    )

    update(subtask, 0, publish(1))
    _, outcomes = score(subtask, kind=BatchKind.HEARTBEAT)

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DEAD_LETTER]


def test_a_cause_as_long_as_a_model_is_cut_in_its_status(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(format_name: str, artifact: Path, options: Options) -> DoublingScorer:
        raise ModelLoadError("x" * 5_000_000)

    monkeypatch.setattr(__name__ + ".load_doubling", fail)

    turn = make_subtask(clock).on_update(envelope(0), encode_update(publish(1)))

    assert [len(status.cause or "") for status in turn.statuses] == [2000]


def test_an_event_whose_model_does_not_come_in_time_is_a_dead_letter(
    subtask: ScoringSubtask, clock: Clock
) -> None:
    score(subtask, 1)
    clock.seconds = 29.9
    assert score(subtask, kind=BatchKind.HEARTBEAT)[1] == []

    clock.seconds = 30.0
    (letter,) = score(subtask, kind=BatchKind.HEARTBEAT)[1]

    assert letter.kind is OutcomeKind.DEAD_LETTER
    assert ("ms-stage", b"resolve") in decode_headers(letter.details)


def test_beyond_the_bound_an_event_is_a_dead_letter_at_once(subtask: ScoringSubtask) -> None:
    turn, outcomes = score(subtask, 1, 2, 3, 4)

    assert len(turn.held or ()) == 3
    assert [json.loads(letter.value)["id"] for letter in outcomes] == [4]


def test_nothing_stays_held_at_the_end_of_the_input(subtask: ScoringSubtask) -> None:
    score(subtask, 1, 2)

    turn, outcomes = score(subtask, kind=BatchKind.END_OF_INPUT)

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DEAD_LETTER] * 2
    assert turn.held == []


def test_a_version_that_fails_to_load_leaves_the_running_one_serving(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))

    assert update(subtask, 1, publish(2, BROKEN)) == ["broken on purpose"]
    assert answers(score(subtask, 5)[1]) == [(5, 10, 1)]


def test_only_the_first_subtask_writes_the_dead_letter_of_an_update(clock: Clock) -> None:
    assert update(make_subtask(clock, number=1), 0, publish(1, BROKEN)) == []


def test_a_version_that_serves_because_a_newer_one_failed_is_not_retired(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))
    update(subtask, 1, publish(2, BROKEN))

    (message,) = update(subtask, 2, RetireModel(RetiredModel("m", 1)))

    assert "it is serving" in message


def test_an_active_version_is_not_retired_but_the_whole_model_is(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))
    assert "it is active" in update(subtask, 1, RetireModel(RetiredModel("m", 1)))[0]

    assert update(subtask, 2, RetireModel(RetiredModel("m"), all=True)) == []
    assert subtask.catalog.inline_bytes() == 0


def test_a_version_published_again_with_another_descriptor_is_refused(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))

    assert update(subtask, 1, publish(1)) == []
    assert "another descriptor" in update(subtask, 2, publish(1, BROKEN))[0]


def test_what_is_not_published_is_not_activated(subtask: ScoringSubtask) -> None:
    assert "it is not published" in update(subtask, 0, ActivateModel(ModelId("m", 7)))[0]


def test_an_update_with_an_event_time_is_refused(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))

    assert "effective_from" in update(subtask, 1, ActivateModel(ModelId("m", 1), effective_from=5))[0]


def test_an_update_that_was_folded_before_changes_nothing(subtask: ScoringSubtask) -> None:
    update(subtask, 5, publish(1))

    assert update(subtask, 5, publish(1, BROKEN)) == []


class Unclosable(DoublingScorer):
    def close(self) -> None:
        raise RuntimeError("cannot be closed")


def test_a_model_that_cannot_be_closed_hurts_nobody(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(f"{__name__}.DoublingScorer", Unclosable)
    subtask = make_subtask(clock)
    update(subtask, 0, publish(1))

    assert update(subtask, 1, RetireModel(RetiredModel("m"), all=True)) == []


def test_what_failed_or_was_refused_before_the_start_is_a_dead_letter_of_its_own_bytes(clock: Clock) -> None:
    artifact = Artifact(hashlib.sha256(b"model").hexdigest(), inline=b"model")
    failing = encode_update(PublishModel(ModelId("m", 1), "unknown", artifact))
    topic = [(failing, envelope(0)), (b"junk", envelope(1)), (b"", envelope(2))]
    known = fold(decode_events(encode_events(BatchKind.EVENTS, 0, topic)), 3, 1000)
    subtask = make_subtask(clock, known=known)

    _, letters = score(subtask, kind=BatchKind.HEARTBEAT)

    assert [letter.value for letter in letters] == [b"junk", b"", failing]
    assert [letter.envelope for letter in letters] == [envelope(1), envelope(2), envelope(0)]
