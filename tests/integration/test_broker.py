"""The broker of devtools: what everything else is tested on."""

import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import psutil
import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from connectors.client import Record
from devtools import ROOT
from devtools.broker import Broker
from devtools.processes import ProcessError
from devtools.topics import create_topic, read_all, send
from jobs.topics import CONTROL_SETTINGS
from tests.conftest import MakeTopics
from tests.waiting import wait_until


def test_a_record_is_read_as_it_was_sent(broker: Broker, topics: MakeTopics) -> None:
    events = topics().events
    sent = Record(b"\x00value", b"key", (("trace", b"\xff"), ("trace", b"2")), timestamp=1_700_000_000_000)
    send(broker.bootstrap, events, [sent])
    assert read_all(broker.bootstrap, events) == [sent._replace(partition=0, offset=0)]


def test_a_tombstone_is_read_as_a_null_value(broker: Broker, topics: MakeTopics) -> None:
    events = topics().events
    send(broker.bootstrap, events, [Record(None, b"key")])
    assert [record.value for record in read_all(broker.bootstrap, events)] == [None]


def test_order_is_kept_within_a_partition(broker: Broker, topics: MakeTopics) -> None:
    events = topics(partitions=2).events
    values = [str(number).encode() for number in range(2000)]
    send(broker.bootstrap, events, [Record(value, partition=1) for value in values])
    assert [record.value for record in read_all(broker.bootstrap, events)] == values


def test_topics_of_two_tests_are_different(topics: MakeTopics) -> None:
    assert set(msgspec.structs.astuple(topics())).isdisjoint(msgspec.structs.astuple(topics()))


def test_a_topic_takes_ten_megabytes_where_it_allows_them(broker: Broker, topics: MakeTopics) -> None:
    events = topics(configs={"events": {"max.message.bytes": "20000000"}}).events
    send(broker.bootstrap, events, [bytes(10_000_000)])
    (record,) = read_all(broker.bootstrap, events)
    assert record.value == bytes(10_000_000)


def test_the_control_topic_loses_nothing(broker: Broker, topics: MakeTopics) -> None:
    control = topics(partitions=3).control
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        partitions = admin.describe_topics([control])[0]["partitions"]
        described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, control)])
    configs = {name: config["value"] for name, config in described["topic"][control].items()}
    assert (len(partitions), configs) == (1, CONTROL_SETTINGS)


def test_what_was_written_survives_a_crash_of_the_broker(tmp_path: Path) -> None:
    with Broker.start(tmp_path) as own:
        create_topic(own.bootstrap, "kept")
        send(own.bootstrap, "kept", [b"one"])
        own.kill()
        own.restart()
        assert [record.value for record in read_all(own.bootstrap, "kept")] == [b"one"]


def test_a_stopped_broker_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    with Broker.start(tmp_path) as own:
        process = psutil.Process(own.pid)
    assert not process.is_running()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_property_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"can't be formatted:(?s:.*)num\.io\.threads"):
        Broker.start(tmp_path, properties={"num.io.threads": "none"})
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProcessError, match=r"the Kafka broker ended with status 1(?s:.*)in use"):
            Broker.start(tmp_path, port=port)
    assert list(tmp_path.iterdir()) == []


def test_a_broker_dies_with_whoever_started_it(tmp_path: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from devtools.broker import Broker
        broker = Broker.start(Path(sys.argv[1]))
        print(broker.pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not process.is_running(), what="the end of the broker")
