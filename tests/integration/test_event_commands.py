"""The commands of events as programs: what they send, and what they show of predictions."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from connectors.client import Record
from devtools import ROOT
from tests.integration.command_line import TIME_MS, CommandLine
from udfs.records import Prediction, ServedModel

RFC_3339 = datetime.fromtimestamp(TIME_MS / 1000, UTC).isoformat()


def test_events_are_sent_as_they_are_with_key_and_time(modelstream: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = [
        b'{"id": 1, "data": {"customer": "c-1"}, "at": %d}' % TIME_MS,
        b'{"id": 2,  "data": {"customer": 7}, "at": "%s"}' % RFC_3339.encode(),
    ]
    file.write_bytes(b"\n\n".join(lines) + b"\n")

    done = modelstream("events", "send", str(file), "--key", "data.customer", "--timestamp", "at")

    assert (done.returncode, done.stdout) == (0, "")
    assert f"sent 2 events to {modelstream.topics.events}" in done.stderr
    assert [(one.value, one.key, one.timestamp) for one in modelstream.read(modelstream.topics.events)] == [
        (lines[0], b"c-1", TIME_MS),
        (lines[1], b"7", TIME_MS),
    ]


def test_events_come_from_standard_input_without_a_key(modelstream: CommandLine) -> None:
    assert modelstream("events", "send", "-", stdin=b'{"id": 1}').returncode == 0

    assert [(one.value, one.key) for one in modelstream.read(modelstream.topics.events)] == [
        (b'{"id": 1}', None)
    ]


def test_a_line_that_is_not_json_is_named_and_those_before_it_were_sent(modelstream: CommandLine) -> None:
    line = modelstream.refused("events", "send", "-", stdin=b'{"id": 1}\n\n{"id": 2\n{"id": 3}\n')

    assert "line 3" in line
    assert "1 events before it were sent" in line
    assert [one.value for one in modelstream.read(modelstream.topics.events)] == [b'{"id": 1}']


def predict(number: int, model: str = "iris") -> Record:
    made = Prediction(number, ServedModel(model, 1, "0" * 64), {"label": "setosa"})
    return Record(msgspec.json.encode(made), b"k", (("ms-source", b"events/0/%d" % number),))


def test_predictions_of_one_model_are_read_from_the_beginning(modelstream: CommandLine) -> None:
    made = [predict(1), Record(b"no prediction"), predict(2, "rose"), predict(3), predict(4)]
    modelstream.send(modelstream.topics.predictions, made)

    rows = modelstream.json("events", "tail", "--from-beginning", "--limit", "2", "--model", "iris")

    assert [(row["id"], row["key"], row["source"]) for row in rows] == [
        (1, "k", "events/0/1"),
        (3, "k", "events/0/3"),
    ]


def test_a_reader_that_goes_away_is_no_error(modelstream: CommandLine) -> None:
    modelstream.send(modelstream.topics.predictions, [predict(number) for number in range(5000)])
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        modelstream.arguments("events", "tail", "--from-beginning"),
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=240,
        check=False,
    )

    os.close(writing)
    assert done.stderr == b""
