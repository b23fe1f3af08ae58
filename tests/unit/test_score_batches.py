"""What the Flink function keeps in broadcast state and starts with, told by a context that is not Flink's."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from pyflink.common import Row
from pyflink.datastream.state import ListStateDescriptor

from jobs.config import JobConfig, KeyConfig, UpdatesConfig, load_config
from jobs.settings import serving_settings
from tests.unit.test_metrics import Group
from udfs import worker
from udfs.batches import BatchKind, Envelope, decode_events, encode_envelope, encode_events
from udfs.models.catalog import Catalog, Model, apply
from udfs.models.catalog_state import decode_model, encode_model
from udfs.models.known import KnownCatalog, fold
from udfs.models.signatures import SigningKey
from udfs.models.updates import Artifact, ModelUpdate, PublishModel, encode_update
from udfs.outputs import OutputLimits
from udfs.records import ModelId
from udfs.score_batches import ScoreBatches

ALICE = SigningKey.new("alice")
TRUSTED = UpdatesConfig(require_signature=True, keys={"alice": KeyConfig(public=ALICE.public())})
OLD = Path(__file__).parent / "states" / "schema-2"


class State(dict[str, str]):
    """A map state."""

    def put(self, key: str, value: str) -> None:
        self[key] = value

    def remove(self, key: str) -> None:
        del self[key]


class Texts:
    """A list state."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def get(self) -> list[str]:
        return self.texts

    def update(self, texts: list[str]) -> None:
        self.texts = texts

    def clear(self) -> None:
        self.texts = []


class Context:
    """A function's runtime context, and that of its calls."""

    def __init__(self, broadcast: State) -> None:
        self._broadcast = broadcast
        self.keyed: dict[str, Texts] = {}

    def get_broadcast_state(self, descriptor: object) -> State:
        return self._broadcast

    def get_list_state(self, descriptor: ListStateDescriptor) -> Texts:
        return self.keyed.setdefault(descriptor.get_name(), Texts())

    def get_metrics_group(self) -> Group:
        return Group()

    def get_index_of_this_subtask(self) -> int:
        return 0

    def get_number_of_parallel_subtasks(self) -> int:
        return 1

    def get_attempt_number(self) -> int:
        return 0


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobConfig:
    monkeypatch.setattr(worker, "settle_memory", lambda: None)
    return load_config(None, ["name=job", "models.formats=[]", f"artifacts.cache_folder={tmp_path}"])


@contextmanager
def started(
    config: JobConfig, known: KnownCatalog, state: State, keyed: Mapping[str, Texts] = {}
) -> Iterator[tuple[ScoreBatches, Context]]:
    function = ScoreBatches(known, serving_settings(config, OutputLimits(10_000, 10_000)))
    context = Context(state)
    context.keyed.update(keyed)
    function.open(context)
    try:
        list(function.process_element(Row(encode_events(BatchKind.HEARTBEAT, 0, [])), context))
        yield function, context
    finally:
        function.close()


def publish(name: str, version: int, second: int = 1) -> PublishModel:
    artifact = Artifact(hashlib.sha256(b"model").hexdigest(), inline=b"model")
    occurred_on = f"2026-11-24T12:00:{second:02}Z"
    return PublishModel(ModelId(name, version), "onnx", artifact, occurred_on=occurred_on)


def record(update: ModelUpdate, offset: int, key: SigningKey | None = None) -> tuple[bytes, bytes]:
    value = encode_update(update)
    headers = key.sign("job", "ms.control", value) if key else ()
    return value, encode_envelope(Envelope("ms.control", 0, offset, 0, b"m", False, headers))


def follow(function: ScoreBatches, context: Context, value: bytes, envelope: bytes) -> None:
    list(function.process_broadcast_element(Row(envelope, value), context))


def state_of(*updates: ModelUpdate) -> State:
    catalog = Catalog()
    for offset, update in enumerate(updates):
        catalog = apply(catalog, update, offset, max_bytes=1000)
    return State({"": str(catalog.offset), **{name: text(model) for name, model in catalog.models.items()}})


def text(model: Model) -> str:
    return encode_model(model).decode()


def test_the_state_has_every_model_after_an_update(config: JobConfig) -> None:
    state = State()

    with started(config, KnownCatalog(), state) as (function, context):
        follow(function, context, *record(publish("m", 1), 0))
        follow(function, context, *record(publish("n", 1), 1))

    assert (set(state), state[""]) == ({"", "m", "n"}, "1")


def test_a_model_that_is_trusted_no_more_leaves_the_state_and_stays_away(config: JobConfig) -> None:
    signed = JobConfig(name="job", updates=TRUSTED, models=config.models, artifacts=config.artifacts)
    state = state_of(publish("evil", 1), publish("good", 1))
    topic = [record(publish("evil", 1), 0), record(publish("good", 1), 1, ALICE)]
    known = fold(
        decode_events(encode_events(BatchKind.EVENTS, 0, topic)), 2, 1000, verifier=signed.verifier()
    )

    with started(signed, known, state) as (function, context):
        follow(function, context, *record(publish("good", 2, second=2), 2, ALICE))

    assert state.keys() == {"", "good"}
    with started(signed, known, state) as (function, _):
        assert function._subtask.catalog.models.keys() == {"good"}


def test_the_first_update_after_a_start_writes_the_state_anew(config: JobConfig) -> None:
    state = State({"": "14", "iris": (OLD / "iris.json").read_text()})
    restored = decode_model(state["iris"].encode())

    with started(config, KnownCatalog(), state) as (function, context):
        follow(function, context, *record(publish("m", 1), 15))

    assert state["iris"] == text(restored)


def test_the_keyed_state_is_adopted_and_written_anew_before_each_checkpoint(config: JobConfig) -> None:
    staged = msgspec.structs.replace(publish("m", 1), activate=False)
    served = {"versions": [{"name": "m", "version": 1, "sha256": staged.identity()}], "schema": 1}
    keyed = {
        "highest-event-times": Texts('{"m":7}'),
        "served-versions": Texts(msgspec.json.encode(served).decode()),
    }
    before = {name: one.texts for name, one in keyed.items()}

    with started(config, KnownCatalog(), state_of(staged), keyed) as (function, context):
        assert [one.texts for one in keyed.values()] == [[], []]
        batch = encode_events(BatchKind.HEARTBEAT, 0, [], barrier_follows=True)
        list(function.process_element(Row(batch), context))

    assert {name: one.texts for name, one in keyed.items()} == before
