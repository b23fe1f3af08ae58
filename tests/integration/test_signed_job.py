"""A real job that asks for signatures: only what a trusted key has signed changes it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cli.signing import write_key
from connectors.client import Record
from devtools import ROOT
from devtools.broker import Broker
from devtools.processes import kill_session, start
from devtools.topics import read_all, send, topics_named
from examples.iris import train
from jobs.config import TopicsConfig
from tests.integration.command_line import CommandLine
from tests.integration.records import FIELDS, SETOSA
from tests.integration.scoring_job import create_roomy_topics, job_command
from tests.waiting import wait_until
from udfs.models.signatures import SigningKey

JOB = "signed"


@dataclass(frozen=True)
class Attacked:
    """A job that served version 1, after somebody sent updates that are not theirs to send."""

    broker: Broker
    topics: TopicsConfig

    def causes(self) -> dict[str, str]:
        """Why the job refused updates, by the key that each was sent with."""
        return {
            (one.key or b"").decode(): (one.header("ms-message") or b"").decode()
            for one in read_all(self.broker.bootstrap, self.topics.dead_letters)
        }


@pytest.fixture(scope="module")
def attacked(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("signed")
    topics = topics_named(JOB)
    create_roomy_topics(broker.bootstrap, topics)
    key, stranger = SigningKey.new("ops"), SigningKey.new("ops")
    write_key(key, folder / "ops.pem")
    write_key(stranger, folder / "stranger.pem")
    modelstream = CommandLine(broker.bootstrap, topics, JOB)
    settings = {"updates.keys.ops.public": key.public(), "updates.require_signature": "true"}
    asked = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]

    def publish(version: int, *more: str) -> Record:
        file = folder / f"iris-{version}.onnx"
        fit = train.fit_logistic_regression if version == 1 else train.fit_discriminant_analysis
        train.write_onnx(fit(), file)
        of = ("--format", "onnx", "--option", f"fields={FIELDS}")
        done = modelstream("models", "publish", f"iris:{version}", str(file), *of, *more)
        assert done.returncode == 0, done.stderr
        return read_all(broker.bootstrap, topics.control)[-1]

    first = publish(1, "--key", str(folder / "ops.pem"), *asked)
    command = job_command(broker.bootstrap, topics, folder, "embedded", {**settings, "name": JOB})
    job = start(command, folder / "log", folder=ROOT)
    try:
        send(broker.bootstrap, topics.events, [_event(0)])
        wait_until(lambda: read_all(broker.bootstrap, topics.predictions), 180, "the first prediction")
        publish(2, "--no-activate", "--key", str(folder / "ops.pem"), *asked)
        unsigned = publish(3)
        forged = publish(4, "--key", str(folder / "stranger.pem"))
        altered = first.value.replace(b'"version":1', b'"version":5') if first.value else b""
        sent = [
            _under(unsigned, "unsigned"),
            _under(forged, "forged"),
            Record(altered, b"altered", first.headers),
            _under(first, "old"),
        ]
        send(broker.bootstrap, topics.control, sent)
        attack = Attacked(broker, topics)
        wait_until(
            lambda: {one.key.decode() for one in sent if one.key} <= attack.causes().keys(), 60, "refusals"
        )
        send(broker.bootstrap, topics.events, [_event(1)])
        wait_until(lambda: len(read_all(broker.bootstrap, topics.predictions)) == 2, 60, "a prediction")
        yield attack
    finally:
        kill_session(job)


def _under(update: Record, key: str) -> Record:
    return Record(update.value, key.encode(), update.headers)


def _event(number: int) -> Record:
    return Record(json.dumps({"id": number, "model": "iris", "data": SETOSA}).encode(), b"key")


@pytest.mark.parametrize(
    ("update", "cause"),
    [
        ("unsigned", "is not signed"),
        ("forged", "signature"),
        ("altered", "signature"),
        ("old", "an old update was sent again"),
    ],
)
def test_an_update_that_is_not_the_keys_own_is_a_dead_letter(
    attacked: Attacked, update: str, cause: str
) -> None:
    assert cause in attacked.causes()[update]


def test_it_changes_nothing(attacked: Attacked) -> None:
    said = read_all(attacked.broker.bootstrap, attacked.topics.predictions)

    assert [json.loads(one.value or b"")["model"]["version"] for one in said] == [1, 1]
