"""The commands of a model's life on a real broker, with subtasks that a thread plays."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.signing import write_key
from connectors.client import Client, Record
from tests.integration.command_line import CommandLine
from udfs.models.signatures import SigningKey, TrustedKey, Verifier
from udfs.models.updates import ActivateModel, ModelUpdate, PublishModel, RetireModel, decode_update
from udfs.records import ModelId, ModelStatus, Phase

Answer = Callable[[ModelUpdate], Sequence[ModelStatus]]

SUBTASKS = range(2)


class Published:
    """Makes statuses as a job does; remembers the sha256 of what was published."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._sha256: dict[ModelId, str] = {}

    def see(self, update: ModelUpdate) -> None:
        if isinstance(update, PublishModel):
            self._sha256[update.model] = update.identity()

    def says(self, update: ModelUpdate, phase: Phase, subtask: int, **fields: Any) -> ModelStatus:
        self.see(update)
        model = ModelId.parse(update.reference)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        usual = {"parallelism": len(SUBTASKS), "attempt": 0, "at": at}
        return ModelStatus(
            job=self._job,
            model=model,
            status=phase,
            subtask=subtask,
            sha256=self._sha256[model],
            **{**usual, **fields},
        )


@pytest.fixture
def job(modelstream: CommandLine) -> Published:
    return Published(modelstream.job)


@contextmanager
def playing(modelstream: CommandLine, answer: Answer) -> Iterator[None]:
    """A thread that follows the control topic and writes to the status topic what a job's subtasks might."""
    ended = threading.Event()

    def play() -> None:
        with (
            Client({"bootstrap_servers": modelstream.bootstrap}) as client,
            closing(client.follow(modelstream.topics.control, from_beginning=True)) as updates,
        ):
            for records in updates:
                if ended.is_set():
                    return
                for record in records:
                    words = answer(decode_update(record.value or b""))
                    client.send(modelstream.topics.model_status, [as_record(one) for one in words])

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def as_record(status: ModelStatus) -> Record:
    return Record(msgspec.json.encode(status), status.key())


def obedient(job: Published) -> Answer:
    """Every subtask does as it is told."""

    def answer(update: ModelUpdate) -> list[ModelStatus]:
        phase: Phase = "active"
        if isinstance(update, RetireModel):
            phase = "retired"
        elif isinstance(update, PublishModel) and not update.activate:
            phase = "ready"
        said = {"effective_from": update.effective_from}
        return [job.says(update, phase, subtask, **said) for subtask in SUBTASKS]

    return answer


def updates(modelstream: CommandLine) -> list[ModelUpdate]:
    return [decode_update(record.value or b"") for record in modelstream.read(modelstream.topics.control)]


def publish(artifact: Path, version: int, *more: str) -> list[str]:
    return ["models", "publish", f"iris:{version}", str(artifact), "--format", "onnx", *more]


def test_publish_waits_until_every_subtask_is_active(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    with playing(modelstream, obedient(job)):
        (row,) = modelstream.json(*publish(artifact, 1, "--wait"))

    assert row["outcome"] == "everywhere"
    assert [(one["subtask"], one["status"]) for one in row["subtasks"]] == [(0, "active"), (1, "active")]


def test_a_subtask_that_failed_is_named_with_its_cause(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    def answer(update: ModelUpdate) -> list[ModelStatus]:
        return [
            job.says(update, "active", 0),
            job.says(update, "failed", 1, cause="ModelLoadError: no model"),
        ]

    with playing(modelstream, answer):
        done = modelstream(*publish(artifact, 1, "--wait"))

    assert done.returncode == 1
    assert "iris:1 failed in subtask 2 of 2: ModelLoadError: no model" in done.stderr


def test_where_no_job_answers_it_is_said_what_to_look_at(modelstream: CommandLine, artifact: Path) -> None:
    done = modelstream(*publish(artifact, 1, "--wait", "--timeout", "500ms"))

    assert done.returncode == 3
    assert f"no subtask of {modelstream.job} said anything in time" in done.stderr
    assert len(updates(modelstream)) == 1


def test_what_was_said_before_the_update_does_not_count(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    def failed_before(update: ModelUpdate) -> list[ModelStatus]:
        return [job.says(update, "failed", subtask) for subtask in SUBTASKS]

    with playing(modelstream, failed_before):
        assert modelstream(*publish(artifact, 1, "--wait")).returncode == 1

    assert modelstream(*publish(artifact, 1, "--wait", "--timeout", "500ms")).returncode == 3


def test_a_staged_version_is_activated_from_an_event_time_on(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    with playing(modelstream, obedient(job)):
        modelstream(*publish(artifact, 1))
        staged = modelstream(*publish(artifact, 2, "--wait", "--no-activate"))
        at = "2026-11-24T10:00:00Z"
        activated = modelstream("models", "activate", "iris:2", "--effective-from", at, "--wait")

    assert (staged.returncode, activated.returncode) == (0, 0), staged.stderr + activated.stderr
    assert updates(modelstream)[-1] == ActivateModel(
        ModelId("iris", 2), updates(modelstream)[-1].occurred_on, 1_795_514_400_000
    )


def test_a_version_is_waited_for_until_all_have_let_go_of_it(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    with playing(modelstream, obedient(job)):
        for version in (1, 2):
            modelstream(*publish(artifact, version, "--wait"))
        done = modelstream("models", "retire", "iris:1", "--wait")

    assert done.returncode == 0, done.stderr
    assert "iris:1 is retired in all 2 subtasks" in done.stderr


def test_rollback_activates_the_version_that_was_active_before(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    with playing(modelstream, obedient(job)):
        for version in (1, 2):
            modelstream(*publish(artifact, version))
        done = modelstream("models", "rollback", "iris", "--wait")

    assert done.returncode == 0
    assert "iris:1 is active in all 2 subtasks" in done.stderr
    assert updates(modelstream)[-1].model == ModelId("iris", 1)


def test_rollback_without_a_version_before_is_refused(modelstream: CommandLine, artifact: Path) -> None:
    modelstream(*publish(artifact, 1))

    line = modelstream.refused("models", "rollback", "iris")

    assert "no other version was active before iris:1" in line
    assert len(updates(modelstream)) == 1


def test_ready_everywhere_is_one_activation_behind_the_last_scored_event(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    scored = [5_000, 7_000]

    def answer(update: ModelUpdate) -> list[ModelStatus]:
        return [
            msgspec.structs.replace(status, highest_event_time=scored[status.subtask])
            for status in obedient(job)(update)
        ]

    with playing(modelstream, answer):
        rows = modelstream.json(
            *publish(artifact, 2, "--activate-when", "ready-everywhere", "--margin", "3s")
        )

    assert [row["outcome"] for row in rows] == ["everywhere", "everywhere"]
    published, activated = updates(modelstream)
    assert isinstance(published, PublishModel)
    assert (published.activate, published.effective_from) == (False, None)
    assert isinstance(activated, ActivateModel)
    assert (activated.model, activated.effective_from) == (ModelId("iris", 2), 10_000)


def test_where_one_is_not_ready_nothing_changes_anywhere(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    def answer(update: ModelUpdate) -> list[ModelStatus]:
        return [job.says(update, "failed", 0, cause="no memory"), job.says(update, "ready", 1)]

    with playing(modelstream, answer):
        done = modelstream(*publish(artifact, 1, "--activate-when", "ready-everywhere"))

    assert done.returncode == 1
    assert "iris:1 failed in subtask 1 of 2: no memory" in done.stderr
    assert "iris:1 was not activated" in done.stderr
    (staged,) = updates(modelstream)
    assert isinstance(staged, PublishModel)
    assert staged.activate is False


def test_a_version_without_a_word_is_among_the_statuses(
    modelstream: CommandLine, job: Published, artifact: Path
) -> None:
    with playing(modelstream, obedient(job)):
        modelstream(*publish(artifact, 1, "--wait"))
    modelstream(*publish(artifact, 2))

    rows = modelstream.json("models", "status", "iris")

    assert [(row["model"]["version"], row["status"]) for row in rows] == [
        (1, "active"),
        (1, "active"),
        (2, None),
    ]
    said = {*ModelStatus.__struct_fields__, "execution", "endpoint"}
    assert all(set(row) == said for row in rows)
    shown = modelstream("models", "status").stdout.splitlines()
    assert shown[-1].split() == ["iris:2", "-"]


# --- signed ---------------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = SigningKey.new("ops")
    write_key(made, tmp_path / "ops.key")
    return made


def asking_for(key: SigningKey) -> list[str]:
    return ["--set", f"updates.keys.ops.public={key.public()}", "--set", "updates.require_signature=true"]


def test_every_update_of_a_rollout_is_signed(
    modelstream: CommandLine, job: Published, artifact: Path, tmp_path: Path, key: SigningKey
) -> None:
    signed = ["--key", str(tmp_path / "ops.key"), *asking_for(key)]
    with playing(modelstream, obedient(job)):
        done = modelstream(*publish(artifact, 1, "--activate-when", "ready-everywhere", *signed))

    assert done.returncode == 0, done.stderr
    records = modelstream.read(modelstream.topics.control)
    assert len(records) == 2
    verifier = Verifier(modelstream.job, modelstream.topics.control, {"ops": trusted(key)}, True)
    for record in records:
        assert verifier.check(record.headers, record.value or b"", "iris")


def trusted(key: SigningKey) -> TrustedKey:
    return TrustedKey(key.id, key.public())


@pytest.mark.parametrize(
    "command", [["activate", "iris:1"], ["retire", "iris", "--all"], ["rollback", "iris"]]
)
def test_without_a_key_nothing_is_sent_where_the_job_asks_for_signatures(
    modelstream: CommandLine, artifact: Path, key: SigningKey, command: list[str]
) -> None:
    for version in (1, 2):
        modelstream(*publish(artifact, version))

    line = modelstream.refused("models", *command, *asking_for(key))

    assert "signs with --key FILE" in line
    assert len(updates(modelstream)) == 2
