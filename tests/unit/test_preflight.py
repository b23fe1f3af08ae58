"""What the job refuses before it starts."""

from collections.abc import Iterator, Mapping

import pytest

from connectors import kafka
from connectors.kafka import TopicContents, TopicDescription
from jobs.config import JobConfig, TopicsConfig, load_config
from jobs.preflight import check_topics, read_catalog
from udfs.batches import BatchKind, Envelope, decode_events, encode_envelope, encode_events
from udfs.errors import ConfigError
from udfs.models.timeline import Activation
from udfs.models.updates import Artifact, PublishModel, encode_update
from udfs.records import ModelId

USUAL = {"max.message.bytes": "1048588", "message.timestamp.type": "CreateTime"}
CONTROL = {**USUAL, "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
TOPICS = TopicsConfig()


def describe(
    monkeypatch: pytest.MonkeyPatch, changes: Mapping[str, TopicDescription | None] | None = None
) -> None:
    """Stand in for the cluster: the five topics as they should be, but for the changes."""
    described = {name: TopicDescription(1, USUAL) for name in vars_of(TOPICS)}
    described[TOPICS.control] = TopicDescription(1, CONTROL)
    for name, change in (changes or {}).items():
        if change is None:
            del described[name]
        else:
            described[name] = change
    monkeypatch.setattr(kafka, "describe_topics", lambda properties, names: described)


def vars_of(topics: TopicsConfig) -> list[str]:
    return [getattr(topics, field) for field in topics.__struct_fields__]


def test_topics_as_they_should_be_give_the_limits_of_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**USUAL, "max.message.bytes": "5000", "message.timestamp.after.max.ms": "3600000"}
    describe(monkeypatch, {TOPICS.predictions: TopicDescription(1, small)})

    limits = check_topics(JobConfig())

    assert (limits.prediction_bytes, limits.dead_letter_bytes) == (5000, 1048588)
    assert (limits.ahead_ms, limits.behind_ms) == (3_600_000, None)


def test_a_topic_that_stamps_records_itself_refuses_no_timestamp(monkeypatch: pytest.MonkeyPatch) -> None:
    stamping = {**USUAL, "message.timestamp.type": "LogAppendTime", "message.timestamp.after.max.ms": "1"}
    describe(monkeypatch, {TOPICS.predictions: TopicDescription(1, stamping)})

    assert check_topics(JobConfig()).ahead_ms is None


def test_every_missing_topic_is_named_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    describe(monkeypatch, {TOPICS.events: None, TOPICS.model_status: None})

    with pytest.raises(ConfigError, match=r"topics\.events \(ms\.events\), topics\.model_status"):
        check_topics(JobConfig())


@pytest.mark.parametrize("field", ["predictions", "dead_letters"])
def test_an_output_topic_that_refuses_records_without_a_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    compacted = {**USUAL, "cleanup.policy": "compact"}
    describe(monkeypatch, {getattr(TOPICS, field): TopicDescription(1, compacted)})

    with pytest.raises(ConfigError, match=rf"topics\.{field} .*cleanup\.policy=compact"):
        check_topics(JobConfig())


def test_a_topic_too_small_for_dead_letters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**USUAL, "max.message.bytes": "9000"}
    describe(monkeypatch, {TOPICS.dead_letters: TopicDescription(1, small)})

    with pytest.raises(ConfigError, match=r"topics\.dead_letters .*takes records of 9000 bytes"):
        check_topics(JobConfig())


def test_a_control_topic_with_two_partitions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    describe(monkeypatch, {TOPICS.control: TopicDescription(2, CONTROL)})

    with pytest.raises(ConfigError, match="has 2 partitions"):
        check_topics(JobConfig())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("cleanup.policy", "compact"), ("retention.ms", "604800000"), ("retention.bytes", "1000")],
)
def test_a_control_topic_that_can_lose_models_is_refused_unless_allowed(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    describe(monkeypatch, {TOPICS.control: TopicDescription(1, {**CONTROL, setting: value})})

    with pytest.raises(ConfigError, match=f"{setting}={value} can lose models"):
        check_topics(JobConfig())
    check_topics(load_config(None, ["catalog.allow_unsafe_control_topic=true"]))


def test_a_control_topic_of_many_chunks_is_folded_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def chunks(properties: Mapping[str, str], topic: str) -> Iterator[TopicContents]:
        for offset in range(3):
            envelope = encode_envelope(Envelope(topic, 0, offset, 0, None, False, ()))
            batch = encode_events(BatchKind.EVENTS, 0, [(b"junk %d" % offset, envelope)])
            yield TopicContents(decode_events(batch), offset + 1)

    monkeypatch.setattr(kafka, "read_topic_to_end", chunks)

    known = read_catalog(JobConfig())

    assert known.next_offset == 3
    assert [one.value for one in known.refused] == [b"junk 0", b"junk 1", b"junk 2"]


def test_the_catalog_of_the_start_has_as_many_periods_as_the_configuration_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def updates(properties: Mapping[str, str], topic: str) -> Iterator[TopicContents]:
        records = []
        for version in (1, 2, 3):
            artifact = Artifact("0" * 64, inline=b"")
            update = PublishModel(ModelId("m", version), "onnx", artifact, effective_from=version)
            envelope = encode_envelope(Envelope(topic, 0, version, 0, None, False, ()))
            records.append((encode_update(update), envelope))
        yield TopicContents(decode_events(encode_events(BatchKind.EVENTS, 0, records)), 4)

    monkeypatch.setattr(kafka, "read_topic_to_end", updates)

    known = read_catalog(load_config(None, ["catalog.max_periods=2"]))

    assert known.catalog.models["m"].timeline == (Activation(2, 2), Activation(3, 3))
