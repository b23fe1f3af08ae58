"""What is checked, and read, before the job starts: topics, their limits, the control topic."""

from collections.abc import Mapping

from connectors import kafka
from connectors.kafka import TopicDescription
from jobs.config import JobConfig
from jobs.topics import CONTROL_SETTINGS
from udfs.errors import ConfigError
from udfs.models.known import KnownCatalog, fold
from udfs.outputs import SMALLEST_LIMIT, OutputLimits


def check_topics(config: JobConfig) -> OutputLimits:
    """Look at the job's topics.

    Returns:
        What the output topics and the producer take.

    Raises:
        ConfigError: the broker can't be reached, a topic is missing, or the control topic could lose
            or reorder models.
    """
    names = {field: str(getattr(config.topics, field)) for field in config.topics.__struct_fields__}
    topics = kafka.describe_topics(config.kafka.consumer_properties(), list(names.values()))
    missing = [f"topics.{field} ({name})" for field, name in names.items() if name not in topics]
    if missing:
        raise ConfigError(f"{', '.join(missing)}: no such topic in Kafka at {config.kafka.bootstrap_servers}")
    _check_control(config, topics[config.topics.control])
    predictions, dead_letters = topics[config.topics.predictions], topics[config.topics.dead_letters]
    _check_output("topics.predictions", config.topics.predictions, predictions)
    _check_output("topics.dead_letters", config.topics.dead_letters, dead_letters)
    producer = kafka.producer_properties(config.kafka.producer_properties())
    stamps_itself = predictions.settings.get("message.timestamp.type") == "LogAppendTime"
    dead_letter_bytes = _largest_record(dead_letters, producer)
    if dead_letter_bytes < SMALLEST_LIMIT:
        raise ConfigError(
            f"topics.dead_letters ({config.topics.dead_letters}): takes records of {dead_letter_bytes} bytes "
            f"(max.message.bytes, max.request.size); dead letters need {SMALLEST_LIMIT}"
        )
    return OutputLimits(
        prediction_bytes=_largest_record(predictions, producer),
        dead_letter_bytes=dead_letter_bytes,
        ahead_ms=None if stamps_itself else _bound(predictions, "message.timestamp.after.max.ms"),
        behind_ms=None if stamps_itself else _bound(predictions, "message.timestamp.before.max.ms"),
    )


def read_catalog(config: JobConfig) -> KnownCatalog:
    """Read the control topic to the end that it has now, and fold it chunk by chunk.

    Raises:
        ConfigError: it can't be read.
    """
    known = KnownCatalog()
    for contents in kafka.read_topic_to_end(config.kafka.consumer_properties(), config.topics.control):
        known = fold(
            *(contents.records, contents.next_offset, config.catalog.max_bytes, known, config.verifier()),
            max_periods=config.catalog.max_periods,
        )
    return known


def _check_control(config: JobConfig, control: TopicDescription) -> None:
    name = f"topics.control ({config.topics.control})"
    if control.partitions != 1:
        raise ConfigError(
            f"{name}: has {control.partitions} partitions; model updates need one, whose order is the order"
        )
    if config.catalog.allow_unsafe_control_topic:
        return
    for setting, value in CONTROL_SETTINGS.items():
        actual = control.settings.get(setting)
        if actual != value:
            raise ConfigError(
                f"{name}: {setting}={actual} can lose models; set it to {value}, "
                f"or allow it with catalog.allow_unsafe_control_topic: true"
            )


def _check_output(key: str, name: str, topic: TopicDescription) -> None:
    if "compact" in topic.settings.get("cleanup.policy", ""):
        raise ConfigError(
            f"{key} ({name}): cleanup.policy={topic.settings['cleanup.policy']} refuses records without a "
            f"key, which events may be; set it to delete"
        )


def _largest_record(topic: TopicDescription, producer: Mapping[str, str]) -> int:
    return min(int(topic.settings["max.message.bytes"]), int(producer["max.request.size"]))


def _bound(topic: TopicDescription, setting: str) -> int | None:
    milliseconds = int(topic.settings.get(setting, 2**63 - 1))
    return None if milliseconds >= 2**62 else milliseconds
