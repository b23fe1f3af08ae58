"""Whatever comes in whatever order, a subtask goes on, and each event ends in exactly one place."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st

from tests.fuzz.examples import JSON_VALUES, NUMBERS, TEXTS, examples
from tests.fuzz.test_fuzz_records import EVENTS, UPDATES, Echo, as_json
from tests.loads import make_serving, plain_load
from udfs.batches import (
    BatchKind,
    Envelope,
    decode_envelope,
    decode_outcomes,
    encode_envelope,
    encode_events,
)
from udfs.errors import ModelLoadError
from udfs.held import HeldEvents
from udfs.missing import MissingPolicies
from udfs.models.catalog import Catalog
from udfs.models.known import KnownCatalog
from udfs.outputs import OutputLimits
from udfs.reports import Place
from udfs.scorers import Options
from udfs.subtask import ScoringSubtask, Turn

EVENTS_TOPIC, CONTROL_TOPIC = "events", "control"

NAMES = st.sampled_from(["m", "m", "iris", "other"]) | TEXTS
VERSIONS = st.integers(1, 3) | st.sampled_from([0, 2**31 - 1, 2**31]) | NUMBERS
MODELS = st.fixed_dictionaries({"name": NAMES, "version": VERSIONS})
TIMES = st.integers(0, 20) | st.sampled_from([2**53, 2**53 + 1, -1])
PUBLICATIONS = st.fixed_dictionaries(
    {
        "type": st.just("publish_model"),
        "model": MODELS,
        "format": st.sampled_from(["echo", "echo", "echo", "other", "../echo"]),
        "artifact": st.just({"sha256": "0" * 64, "inline": "AAAA"}),
    },
    optional={
        "activate": st.booleans(),
        "options": st.sampled_from([{}, {"fails": True}]) | st.dictionaries(TEXTS, JSON_VALUES, max_size=2),
        "checks": st.lists(
            st.fixed_dictionaries(
                {"data": JSON_VALUES, "outputs": JSON_VALUES}, optional={"tolerance": st.floats(0, 1)}
            ),
            max_size=2,
        ),
        "effective_from": TIMES,
    },
)
REMOTES = st.fixed_dictionaries(
    {
        "type": st.just("publish_model"),
        "model": MODELS,
        "format": st.sampled_from(["rest", "open-inference"]),
        "options": st.sampled_from([{"url": "http://127.0.0.1:9"}, {"url": "grpc://a:1", "token": "t"}])
        | st.dictionaries(TEXTS, JSON_VALUES, max_size=2),
    },
    optional={"execution": st.sampled_from(["offload", "inline"]), "effective_from": TIMES},
)
ACTIVATIONS = st.fixed_dictionaries(
    {"type": st.just("activate_model"), "model": MODELS}, optional={"effective_from": TIMES}
)
RETIREMENTS = st.fixed_dictionaries(
    {"type": st.just("retire_model"), "model": MODELS | st.fixed_dictionaries({"name": NAMES})},
    optional={"all": st.booleans(), "effective_from": TIMES},
)
LIKELY_UPDATES = (PUBLICATIONS | REMOTES | ACTIVATIONS | RETIREMENTS).map(as_json)
LIKELY_EVENTS = st.fixed_dictionaries(
    {"data": JSON_VALUES},
    optional={
        "model": st.sampled_from(["m", "m:1", "m:2", "iris", "other:3", "m:" + "9" * 5000]) | TEXTS,
        "id": JSON_VALUES,
    },
).map(as_json)

# Most of what is odd is refused at once: without likely records nothing would ever be served.
GOOD_MODELS = st.fixed_dictionaries({"name": st.sampled_from(["m", "iris"]), "version": st.integers(1, 3)})
GOOD_PUBLICATIONS = st.fixed_dictionaries(
    {
        "type": st.just("publish_model"),
        "model": GOOD_MODELS,
        "format": st.just("echo"),
        "artifact": st.just({"sha256": "0" * 64, "inline": "AAAA"}),
        "options": st.sampled_from([{}, {}, {"fails": True}]),
    }
)
GOOD_UPDATES = (
    GOOD_PUBLICATIONS
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["activate_model", "retire_model"]), "model": GOOD_MODELS},
        optional={"effective_from": st.integers(0, 20)},
    )
).map(as_json)
GOOD_EVENTS = st.fixed_dictionaries(
    {"data": JSON_VALUES}, optional={"model": st.sampled_from(["m", "iris", "m:1", "m:2", "none"])}
).map(as_json)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), GOOD_UPDATES),
        st.tuples(st.just("update"), GOOD_PUBLICATIONS.map(as_json)),
        st.tuples(st.just("update"), LIKELY_UPDATES),
        st.tuples(st.just("update"), UPDATES),
        st.tuples(st.just("events"), st.lists(st.tuples(GOOD_EVENTS, TIMES), min_size=1, max_size=4)),
        st.tuples(st.just("events"), st.lists(st.tuples(LIKELY_EVENTS, TIMES), max_size=4)),
        st.tuples(st.just("events"), st.lists(st.tuples(GOOD_EVENTS | EVENTS, TIMES), max_size=4)),
        st.tuples(st.just("heartbeat"), st.just([])),
        st.tuples(st.just("time"), st.floats(0, 20)),
    ),
    max_size=16,
)


class Sheet:
    """A subtask, and what became of each event and update that it got."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sent = 0
        self.ended: Counter[tuple[str, int]] = Counter()
        self.subtask = make_subtask(lambda: self.seconds)

    def take(self, kind: str, content: Any) -> None:
        match kind:
            case "events":
                self.batch(BatchKind.EVENTS, content)
            case "heartbeat":
                self.batch(BatchKind.HEARTBEAT, [])
            case "time":
                self.seconds += content
            case _:
                offset = sum(topic == CONTROL_TOPIC for topic, _ in self.ended)
                self.ended[CONTROL_TOPIC, offset] = 0
                self.note(self.subtask.on_update(envelope(CONTROL_TOPIC, offset, 0), content))

    def batch(self, kind: BatchKind, content: list[tuple[bytes, int]]) -> None:
        records = []
        for value, time in content:
            records.append((value, envelope(EVENTS_TOPIC, self.sent, min(max(time, -1), 2**53))))
            self.sent += 1
        times = [decode_envelope(record[1]).timestamp for record in records] or [0]
        self.note(self.subtask.on_batch(encode_events(kind, 0, records, min(times), max(times))))

    def note(self, turn: Turn) -> None:
        for outcome in decode_outcomes(turn.outcomes) if turn.outcomes else ():
            source = decode_envelope(outcome.envelope)
            self.ended[source.topic, source.offset] += 1
            event(f"{source.topic}: {outcome.kind.name}")
        for status in turn.statuses:
            msgspec.json.encode(status)
            event(f"status {status.status}")


def envelope(topic: str, offset: int, timestamp: int) -> bytes:
    return encode_envelope(Envelope(topic, 0, offset, timestamp, b"key", False, ()))


def load(format_name: str, artifact: Path, options: Options) -> Echo:
    if options.get("fails"):
        raise ModelLoadError("on purpose")
    return Echo()


def make_subtask(running_time: Any) -> ScoringSubtask:
    serving = make_serving(plain_load(load, ("echo",)), max_loaded=2, max_catalog_bytes=1_000)
    held = HeldEvents(seconds=30, max_events=3, max_bytes=10_000)
    subtask = ScoringSubtask(
        Place("job"),
        serving,
        OutputLimits(10_000, 10_000),
        held,
        MissingPolicies(),
        "m",
        running_time,
        max_batch=(2, 10_000),
    )
    subtask.start(Catalog(), KnownCatalog())
    return subtask


@examples(400)
@given(STEPS)
def test_every_event_ends_once_and_no_record_stops_the_subtask(steps: list[tuple[str, Any]]) -> None:
    sheet = Sheet()
    for kind, content in steps:
        sheet.take(kind, content)
    assert all(count <= 1 for count in sheet.ended.values())
    sheet.batch(BatchKind.END_OF_INPUT, [])
    events = {offset: count for (topic, offset), count in sheet.ended.items() if topic == EVENTS_TOPIC}
    assert events == dict.fromkeys(range(sheet.sent), 1)
    assert all(count <= 1 for count in sheet.ended.values())
    sheet.subtask.close()
