"""`modelstream dead-letters`: see what could not be handled, and send it again."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.options import AsJson, ConfigFile, Settings
from cli.output import say, write_json, write_table
from cli.replayed import Replayed
from connectors.client import Client, Record
from connectors.transactions import Committed, read_committed, transactions
from jobs.config import load_config
from udfs.errors import TopicError
from udfs.json_values import JsonValue
from udfs.records import Header

app = typer.Typer(add_completion=False, no_args_is_help=True)

_LETTERS_A_TRANSACTION = 500
_BYTES_A_TRANSACTION = 16 * 1024 * 1024

Stage = Annotated[str | None, typer.Option(metavar="STAGE", help="Only of this stage: decode, score, ...")]
OfModel = Annotated[str | None, typer.Option("--model", metavar="NAME[:VERSION]", help="Only of this model.")]


@app.callback()
def dead_letters() -> None:
    """See what could not be handled, and send it again."""


@app.command("list")
def list_letters(
    stage: Stage = None,
    model: OfModel = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The newest N.")] = 50,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest last."""
    loaded = load_config(config, settings or ())
    with Client(loaded.kafka.client_settings()) as client:
        letters = client.read_to_end(loaded.topics.dead_letters)
    chosen = sorted((one for one in letters if is_of(one, stage, model)), key=lambda one: one.timestamp or 0)
    if as_json:
        write_json(describe(letter) for letter in chosen[-limit:])
    else:
        write_table([_row(letter) for letter in chosen[-limit:]], "no dead letters")
    if len(chosen) > limit:
        say(f"the newest {limit} of {len(chosen)}; --limit shows more")


@app.command()
def replay(
    stage: Stage = None,
    model: OfModel = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most N.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, once each, to the topics that they came from.

    Each goes with its own key, value, headers and timestamp. The consumer group JOB-replay remembers those
    that were sent, also over --stage and --model. One that was cut to fit its topic is not sent.
    """
    loaded = load_config(config, settings or ())
    topic, group = loaded.topics.dead_letters, f"{loaded.name}-replay"
    with ExitStack() as stack:
        client = stack.enter_context(Client(loaded.kafka.client_settings()))
        letters = client.read_to_end(topic)
        sending = None if dry_run else stack.enter_context(transactions(client, topic, group))
        committed = read_committed(client, topic, group)
        replayed = {number: Replayed.from_text(*one) for number, one in committed.items()}
        chosen = [
            letter
            for letter in letters
            if is_of(letter, stage, model)
            and (again or _offset(letter) not in replayed.get(_partition(letter), ()))
        ][:limit]
        _check_topics(client, chosen)
        for part in _parts(chosen):
            if sending is not None:
                replayed = _with(replayed, part, letters)
                sending.send(
                    [sent for letter in part if (sent := original(letter)) is not None],
                    {
                        number: Committed(replayed[number].next_offset, replayed[number].to_text())
                        for number in {_partition(letter) for letter in part}
                    },
                )
            _report(part, dry_run, as_json)
    _sum_up(chosen, dry_run)


def is_of(letter: Record, stage: str | None, model: str | None) -> bool:
    """Whether a letter has a stage and a model; None for any."""
    named = (letter.header(Header.MODEL) or b"").decode("utf-8", "replace")
    return stage in (None, _text(letter, Header.STAGE)) and (
        model is None or named == model or named.startswith(f"{model}:")
    )


def original(letter: Record) -> tuple[str, Record] | None:
    """What a dead letter was: the topic that it came from, and the record as it was there.

    Returns:
        None where the letter was cut, or does not say where it came from.
    """
    topic = (_text(letter, Header.SOURCE) or "").rpartition("/")[0].rpartition("/")[0]
    if not topic or letter.header(Header.TRUNCATED) is not None:
        return None
    timestamp = _text(letter, Header.TIMESTAMP)
    headers = tuple((name, value) for name, value in letter.headers if not name.startswith(Header.PREFIX))
    return topic, Record(letter.value, letter.key, headers, None if timestamp is None else int(timestamp))


def describe(letter: Record) -> dict[str, JsonValue]:
    """What is known of a dead letter, for programs; its place in its own topic among it."""
    at = datetime.fromtimestamp((letter.timestamp or 0) / 1000, UTC)
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "at": _text(letter, Header.AT) or at.isoformat(timespec="milliseconds"),
        "stage": _text(letter, Header.STAGE),
        "model": _text(letter, Header.MODEL),
        "error": _text(letter, Header.ERROR),
        "message": _text(letter, Header.MESSAGE),
        "source": _text(letter, Header.SOURCE),
        "key": None if letter.key is None else letter.key.decode("utf-8", "replace"),
        "bytes": len(letter.value or b""),
        "cut": letter.header(Header.TRUNCATED) is not None,
    }


def _row(letter: Record) -> dict[str, JsonValue]:
    said = describe(letter)
    return {
        "at": str(said["at"])[:19].replace("T", " "),
        "stage": said["stage"],
        "model": said["model"],
        "source": said["source"],
        "key": said["key"],
        "error": f"{said['error']}: {said['message']}",
    }


def _with(
    replayed: Mapping[int, Replayed], done: Iterable[Record], letters: Iterable[Record]
) -> dict[int, Replayed]:
    """What was replayed, when more letters are done; ``letters`` are all that there are."""
    now = dict(replayed)
    for number in {_partition(letter) for letter in done}:
        of_partition = [_offset(letter) for letter in letters if _partition(letter) == number]
        offsets = [_offset(letter) for letter in done if _partition(letter) == number]
        now[number] = now.get(number, Replayed()).after(offsets, of_partition)
    return now


def _parts(letters: Iterable[Record]) -> Iterator[list[Record]]:
    """Letters in their order, as many at a time as one transaction takes."""
    part: list[Record] = []
    size = 0
    for letter in letters:
        part.append(letter)
        size += len(letter.value or b"")
        if len(part) >= _LETTERS_A_TRANSACTION or size >= _BYTES_A_TRANSACTION:
            yield part
            part, size = [], 0
    if part:
        yield part


def _check_topics(client: Client, letters: Iterable[Record]) -> None:
    topics = {sent[0] for letter in letters if (sent := original(letter)) is not None}
    missing = topics - client.describe_topics(sorted(topics)).keys() if topics else set()
    if missing:
        raise TopicError(f"{', '.join(sorted(missing))}: no such topic, from which dead letters came")


def _report(letters: Iterable[Record], dry_run: bool, as_json: bool) -> None:
    if as_json:
        write_json({**describe(letter), "sent": not dry_run and _can_go(letter)} for letter in letters)
    elif dry_run:
        write_table([_row(letter) for letter in letters if _can_go(letter)], "nothing to replay")


def _sum_up(letters: list[Record], dry_run: bool) -> None:
    left = [letter for letter in letters if not _can_go(letter)]
    say(f"{'would replay' if dry_run else 'replayed'} {len(letters) - len(left)} dead letters")
    for letter in left:
        why = "was cut" if letter.header(Header.TRUNCATED) is not None else f"has no {Header.SOURCE}"
        say(f"not replayed: the dead letter at {_partition(letter)}/{_offset(letter)} {why}")


def _can_go(letter: Record) -> bool:
    return original(letter) is not None


def _text(letter: Record, header: str) -> str | None:
    value = letter.header(header)
    return None if value is None else value.decode("utf-8", "replace")


def _partition(letter: Record) -> int:
    assert letter.partition is not None  # it was read
    return letter.partition


def _offset(letter: Record) -> int:
    assert letter.offset is not None  # it was read
    return letter.offset
