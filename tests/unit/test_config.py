"""What a configuration may say, and how a wrong one is told."""

from pathlib import Path
from typing import Any

import pytest

from jobs.config import HoldConfig, JobConfig, load_config
from udfs.errors import ConfigError
from udfs.remotes import REMOTES
from udfs.remotes.credentials import Credentials
from udfs.scorers import FORMATS


def read(*settings: str) -> JobConfig:
    return load_config(None, settings)


def test_without_a_file_everything_has_its_default() -> None:
    config = load_config(None)

    assert config == JobConfig()
    assert (config.execution, config.delivery) == ("embedded", "exactly-once")


def test_a_file_is_yaml_and_settings_go_over_it(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("name: fraud\nbatching: {max_events: 10, max_bytes: 1MiB}\n")

    config = load_config(path, ["batching.max_events=20"])

    assert (config.name, config.batching.max_events, config.batching.max_bytes) == ("fraud", 20, 1024**2)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("# nothing yet\n")

    assert load_config(tmp_path / "job.yaml") == JobConfig()


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("5min", 300), ("1h", 3600), ("1.5 s", 1.5), ("7", 7)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    hold = read(f"missing_model.hold={text}").missing_model

    assert isinstance(hold, HoldConfig)
    assert hold.hold == seconds


@pytest.mark.parametrize(("text", "size"), [("2048", 2048), ("512KiB", 512 * 1024), ("4 MiB", 4 * 1024**2)])
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert read(f"batching.max_bytes={text}").batching.max_bytes == size


def test_a_model_that_is_missing_may_be_a_dead_letter_at_once() -> None:
    assert read("missing_model=dead-letter").missing_model == "dead-letter"


def test_any_kafka_property_passes_through_with_dots_in_its_name() -> None:
    config = read("kafka.properties[security.protocol]=SSL", "kafka.producer[enable.idempotence]=true")

    assert config.kafka.consumer_properties()["security.protocol"] == "SSL"
    assert config.kafka.producer_properties()["enable.idempotence"] == "true"
    assert "enable.idempotence" not in config.kafka.consumer_properties()


ALICE = "updates.keys.alice.public=A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
BOB = "updates.keys.bob.public=EdoyAfb+YHqNjmZpiR4dMkcAA6kVLHgOJEoKe2oz1nI="


def test_keys_of_signed_updates_are_known_by_their_ids() -> None:
    required = ("name=fraud", "updates.require_signature=true")
    config = read(ALICE, BOB, "updates.keys.bob.models=['fraud-*', iris]", *required)

    verifier = config.verifier()
    assert (verifier.job, verifier.topic, verifier.required) == ("fraud", "ms.control", True)
    assert [(key.id, key.models) for key in verifier.keys.values()] == [
        ("alice", ()),
        ("bob", ("fraud-*", "iris")),
    ]


def test_the_verifier_is_the_jobs_own() -> None:
    verifier = read("name=fraud", "topics.control=fraud.control").verifier()

    assert (verifier.job, verifier.topic) == ("fraud", "fraud.control")


def test_by_default_updates_need_no_signature() -> None:
    verifier = read().verifier()

    assert (verifier.keys, verifier.required) == ({}, False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["updates.require_signature=true"], "updates: require_signature: no update could be signed"),
        (
            [ALICE, "updates.require_signature=true"],
            "name: with updates.require_signature a job needs a name of its own",
        ),
        (["updates.require_signature=1"], "updates.require_signature: expected `bool`"),
        (["updates.require=true"], "updates.require: unknown key"),
        (["updates.keys.alice="], "updates.keys[...]: expected `object`"),
        (["updates.keys.alice.models=[iris]"], "updates.keys[...]: object missing required field `public`"),
        ([ALICE, "updates.keys.alice.model=[iris]"], "updates.keys[...].model: unknown key"),
        ([ALICE, "updates.keys.alice.models=iris"], "updates.keys[...].models: expected `array`"),
        ([ALICE, "updates.keys.alice.models=['fraud *']"], "updates: keys.alice: models: expected a model's"),
        ([ALICE, "updates.keys.bob.public=YWJj"], "updates: keys.bob: public: expected 32 bytes in base64"),
        (["updates.keys.bob.public=no base64"], "updates: keys.bob: public: not base64"),
        ([f"updates.keys.bob.public={'A' * 43}="], "updates: keys.bob: public: not a public key: anybody"),
        ([ALICE.replace("alice", "[a b]")], "updates: keys.a b: 'a b' is no key id"),
        ([ALICE, ALICE.replace("alice", "bob")], "updates: keys.bob: the same key as alice"),
    ],
    ids=lambda one: " ".join(one)[:60] if isinstance(one, list) else "",
)
def test_keys_that_can_not_work_are_told_by_their_path(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(*settings)

    assert str(error.value).startswith(said)


def test_by_default_every_format_may_be_published_of_files_and_of_servers() -> None:
    assert read().models.formats == (*FORMATS, *REMOTES)


@pytest.mark.parametrize("name", sorted(REMOTES))
def test_a_protocol_may_be_the_only_format(name: str) -> None:
    assert read(f"models.formats=[{name}]").models.formats == (name,)


def test_credentials_say_where_secrets_are() -> None:
    bank = "{bearer_env: BANK_TOKEN, ca_file: /etc/bank.pem, headers_env: {x-api-key: BANK_KEY}}"

    config = read(f"offload.credentials.bank={bank}", "offload.credentials[a.b]={bearer_file: /run/token}")

    assert config.offload.credentials == {
        "bank": Credentials(
            bearer_env="BANK_TOKEN", ca_file="/etc/bank.pem", headers_env={"x-api-key": "BANK_KEY"}
        ),
        "a.b": Credentials(bearer_file="/run/token"),
    }


def test_credentials_may_be_bound_to_servers() -> None:
    bank = read("offload.credentials.bank={bearer_env: A, servers: [bank.example], plaintext: true}")
    assert bank.offload.credentials == {
        "bank": Credentials(bearer_env="A", servers=("bank.example",), plaintext=True)
    }


def test_worker_processes_have_a_bound_of_memory() -> None:
    assert read().offload.max_memory == 4 * 1024**3
    assert read("offload.max_memory=512MiB").offload.max_memory == 512 * 1024**2


WRONG = {
    "nmae=x": "nmae: unknown key",
    "batching.max_event=1": "batching.max_event: unknown key",
    "kafka.propertys.a=1": "kafka.propertys: unknown key",
    "batching.max_events=many": "batching.max_events: expected `int`",
    "batching.max_events=0": "batching.max_events: expected `int` >= 1",
    "batching.max_events=1.5": "batching.max_events",
    "batching.max_bytes=4 pounds": "batching.max_bytes: expected a size such as",
    "batching.max_bytes=9GiB": "batching: max_bytes: expected at most",
    "batching.interval=soon": "batching.interval",
    "batching.heartbeat=0": "batching: heartbeat: expected at least",
    "batching.heartbeat=true": "batching.heartbeat: expected a duration",
    "checkpoints.interval=0": "checkpoints: interval: expected at least",
    "artifacts.timeout=0s": "artifacts: timeout: expected at least",
    "artifacts.allow=['ftp://a']": "artifacts: allow:",
    "execution=threads": "execution:",
    "delivery=at-most-once": "delivery:",
    "lost_transactions=ignore": "lost_transactions:",
    "parallelism=-1": "parallelism:",
    "missing_model=drop": "missing_model:",
    "missing_model.holt=3s": "missing_model.holt: unknown key",
    "models.formats=[onxn]": "models: formats: unknown format 'onxn'",
    "models.formats=[rest, soap]": "models: formats: unknown format 'soap'",
    "models.max_loaded=0": "models.max_loaded:",
    "offload.max_memory=1MiB": "offload: max_memory: expected at least",
    "offload.max_memory=much": "offload.max_memory: expected a size such as",
    "offload.credential={}": "offload.credential: unknown key",
    "offload.credentials=bank": "offload.credentials: expected `object`",
    "offload.credentials.bank=t0k3n": "offload.credentials[...]: expected `object`",
    "offload.credentials.bank.bearer=t0k3n": "offload.credentials[...].bearer: unknown key",
    "offload.credentials.bank.bearer_env=1": "offload.credentials[...].bearer_env: expected `str",
    "offload.credentials.bank.servers=['https://b']": "offload.credentials[...]: servers: expected HOST",
    "offload.credentials[a b]={}": "offload: credentials: expected a name of up to 128 letters",
    "offload.credentials[a\n]={}": "offload: credentials: expected a name of up to 128 letters",
    "topics.events=a b": "topics.events:",
    "name=a/b": "name:",
    'name="fraud\\n"': "name:",
    'topics.control="ms.control\\n"': "topics.control:",
    "events.start=middle": "events.start:",
    "kafka=localhost": "kafka:",
}


@pytest.mark.parametrize("setting", WRONG)
def test_a_wrong_key_or_value_is_told_by_its_path(setting: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(setting)

    assert str(error.value).startswith(WRONG[setting])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("batching", "--set batching: expected key=value"),
        ("=1", "--set =1: expected key=value"),
        ("name=[", "name: not YAML"),
    ],
)
def test_a_setting_that_is_none_is_told(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(setting)

    assert str(error.value).startswith(said)


def test_a_setting_below_a_value_is_told() -> None:
    with pytest.raises(ConfigError, match="name is a value, not a group of keys"):
        read("name=x", "name.first=y")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: [", "not YAML"),
        (b"- a\n- b\n", "expected keys and values, got list"),
        (b"\xff\xfe\x00", "not YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as error:
        load_config(path)

    assert str(error.value).startswith(f"{path}: {said}")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "job.yaml")


def test_a_configuration_can_not_be_changed() -> None:
    config: Any = JobConfig()

    with pytest.raises(AttributeError):
        config.name = "other"
