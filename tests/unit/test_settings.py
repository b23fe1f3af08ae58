"""What each part of the graph is told of the configuration."""

import pickle

import pytest

from connectors.kafka import ControlSettings, EventsSettings, OutcomesSettings, StatusesSettings
from jobs.config import JobConfig, load_config
from jobs.settings import (
    batching_settings,
    checkpoint_interval_ms,
    control_settings,
    events_settings,
    outcomes_settings,
    serving_settings,
    statuses_settings,
)
from udfs.offload.opening import OffloadSettings
from udfs.outputs import OutputLimits
from udfs.records import ModelId
from udfs.remotes.credentials import Credentials

LIMITS = OutputLimits(prediction_bytes=1000, dead_letter_bytes=2000)
KAFKA = (
    "kafka.bootstrap_servers=broker:9093",
    "kafka.properties[security.protocol]=SSL",
    "kafka.consumer[fetch.min.bytes]=7",
    "kafka.producer[linger.ms]=3",
)
CONSUMER = {"bootstrap.servers": "broker:9093", "security.protocol": "SSL", "fetch.min.bytes": "7"}
PRODUCER = {"bootstrap.servers": "broker:9093", "security.protocol": "SSL", "linger.ms": "3"}


def config(*settings: str) -> JobConfig:
    return load_config(None, settings)


def test_events_are_read_by_the_consumers_properties() -> None:
    asked = config(*KAFKA, "topics.events=in", "events.group_id=readers", "events.start=latest")

    assert events_settings(asked) == EventsSettings(
        properties=CONSUMER, topics=["in"], group_id="readers", start="latest", bounded=False
    )


def test_without_a_group_of_its_own_a_job_reads_as_its_name() -> None:
    assert events_settings(config("name=fraud")).group_id == "fraud"


@pytest.mark.parametrize("bounded", [True, False])
def test_a_bounded_run_bounds_events_and_updates_alike(bounded: bool) -> None:
    asked = config(f"events.bounded={bounded}")

    assert events_settings(asked).bounded is bounded
    assert control_settings(asked).bounded is bounded


def test_updates_are_read_by_the_consumers_properties() -> None:
    asked = config(*KAFKA, "topics.control=models")

    assert control_settings(asked) == ControlSettings(properties=CONSUMER, topic="models", bounded=False)


def test_outcomes_are_written_by_the_producers_properties() -> None:
    asked = config(*KAFKA, "topics.predictions=out", "topics.dead_letters=dead", "delivery=at-least-once")

    assert outcomes_settings(asked) == OutcomesSettings(
        properties=PRODUCER,
        predictions="out",
        dead_letters="dead",
        delivery="at-least-once",
        transactional_id_prefix="modelstream-modelstream",
    )


@pytest.mark.parametrize(("lost", "accepts"), [("fail", False), ("accept", True)])
def test_lost_transactions_are_accepted_where_that_is_asked_for(lost: str, accepts: bool) -> None:
    assert outcomes_settings(config(f"lost_transactions={lost}")).accept_lost_transactions is accepts


def test_two_jobs_have_transactions_of_their_own() -> None:
    one, other = (outcomes_settings(config(f"name={name}")) for name in ("fraud", "churn"))

    assert one.transactional_id_prefix != other.transactional_id_prefix


def test_statuses_are_written_by_the_producers_properties() -> None:
    asked = config(*KAFKA, "topics.model_status=status")

    assert statuses_settings(asked) == StatusesSettings(properties=PRODUCER, topic="status")


def test_a_batch_is_bounded_in_events_and_bytes() -> None:
    settings = batching_settings(config("batching.max_events=10", "batching.max_bytes=2MiB"))

    assert (settings.max_events, settings.max_bytes) == (10, 2 * 1024**2)


@pytest.mark.parametrize(("execution", "interval_ms"), [("embedded", 5), ("process", 10)])
def test_a_process_beside_flink_is_sent_half_as_many_batches(execution: str, interval_ms: int) -> None:
    assert batching_settings(config(f"execution={execution}")).interval_ms == interval_ms


@pytest.mark.parametrize("execution", ["embedded", "process"])
@pytest.mark.parametrize(("asked", "interval_ms"), [("0", 0), ("2ms", 2), ("1.5 s", 1500), ("5min", 300_000)])
def test_the_interval_that_is_asked_for_holds_however_python_runs(
    execution: str, asked: str, interval_ms: int
) -> None:
    settings = batching_settings(config(f"execution={execution}", f"batching.interval={asked}"))

    assert settings.interval_ms == interval_ms


def test_the_heartbeat_is_in_milliseconds() -> None:
    assert batching_settings(config("batching.heartbeat=0.25")).heartbeat_ms == 250


def test_a_subtask_is_told_the_bounds_of_what_it_keeps() -> None:
    asked = config(
        *("models.max_loaded=3", "catalog.max_bytes=5MiB", "catalog.max_periods=7"),
        *("models.default=iris", "name=fraud"),
    )
    settings = serving_settings(asked, LIMITS)

    assert (settings.job, settings.default_model) == ("fraud", "iris")
    assert (settings.loaded.versions, settings.max_catalog_bytes) == (3, 5 * 1024**2)
    assert settings.max_periods == 7
    assert settings.limits == LIMITS


def test_only_the_formats_that_are_named_may_be_published() -> None:
    assert serving_settings(config("models.formats=[pfa, onnx]"), LIMITS).formats == ("pfa", "onnx")


def test_events_without_their_model_are_held_for_a_time_and_within_bounds() -> None:
    asked = config("missing_model={hold: 2min, max_events: 5, max_bytes: 3KiB}")

    assert serving_settings(asked, LIMITS).hold == (120.0, 5, 3072)


def test_each_model_has_its_policy_for_when_it_is_missing() -> None:
    asked = config("missing_model=dead-letter", "missing_models={a: hold, b: {fallback: 'c:2'}}")
    missing = serving_settings(asked, LIMITS).missing

    assert [missing.of(name) for name in ("a", "a:7", "b", "other")] == [
        *("hold", "hold"),
        ModelId("c", 2),
        "dead-letter",
    ]
    assert [missing.holds(name) for name in ("a", "b", "other")] == [True, False, False]


def test_blocking_loads_have_no_process_of_their_own() -> None:
    blocking, usual = (serving_settings(config(*one), LIMITS) for one in (["loading=blocking"], []))

    assert (blocking.loads_beside, blocking.loading.trial_process) == (False, False)
    assert (usual.loads_beside, usual.loading.trial_process) == (True, True)


def test_artifacts_come_from_where_the_configuration_says() -> None:
    asked = config(
        "artifacts.cache_folder=kept",
        "artifacts.max_bytes=1MiB",
        "artifacts.cache_max_bytes=2MiB",
        "artifacts.timeout=1500ms",
        "artifacts.allow=['https://models.example/', 's3://bucket/']",
        "artifacts.allow_private_addresses=[models.example]",
        "artifacts.s3={endpoint_url: 'https://s3.example'}",
    )
    artifacts = serving_settings(asked, LIMITS).artifacts

    assert (artifacts.folder, artifacts.timeout) == ("kept", 1.5)
    assert (artifacts.max_bytes, artifacts.cache_max_bytes) == (1024**2, 2 * 1024**2)
    assert artifacts.allow == ("https://models.example/", "s3://bucket/")
    assert artifacts.allow_private_addresses == ("models.example",)
    assert artifacts.s3 == {"endpoint_url": "https://s3.example"}


def test_unless_configured_no_artifact_comes_from_elsewhere() -> None:
    artifacts = serving_settings(config(), LIMITS).artifacts

    assert (artifacts.allow, artifacts.allow_private_addresses) == ((), ())


def test_servers_are_asked_with_the_credentials_of_the_configuration() -> None:
    asked = config("offload.credentials.bank={bearer_env: BANK_TOKEN}", "offload.max_memory=1GiB")
    offload = serving_settings(asked, LIMITS).offload

    assert offload == OffloadSettings({"bank": Credentials(bearer_env="BANK_TOKEN")}, 1024**3)


def test_what_a_subtask_is_told_reaches_a_worker_as_it_is() -> None:
    settings = serving_settings(config("missing_model.hold=1s", "offload.credentials.a={}"), LIMITS)

    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(("delivery", "milliseconds"), [("exactly-once", 1000), ("at-least-once", 10_000)])
def test_checkpoints_are_rare_where_no_outcome_waits_for_one(delivery: str, milliseconds: int) -> None:
    assert checkpoint_interval_ms(config(f"delivery={delivery}")) == milliseconds


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_the_checkpoint_interval_that_is_asked_for_holds_with_either_delivery(delivery: str) -> None:
    assert checkpoint_interval_ms(config(f"delivery={delivery}", "checkpoints.interval=3s")) == 3000
