"""The commands of dead letters as programs: what they show, and what they send again."""

import pytest

from connectors.client import Client, Record
from tests.integration.command_line import TIME_MS, CommandLine


def letter(
    value: bytes | None, stage: str, topic: str, *more: tuple[str, bytes], model: str = "iris"
) -> Record:
    return Record(
        value,
        b"key",
        (
            ("trace", b"1"),
            ("ms-source", f"{topic}/0/7".encode()),
            ("ms-timestamp", b"%d" % TIME_MS),
            ("ms-stage", stage.encode()),
            ("ms-error", b"SomeError"),
            ("ms-message", b"why"),
            ("ms-model", model.encode()),
            ("ms-at", b"2026-11-23T10:00:00.000+00:00"),
            *more,
        ),
    )


@pytest.fixture
def letters(modelstream: CommandLine) -> list[Record]:
    """Dead letters of several stages, on their topic; one was cut, one came from the control topic."""
    events = modelstream.topics.events
    made = [
        letter(b"first", "score", events),
        letter(b"second", "decode", events),
        letter(None, "decode", events),
        letter(b"cut", "score", events, ("ms-truncated", b"5000")),
        letter(b"update", "update", modelstream.topics.control),
        letter(b"last", "score", events, model="rose:2"),
    ]
    modelstream.send(modelstream.topics.dead_letters, made)
    return made


def values(modelstream: CommandLine) -> list[bytes | None]:
    return [record.value for record in modelstream.read(modelstream.topics.events)]


def test_dead_letters_are_listed_with_why(modelstream: CommandLine, letters: list[Record]) -> None:
    rows = modelstream.json("dead-letters", "list", "--stage", "score")

    assert [(row["model"], row["bytes"], row["cut"]) for row in rows] == [
        ("iris", 5, False),
        ("iris", 3, True),
        ("rose:2", 4, False),
    ]
    assert (rows[0]["error"], rows[0]["message"]) == ("SomeError", "why")
    assert rows[0]["source"] == f"{modelstream.topics.events}/0/7"


def test_the_newest_dead_letters_are_listed(modelstream: CommandLine, letters: list[Record]) -> None:
    assert [row["offset"] for row in modelstream.json("dead-letters", "list", "--limit", "2")] == [4, 5]


def test_replay_sends_the_records_that_were_to_where_they_came_from(
    modelstream: CommandLine, letters: list[Record]
) -> None:
    done = modelstream("dead-letters", "replay")

    assert (done.returncode, done.stdout) == (0, "")
    sent = modelstream.read(modelstream.topics.events)
    assert [record.value for record in sent] == [b"first", b"second", None, b"last"]
    assert {(record.key, record.headers, record.timestamp) for record in sent} == {
        (b"key", (("trace", b"1"),), TIME_MS)
    }
    assert [record.value for record in modelstream.read(modelstream.topics.control)] == [b"update"]


def test_a_dead_letter_that_was_cut_is_not_sent_and_said(
    modelstream: CommandLine, letters: list[Record]
) -> None:
    done = modelstream("dead-letters", "replay")

    assert done.stderr.splitlines() == [
        "replayed 5 dead letters",
        "not replayed: the dead letter at 0/3 was cut",
    ]


def test_replay_sends_once_across_runs_and_stages(modelstream: CommandLine, letters: list[Record]) -> None:
    modelstream("dead-letters", "replay", "--stage", "decode")
    assert values(modelstream) == [b"second", None]

    modelstream("dead-letters", "replay", "--model", "rose")
    assert values(modelstream) == [b"second", None, b"last"]

    modelstream("dead-letters", "replay", "--limit", "1")
    modelstream("dead-letters", "replay")
    modelstream("dead-letters", "replay")
    assert values(modelstream) == [b"second", None, b"last", b"first"]

    modelstream.send(modelstream.topics.dead_letters, [letter(b"new", "score", modelstream.topics.events)])
    modelstream("dead-letters", "replay")
    assert values(modelstream) == [b"second", None, b"last", b"first", b"new"]


def test_replay_again_sends_what_was_sent(modelstream: CommandLine, letters: list[Record]) -> None:
    modelstream("dead-letters", "replay", "--stage", "decode")

    modelstream("dead-letters", "replay", "--stage", "decode", "--again")

    assert values(modelstream) == [b"second", None] * 2


def test_a_dry_run_sends_and_remembers_nothing(modelstream: CommandLine, letters: list[Record]) -> None:
    rows = modelstream.json("dead-letters", "replay", "--dry-run")

    assert [row["sent"] for row in rows] == [False] * 6
    assert values(modelstream) == []
    modelstream("dead-letters", "replay", "--stage", "decode")
    assert values(modelstream) == [b"second", None]


def test_replay_to_a_topic_that_is_gone_sends_nothing(modelstream: CommandLine) -> None:
    made = [letter(b"a", "score", modelstream.topics.events), letter(b"b", "score", "gone")]
    modelstream.send(modelstream.topics.dead_letters, made)

    assert "gone: no such topic" in modelstream.refused("dead-letters", "replay")
    assert values(modelstream) == []


def test_what_an_open_transaction_wrote_is_not_shown(modelstream: CommandLine) -> None:
    with Client({"bootstrap_servers": modelstream.bootstrap}) as client:
        producer = client.new_producer(transactional_id=modelstream.job)
        try:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send(modelstream.topics.dead_letters, b"open").get(timeout=30)

            assert modelstream.json("dead-letters", "list") == []
        finally:
            producer.abort_transaction()
            producer.close()
