"""What commands send, and what becomes of it: with a job that is a script."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.changes import Change, make_change, roll_out
from cli.control import Control, version_before
from cli.signing import write_key
from cli.statuses import Statuses
from connectors.client import Record
from jobs.config import JobConfig, KeyConfig, UpdatesConfig
from tests.loads import Clock, make_serving, plain_load
from tests.unit.test_serving import FakeScorer
from udfs.batches import Envelope, encode_envelope
from udfs.errors import TopicError, UpdateError
from udfs.held import HeldEvents
from udfs.missing import MissingPolicies
from udfs.models.catalog import Catalog, apply
from udfs.models.known import KnownCatalog
from udfs.models.signatures import SigningKey
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
from udfs.records import ModelId, ModelStatus, Phase
from udfs.reports import Place
from udfs.subtask import ScoringSubtask

CONFIG = JobConfig(name="job")

EVERYTHING = RetireModel(RetiredModel("iris"), all=True)

Answer = Callable[[ModelUpdate], Sequence[ModelStatus]]


def iris(version: int, *, activate: bool = True, **more: Any) -> PublishModel:
    return PublishModel(
        ModelId("iris", version),
        "onnx",
        Artifact(sha256=str(version) * 64, inline=b""),
        activate=activate,
        **more,
    )


def activation(version: int, **more: Any) -> ActivateModel:
    return ActivateModel(ModelId("iris", version), **more)


def retirement(version: int, **more: Any) -> RetireModel:
    return RetireModel(RetiredModel("iris", version), **more)


def said(
    version: int, phase: Phase, *, subtask: int = 0, parallelism: int = 2, at: int = 0, **fields: Any
) -> ModelStatus:
    usual = {"job": "job", "attempt": 0, "sha256": iris(version).identity()}
    return ModelStatus(
        model=ModelId("iris", version),
        status=phase,
        subtask=subtask,
        parallelism=parallelism,
        at=f"2026-11-24T10:00:{at:02}Z",
        **{**usual, **fields},
    )


def by_all(version: int, phase: Phase, **fields: Any) -> list[ModelStatus]:
    return [said(version, phase, subtask=subtask, **fields) for subtask in range(2)]


class ScriptedJob(Control):
    """Topics in memory, and a job that says what a function of the update gives."""

    def __init__(
        self, updates: Sequence[ModelUpdate], answer: Answer, before: Sequence[ModelStatus] = ()
    ) -> None:
        super().__init__(CONFIG)
        self._catalog = Catalog()
        for update in updates:
            self._fold(update)
        self._answer = answer
        self._statuses = [*before]
        self._unheard: list[ModelStatus] = []
        self.sent: list[ModelUpdate] = []

    def catalog(self) -> Catalog:
        return self._catalog

    def statuses(self) -> Statuses:
        statuses = Statuses()
        statuses.add(map(record, self._statuses))
        return statuses

    @contextmanager
    def listening(self) -> Iterator[Iterator[list[Record]]]:
        self._unheard = []
        yield self._stream()

    def send(self, update: ModelUpdate) -> None:
        self.sent.append(update)
        self._fold(update)
        words = self._answer(update)
        self._statuses += words
        self._unheard += words

    def _fold(self, update: ModelUpdate) -> None:
        offset = self._catalog.offset + 1
        self._catalog = apply(self._catalog, update, offset, max_bytes=CONFIG.catalog.max_bytes)

    def _stream(self) -> Iterator[list[Record]]:
        yield [record(one) for one in self._unheard]
        yield []


def record(status: ModelStatus) -> Record:
    return Record(msgspec.json.encode(status), status.key())


def nobody(update: ModelUpdate) -> list[ModelStatus]:
    return []


# --- a change -------------------------------------------------------------------------------------------


def test_a_published_version_is_waited_for_until_it_is_active() -> None:
    job = ScriptedJob([], lambda update: by_all(1, "active"))

    change = make_change(job, iris(1), seconds=60)

    assert (change.outcome, change.changed, change.active) == ("everywhere", True, True)


def test_a_staged_version_is_waited_for_until_it_is_ready() -> None:
    job = ScriptedJob([iris(1)], lambda update: by_all(2, "ready"))

    assert make_change(job, iris(2, activate=False), seconds=60).outcome == "everywhere"


def test_words_from_before_the_update_do_not_count() -> None:
    job = ScriptedJob([iris(1)], nobody, before=by_all(1, "active"))

    assert make_change(job, activation(1), seconds=60).outcome == "timeout"


def test_a_switch_at_an_event_time_is_heard_with_that_time() -> None:
    job = ScriptedJob([iris(1), iris(2)], lambda update: by_all(1, "active", effective_from=7))

    assert make_change(job, activation(1, effective_from=7), seconds=60).outcome == "everywhere"


def real_subtask() -> Answer:
    """What the only subtask of a job says; its models of format onnx are loaded at once, others fail."""
    load = plain_load(lambda *_: FakeScorer(), ("onnx",))
    limits, held = OutputLimits(10_000, 10_000), HeldEvents(30, 3, 1000)
    subtask = ScoringSubtask(
        *(Place("job"), make_serving(load), limits, held, MissingPolicies(), None, Clock()),
        max_batch=(2, 10_000),
    )
    subtask.start(Catalog(), KnownCatalog())

    def answer(update: ModelUpdate) -> Sequence[ModelStatus]:
        offset = subtask.catalog.offset + 1
        envelope = encode_envelope(Envelope("ms.control", 0, offset, 0, None, False, ()))
        return subtask.on_update(envelope, encode_update(update)).statuses

    return answer


@pytest.mark.parametrize(
    ("updates", "update"),
    [
        ([], iris(1)),
        ([iris(1)], iris(2, effective_from=1000)),
        ([iris(1), iris(2, effective_from=1000)], activation(1, effective_from=500)),
        ([iris(1), iris(2, effective_from=1000)], activation(2, effective_from=500)),
        ([iris(1), iris(2, effective_from=1000)], activation(1, effective_from=2000)),
        ([iris(1), iris(2, effective_from=1000)], activation(1)),
        ([iris(1), iris(2), activation(1, effective_from=9)], activation(1)),
        ([iris(1), iris(2, effective_from=1000)], iris(2, effective_from=1000)),
        ([iris(1), iris(2)], iris(1)),
        ([iris(1), iris(2)], retirement(1)),
        ([iris(1), iris(2, effective_from=9)], retirement(1, effective_from=9)),
        ([iris(1), iris(2)], EVERYTHING),
        ([iris(1), iris(2), EVERYTHING], EVERYTHING),
        ([iris(1), iris(2), retirement(1), EVERYTHING], EVERYTHING),
        ([iris(1), iris(2), retirement(1)], EVERYTHING),
        ([iris(1), iris(2), retirement(1)], retirement(1)),
        ([iris(1), iris(2), retirement(1, effective_from=9)], retirement(1, effective_from=9)),
        ([iris(1), iris(2), retirement(1, effective_from=9)], retirement(1, effective_from=12)),
        ([iris(1), iris(2), retirement(1, effective_from=9)], retirement(1)),
    ],
)
def test_what_a_subtask_says_of_a_change_is_what_is_waited_for(
    updates: list[ModelUpdate], update: ModelUpdate
) -> None:
    answer = real_subtask()
    before = [status for one in updates for status in answer(one)]
    job = ScriptedJob(updates, answer, before)

    assert make_change(job, update, seconds=60).outcome == "everywhere"


def test_what_a_subtask_says_of_a_failure_shows_what_serves() -> None:
    answer = real_subtask()
    job = ScriptedJob([iris(1)], answer, answer(iris(1)))

    change = make_change(job, msgspec.structs.replace(iris(2), format="pmml"), seconds=60)

    assert (change.outcome, change.serving) == ("failed", {0: ModelId("iris", 1)})


def test_a_switch_of_tomorrow_serves_nothing_today() -> None:
    answer = real_subtask()
    updates: list[ModelUpdate] = [iris(1), iris(2, effective_from=2000)]
    before = [status for one in updates for status in answer(one)]
    job = ScriptedJob(updates, answer, [*before, said(1, "active", parallelism=1, highest_event_time=1000)])

    change = make_change(job, msgspec.structs.replace(iris(3), format="pmml"), seconds=60)

    assert change.serving == {0: ModelId("iris", 1)}


def test_a_failure_is_told_where_what_serves_can_t_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    job = ScriptedJob([iris(1)], lambda update: by_all(2, "failed"))

    def unreachable() -> Statuses:
        raise TopicError("Kafka can't be reached")

    monkeypatch.setattr(job, "statuses", unreachable)
    change = make_change(job, iris(2), seconds=60)

    assert (change.outcome, change.serving) == ("failed", {})


def test_of_a_model_of_which_some_were_retired_before_only_the_others_are_said_to_be() -> None:
    answer = real_subtask()
    for update in (iris(1), iris(2), retirement(1)):
        answer(update)

    assert [str(status.model) for status in answer(EVERYTHING)] == ["iris:2"]


def test_of_a_model_that_is_gone_already_every_subtask_says_again_that_it_is() -> None:
    job = ScriptedJob(
        [iris(1), iris(2), EVERYTHING], lambda update: [*by_all(1, "retired"), said(2, "retired")]
    )

    change = make_change(job, EVERYTHING, seconds=60)

    assert change.words is not None
    assert (change.changed, change.words.missing) == (False, [(ModelId("iris", 2), 1)])


def test_a_switch_that_was_replaced_is_no_hindrance_to_retire_what_it_replaced() -> None:
    answer = real_subtask()
    updates: list[ModelUpdate] = [iris(1), iris(2), iris(3, effective_from=10)]
    job = ScriptedJob(updates, answer, [status for one in updates for status in answer(one)])

    for version in (1, 2):
        make_change(job, RetireModel(RetiredModel("iris", version)), seconds=60)

    assert set(job.catalog().models["iris"].versions) == {2, 3}


def test_what_serves_where_the_active_version_failed_is_not_retired() -> None:
    words = [*by_all(1, "active"), said(2, "active", at=1), said(2, "failed", subtask=1, at=1)]
    job = ScriptedJob([iris(1), iris(2)], nobody, words)

    with pytest.raises(UpdateError, match=r"it is serving, where iris:2 failed to load or is not loaded yet"):
        make_change(job, RetireModel(RetiredModel("iris", 1)))


@pytest.mark.parametrize(("occurred_on", "sent"), [("2026-11-24T09:00:00Z", 0), ("2026-11-24T11:00:00Z", 1)])
def test_a_signed_update_that_is_older_than_the_last_is_not_sent(
    tmp_path: Path, occurred_on: str, sent: int
) -> None:
    key = SigningKey.new("ops")
    file = tmp_path / "key"
    write_key(key, file)
    last = "2026-11-24T10:00:00Z"
    job = ScriptedJob([iris(1)], nobody)
    job.config = JobConfig(name="job", updates=UpdatesConfig(keys={"ops": KeyConfig(public=key.public())}))
    job._key = file
    model = msgspec.structs.replace(job.catalog().models["iris"], signed_on=last)
    job._catalog = Catalog({"iris": model}, 0)

    with suppress(UpdateError):
        make_change(job, iris(2, occurred_on=occurred_on))

    assert len(job.sent) == sent


def test_a_whole_model_is_waited_for_until_every_version_is_retired() -> None:
    job = ScriptedJob([iris(1), iris(2)], lambda update: [*by_all(1, "retired"), said(2, "retired")])

    change = make_change(job, RetireModel(RetiredModel("iris"), all=True), seconds=60)

    assert change.words is not None
    assert change.words.missing == [(ModelId("iris", 2), 1)]


def test_without_waiting_it_is_sent_and_that_is_all() -> None:
    job = ScriptedJob([], nobody)

    change = make_change(job, iris(1))

    assert (job.sent, change.words, change.outcome) == ([iris(1)], None, None)


@pytest.mark.parametrize(
    "update",
    [
        activation(3),
        RetireModel(RetiredModel("iris", 2)),
        RetireModel(RetiredModel("iris", 3)),
        RetireModel(RetiredModel("rose"), all=True),
        iris(1, options={"other": "descriptor"}),
    ],
    ids=lambda update: f"{type(update).__name__} {update.reference}",
)
def test_what_the_job_would_refuse_is_not_sent(update: ModelUpdate) -> None:
    job = ScriptedJob([iris(1), iris(2)], nobody)

    with pytest.raises(UpdateError):
        make_change(job, update, seconds=60)

    assert job.sent == []


def test_what_is_so_already_is_sent_so_that_subtasks_try_again() -> None:
    job = ScriptedJob([iris(1)], lambda update: by_all(1, "active"))

    change = make_change(job, iris(1), seconds=60)

    assert (change.changed, change.outcome, job.sent) == (False, "everywhere", [iris(1)])


# --- ready everywhere -----------------------------------------------------------------------------------


def obedient(update: ModelUpdate) -> list[ModelStatus]:
    """Every subtask is ready for what is published, and active when told so."""
    assert not isinstance(update, RetireModel)
    phase: Phase = "active" if isinstance(update, ActivateModel) else "ready"
    return by_all(update.model.version, phase, effective_from=update.effective_from, at=30)


def roll(job: ScriptedJob, *, wait: bool = True) -> list[Change]:
    return roll_out(job, iris(2, activate=False), 10.0, seconds=60, wait=wait)


def test_when_all_are_ready_one_activation_follows_at_one_event_time_behind_what_was_scored() -> None:
    before = [
        said(1, "active", subtask=0, highest_event_time=5_000),
        said(1, "active", subtask=1, highest_event_time=7_000),
    ]
    job = ScriptedJob([iris(1)], obedient, before)

    published, activated = roll(job)

    assert job.sent[0] == iris(2, activate=False)
    (switch,) = job.sent[1:]
    assert isinstance(switch, ActivateModel)
    assert (switch.model, switch.effective_from) == (ModelId("iris", 2), 17_000)
    assert (published.outcome, activated.outcome) == ("everywhere", "everywhere")


def test_where_nothing_was_scored_each_subtask_switches_at_once() -> None:
    job = ScriptedJob([iris(1)], obedient)

    roll(job)

    assert job.sent[1].effective_from is None


def test_where_one_subtask_fails_nothing_is_activated() -> None:
    job = ScriptedJob([iris(1)], lambda update: [said(2, "ready"), said(2, "failed", subtask=1, cause="no")])

    (published,) = roll(job)

    assert published.outcome == "failed"
    assert job.sent == [iris(2, activate=False)]
    assert job.catalog().models["iris"].active == 1


def test_where_one_subtask_is_silent_nothing_is_activated() -> None:
    job = ScriptedJob([iris(1)], lambda update: [said(2, "ready")])

    (published,) = roll(job)

    assert published.outcome == "timeout"
    assert job.sent == [iris(2, activate=False)]


def test_a_version_that_is_active_already_is_not_activated_again() -> None:
    job = ScriptedJob([iris(1), iris(2)], lambda update: by_all(2, "active"))

    (published,) = roll(job)

    assert (published.outcome, published.active) == ("everywhere", True)
    assert len(job.sent) == 1


def test_the_words_on_the_activation_need_not_be_waited_for() -> None:
    published, activated = roll(ScriptedJob([iris(1)], obedient), wait=False)

    assert (published.outcome, activated.outcome) == ("everywhere", None)


def test_a_subtask_that_was_late_is_told() -> None:
    def late(update: ModelUpdate) -> list[ModelStatus]:
        more = said(2, "late", effective_from=update.effective_from, late_events=4)
        return [*obedient(update), *([more] if isinstance(update, ActivateModel) else [])]

    job = ScriptedJob([iris(1)], late, [said(1, "active", highest_event_time=5_000)])

    _, activated = roll(job)

    assert activated.words is not None
    assert [one.late_events for one in activated.words.late] == [4]


# --- back -----------------------------------------------------------------------------------------------


def catalog_of(*updates: ModelUpdate) -> Catalog:
    return ScriptedJob(updates, nobody).catalog()


def test_back_is_the_version_that_was_active_before() -> None:
    updates: list[ModelUpdate] = [iris(1), iris(2), iris(3), activation(1)]

    assert version_before(catalog_of(*updates), "iris") == ModelId("iris", 3)


def test_back_twice_is_forth_again() -> None:
    updates: list[ModelUpdate] = [iris(1), iris(2), activation(1)]

    assert version_before(catalog_of(*updates), "iris") == ModelId("iris", 2)


@pytest.mark.parametrize(
    ("updates", "why"),
    [
        ([], "iris: no version is published"),
        ([iris(1)], "no other version was active before iris:1"),
        ([iris(1, activate=False)], "no other version was active before"),
        ([iris(1), iris(2, activate=False)], "no other version was active before iris:1"),
    ],
)
def test_where_there_is_no_way_back_it_is_said(updates: list[ModelUpdate], why: str) -> None:
    with pytest.raises(UpdateError, match=why):
        version_before(catalog_of(*updates), "iris")
