"""What one subtask promises of events that wait, of updates, and of versions that fail to load."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.loads import Clock, LoaderByHand, make_serving, plain_load
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
from udfs.errors import ArtifactError, ModelLoadError
from udfs.held import HeldEvents
from udfs.json_values import JsonValue
from udfs.missing import MissingPolicies
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
from udfs.reports import Place
from udfs.scorers import Options
from udfs.subtask import ScoringSubtask, Turn

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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def subtask(clock: Clock) -> ScoringSubtask:
    return make_subtask(clock)


LIMITS = OutputLimits(10_000, 10_000)
HOLD = MissingPolicies()


def make_subtask(
    clock: Clock,
    number: int = 0,
    limits: OutputLimits = LIMITS,
    known: KnownCatalog | None = None,
    missing: MissingPolicies = HOLD,
    serving: Serving | None = None,
    restored: Catalog | None = None,
) -> ScoringSubtask:
    serving = serving or make_serving(
        # By its name: a test may put another in its place.
        plain_load(lambda *arguments: load_doubling(*arguments), ("double",)),
        max_catalog_bytes=1000,
    )
    held = HeldEvents(seconds=30, max_events=3, max_bytes=10_000)
    made = ScoringSubtask(
        Place("job", number), serving, limits, held, missing, None, clock, max_batch=(2, 10_000)
    )
    made.start(restored or Catalog(), known or KnownCatalog())
    return made


def envelope(offset: int) -> bytes:
    return encode_envelope(Envelope("topic", 0, offset, 0, b"key", False, ()))


def score(
    subtask: ScoringSubtask, *data: int, model: str = "m", kind: BatchKind = BatchKind.EVENTS
) -> tuple[Turn, list[Outcome]]:
    values = [json.dumps({"id": number, "model": model, "data": number}).encode() for number in data]
    records = [(value, envelope(0)) for value in values]
    turn = subtask.on_batch(encode_events(kind, 0, records, barrier_follows=True))
    return turn, decode_outcomes(turn.outcomes) if turn.outcomes else []


def held_by(turn: Turn) -> list[str]:
    """What the state holds after a turn before a checkpoint."""
    assert turn.state is not None
    return turn.state.held


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
    assert len(held_by(turn)) == 2

    update(subtask, 0, publish(1))
    turn, outcomes = score(subtask, 3)

    assert answers(outcomes) == [(1, 2, 1), (2, 4, 1), (3, 6, 1)]
    assert held_by(turn) == []


def test_what_is_held_goes_on_being_held_after_a_restart(subtask: ScoringSubtask, clock: Clock) -> None:
    turn, _ = score(subtask, 1, 2)
    restarted = make_subtask(clock)

    restarted.adopt(held_by(turn))
    update(restarted, 0, publish(1))

    assert answers(score(restarted, kind=BatchKind.HEARTBEAT)[1]) == [(1, 2, 1), (2, 4, 1)]


def test_what_is_held_is_written_with_a_batch_alone(subtask: ScoringSubtask, clock: Clock) -> None:
    # Keyed state has a key on that side alone: an update that comes first must not write it.
    held = held_by(score(subtask, 1)[0])
    restarted = make_subtask(clock)
    restarted.adopt(held)

    assert restarted.on_update(envelope(0), encode_update(publish(1))).state is None
    assert held_by(score(restarted, kind=BatchKind.HEARTBEAT)[0]) == []


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

    assert [len(status.cause or "") for status in turn.statuses] == [0, 2000]


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

    assert len(held_by(turn)) == 3
    assert [json.loads(letter.value)["id"] for letter in outcomes] == [4]


def test_nothing_stays_held_at_the_end_of_the_input(subtask: ScoringSubtask) -> None:
    score(subtask, 1, 2)

    turn, outcomes = score(subtask, kind=BatchKind.END_OF_INPUT)

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DEAD_LETTER] * 2
    assert held_by(turn) == []


def test_a_version_that_fails_to_load_leaves_the_running_one_serving(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))

    assert update(subtask, 1, publish(2, BROKEN)) == ["broken on purpose"]
    assert answers(score(subtask, 5)[1]) == [(5, 10, 1)]


def test_only_the_first_subtask_writes_the_dead_letter_of_an_update(clock: Clock) -> None:
    assert update(make_subtask(clock, number=1), 0, publish(1, BROKEN)) == []


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


@pytest.fixture
def loader() -> LoaderByHand:
    return LoaderByHand(plain_load(load_doubling, ("double",)))


def beside(loader: LoaderByHand, clock: Clock, missing: MissingPolicies = HOLD) -> ScoringSubtask:
    serving = make_serving(loader.load, loader=loader)
    return make_subtask(clock, missing=missing, serving=serving)


def test_while_a_version_loads_the_one_before_goes_on_scoring(loader: LoaderByHand, clock: Clock) -> None:
    subtask = beside(loader, clock)
    update(subtask, 0, publish(1))
    loader.finish()

    update(subtask, 1, publish(2))
    before = answers(score(subtask, 1)[1])
    loader.finish()

    assert before == [(1, 2, 1)]
    assert answers(score(subtask, 1)[1]) == [(1, 2, 2)]


def test_versions_that_events_name_are_all_loaded_in_turn_where_few_may_be(
    loader: LoaderByHand, clock: Clock
) -> None:
    subtask = make_subtask(clock, serving=make_serving(loader.load, max_loaded=1, loader=loader))
    for version in (1, 2, 3):
        update(subtask, version, msgspec.structs.replace(publish(version), activate=False))
    loader.finish()
    score(subtask, kind=BatchKind.HEARTBEAT)
    scored: set[int] = set()

    for _ in range(10):
        for version in (1, 2, 3):
            scored |= {by for _, _, by in answers(score(subtask, version, model=f"m:{version}")[1])}
        loader.finish()

    assert scored == {1, 2, 3}


def test_the_statuses_of_a_load_arrive_with_heartbeats(loader: LoaderByHand, clock: Clock) -> None:
    subtask = beside(loader, clock)

    begun = subtask.on_update(envelope(0), encode_update(publish(1))).statuses
    nothing = score(subtask, kind=BatchKind.HEARTBEAT)[0].statuses
    loader.finish()
    ended = score(subtask, kind=BatchKind.HEARTBEAT)[0].statuses

    assert [[one.status for one in said] for said in (begun, nothing, ended)] == [
        ["loading"],
        [],
        ["ready", "active"],
    ]


def test_an_update_whose_load_fails_later_is_a_dead_letter_then(loader: LoaderByHand, clock: Clock) -> None:
    subtask = beside(loader, clock)

    assert update(subtask, 0, publish(1, BROKEN)) == []
    loader.finish()
    _, (letter,) = score(subtask, kind=BatchKind.HEARTBEAT)

    assert letter.value == encode_update(publish(1, BROKEN))
    assert dict(decode_headers(letter.details))["ms-message"] == b"broken on purpose"


def test_a_load_that_fails_is_tried_again_where_its_artifact_was_said_to_be_meanwhile(clock: Clock) -> None:
    def fetch(artifact: Artifact) -> Path:
        if artifact.uri == "s3://mistyped":
            raise ArtifactError("there is nothing")
        return Path(artifact.sha256)

    loader = LoaderByHand(plain_load(load_doubling, ("double",), fetch))
    subtask = beside(loader, clock)
    sha256 = hashlib.sha256(GOOD).hexdigest()
    for offset, uri in enumerate(("s3://mistyped", "s3://models")):
        update(subtask, offset, PublishModel(ModelId("m", 1), "double", Artifact(sha256, uri=uri)))
    loader.finish()
    score(subtask, kind=BatchKind.HEARTBEAT)
    loader.finish()

    assert answers(score(subtask, 1)[1]) == [(1, 2, 1)]


@pytest.mark.parametrize("missing", [MissingPolicies("dead-letter"), MissingPolicies("hold")])
def test_an_event_whose_version_is_being_loaded_waits_whatever_the_policy_and_however_long(
    loader: LoaderByHand, clock: Clock, missing: MissingPolicies
) -> None:
    subtask = beside(loader, clock, missing)
    update(subtask, 0, publish(1))

    assert score(subtask, 1)[1] == []
    clock.seconds = 1000
    assert score(subtask, kind=BatchKind.HEARTBEAT)[1] == []
    loader.finish()

    assert answers(score(subtask, 2)[1]) == [(1, 2, 1), (2, 4, 1)]


def test_where_there_is_no_room_a_batch_waits_for_the_load_and_keeps_the_order(
    loader: LoaderByHand, clock: Clock
) -> None:
    subtask = beside(loader, clock)
    update(subtask, 0, publish(1))
    loader.finish_when_waited_for = True

    _, outcomes = score(subtask, 1, 2, 3, 4, 5)

    assert answers(outcomes) == [(number, 2 * number, 1) for number in range(1, 6)]


def test_at_the_end_of_the_input_what_is_being_loaded_is_waited_for(
    loader: LoaderByHand, clock: Clock
) -> None:
    subtask = beside(loader, clock)
    update(subtask, 0, publish(1))
    score(subtask, 1, 2)
    loader.finish_when_waited_for = True

    turn, outcomes = score(subtask, kind=BatchKind.END_OF_INPUT)

    assert answers(outcomes) == [(1, 2, 1), (2, 4, 1)]
    assert held_by(turn) == []


def test_a_version_that_is_retired_while_the_next_one_loads_scores_until_then(
    loader: LoaderByHand, clock: Clock
) -> None:
    subtask = beside(loader, clock)
    update(subtask, 0, publish(1))
    loader.finish()
    update(subtask, 1, publish(2))

    assert update(subtask, 2, RetireModel(RetiredModel("m", 1))) == []
    assert answers(score(subtask, 1)[1]) == [(1, 2, 1)]
    loader.finish()
    assert answers(score(subtask, 1)[1]) == [(1, 2, 2)]


def test_a_model_may_have_dead_letters_while_others_are_held(clock: Clock) -> None:
    subtask = make_subtask(clock, missing=MissingPolicies("hold", {"strict": "dead-letter"}))

    assert [one.kind for one in score(subtask, 1, model="strict")[1]] == [OutcomeKind.DEAD_LETTER]
    assert score(subtask, 1, model="patient")[1] == []


def test_what_was_held_before_the_policy_changed_is_a_dead_letter(clock: Clock) -> None:
    held = held_by(score(make_subtask(clock), 1)[0])
    subtask = make_subtask(clock, missing=MissingPolicies("dead-letter"))

    subtask.adopt(held)

    assert [one.kind for one in score(subtask, kind=BatchKind.HEARTBEAT)[1]] == [OutcomeKind.DEAD_LETTER]


@pytest.mark.parametrize("failed", [True, False])
def test_a_fallback_scores_for_a_model_that_is_missing_or_failed_and_is_named(
    clock: Clock, failed: bool
) -> None:
    subtask = make_subtask(clock, missing=MissingPolicies("hold", {"other": ModelId("m", 1)}))
    update(subtask, 0, publish(1))
    if failed:
        broken = Artifact(hashlib.sha256(BROKEN).hexdigest(), inline=BROKEN)
        update(subtask, 1, PublishModel(ModelId("other", 1), "double", broken))

    _, (outcome,) = score(subtask, 4, model="other")

    prediction = json.loads(outcome.value)
    assert (prediction["model"]["name"], prediction["outputs"]) == ("m", 8)


def test_where_the_fallback_is_missing_too_the_usual_policy_holds(clock: Clock) -> None:
    subtask = make_subtask(clock, missing=MissingPolicies("dead-letter", {"other": ModelId("m", 1)}))

    _, (letter,) = score(subtask, 4, model="other")

    message = (dict(decode_headers(letter.details))["ms-message"] or b"").decode()
    assert message == "no model 'other' is published; its fallback: m:1 is not published"


def test_an_event_that_names_a_version_of_more_digits_than_numbers_have_is_a_dead_letter(
    clock: Clock,
) -> None:
    limits = OutputLimits(100_000, 100_000)
    subtask = make_subtask(clock, limits=limits, missing=MissingPolicies("dead-letter"))
    update(subtask, 0, publish(1))

    _, (letter,) = score(subtask, 1, model="m:" + "9" * 5000)

    assert letter.kind is OutcomeKind.DEAD_LETTER


def at_times(subtask: ScoringSubtask, *times: int, model: str = "m") -> tuple[Turn, list[Outcome]]:
    """Score an event of each time, whose data is its time."""
    records = [
        (
            json.dumps({"id": time, "model": model, "data": time}).encode(),
            encode_envelope(Envelope("topic", 0, time, time, b"key", False, ())),
        )
        for time in times
    ]
    turn = subtask.on_batch(encode_events(BatchKind.EVENTS, 0, records, barrier_follows=True))
    return turn, decode_outcomes(turn.outcomes) if turn.outcomes else []


def versions(outcomes: list[Outcome]) -> list[tuple[int, int]]:
    """Id and version of each prediction."""
    return [(number, version) for number, _, version in answers(outcomes)]


def effective(version: int, since: int) -> ActivateModel:
    return ActivateModel(ModelId("m", version), effective_from=since)


def test_within_a_batch_events_are_scored_by_the_version_of_their_time(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))
    update(subtask, 1, msgspec.structs.replace(publish(2), effective_from=10))

    assert versions(at_times(subtask, 9, 10, 3, 12)[1]) == [(9, 1), (10, 2), (3, 1), (12, 2)]


def test_an_event_waits_for_the_version_of_its_time_and_others_of_its_key_behind_it(
    loader: LoaderByHand, clock: Clock
) -> None:
    subtask = beside(loader, clock)
    update(subtask, 0, publish(1))
    loader.finish()
    update(subtask, 1, msgspec.structs.replace(publish(2), effective_from=10))

    first = versions(at_times(subtask, 8, 10, 9)[1])
    second = versions(at_times(subtask, 7)[1])
    loader.finish()

    assert (first, second) == ([(8, 1)], [])
    assert versions(at_times(subtask, 11)[1]) == [(10, 2), (9, 1), (7, 1), (11, 2)]


def test_an_event_from_before_the_first_activation_is_a_dead_letter_at_once(subtask: ScoringSubtask) -> None:
    update(subtask, 0, msgspec.structs.replace(publish(1), effective_from=10))

    _, outcomes = at_times(subtask, 9, 10)

    assert [one.kind for one in outcomes] == [OutcomeKind.DEAD_LETTER, OutcomeKind.PREDICTION]


def test_an_activation_that_comes_too_late_says_for_how_many_events(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))
    update(subtask, 1, msgspec.structs.replace(publish(2), activate=False))
    at_times(subtask, 5, 10, 11)

    turn = subtask.on_update(envelope(2), encode_update(effective(2, 10)))

    (late,) = [status for status in turn.statuses if status.status == "late"]
    assert (late.late_events, late.effective_from, late.cause) == (2, 10, None)


def test_an_activation_in_time_is_not_late(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))
    at_times(subtask, 5)

    turn = subtask.on_update(envelope(1), encode_update(effective(1, 6)))

    assert [status.status for status in turn.statuses if status.status == "late"] == []


def test_an_activation_that_a_restart_brings_is_late_for_what_was_scored_before(
    subtask: ScoringSubtask, clock: Clock
) -> None:
    update(subtask, 0, publish(1))
    state = at_times(subtask, 20)[0].state
    assert state is not None
    topic = [
        (encode_update(publish(1)), envelope(0)),
        (encode_update(msgspec.structs.replace(publish(2), effective_from=10)), envelope(1)),
    ]
    known = fold(decode_events(encode_events(BatchKind.EVENTS, 0, topic)), 2, 1000)
    again = make_subtask(clock, known=known, restored=subtask.catalog)

    again.adopt(*state)

    said = score(again, kind=BatchKind.HEARTBEAT)[0].statuses
    assert [(one.late_events, bool(one.cause)) for one in said if one.status == "late"] == [(None, True)]


def test_counts_are_said_again_when_they_have_grown(subtask: ScoringSubtask, clock: Clock) -> None:
    update(subtask, 0, publish(1))
    at_times(subtask, 5, 9)
    clock.seconds = 3

    (grown,) = score(subtask, kind=BatchKind.HEARTBEAT)[0].statuses
    clock.seconds = 6
    nothing = score(subtask, kind=BatchKind.HEARTBEAT)[0].statuses

    assert (grown.status, grown.scored, grown.highest_event_time) == ("active", 2, 9)
    assert nothing == ()


def test_a_version_that_scores_no_more_is_not_said_again(subtask: ScoringSubtask, clock: Clock) -> None:
    update(subtask, 0, publish(1))
    at_times(subtask, 5)
    update(subtask, 1, publish(2))
    clock.seconds = 3
    score(subtask, kind=BatchKind.HEARTBEAT)
    at_times(subtask, 9)
    clock.seconds = 6

    said = score(subtask, kind=BatchKind.HEARTBEAT)[0].statuses

    assert [(one.model.version, one.scored, one.highest_event_time) for one in said] == [(2, 1, 9)]


def test_an_active_status_says_from_which_event_time_on(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))

    turn = subtask.on_update(
        envelope(1), encode_update(msgspec.structs.replace(publish(2), effective_from=10))
    )

    assert [(one.status, one.effective_from) for one in turn.statuses] == [
        ("loading", None),
        ("ready", None),
        ("active", 10),
    ]


def test_a_version_that_is_retired_from_a_time_on_scores_events_before(subtask: ScoringSubtask) -> None:
    update(subtask, 0, publish(1))
    update(subtask, 1, publish(2))
    update(subtask, 2, RetireModel(RetiredModel("m", 1), effective_from=10))

    _, outcomes = at_times(subtask, 9, 10, model="m:1")

    assert [one.kind for one in outcomes] == [OutcomeKind.PREDICTION, OutcomeKind.DEAD_LETTER]
