"""With signatures required, only what a trusted key signed for this job changes anything, and once."""

import hashlib
from collections.abc import Callable, Mapping

import msgspec
import pytest

from tests.loads import Clock, make_serving, plain_load
from tests.unit.test_subtask import GOOD, LIMITS, load_doubling
from udfs.batches import BatchKind, Envelope, decode_events, decode_outcomes, encode_envelope, encode_events
from udfs.held import HeldEvents
from udfs.missing import MissingPolicies
from udfs.models.catalog import Catalog
from udfs.models.known import KnownCatalog, fold
from udfs.models.signatures import SigningKey, TrustedKey, Verifier
from udfs.models.updates import (
    ActivateModel,
    Artifact,
    ModelUpdate,
    PublishModel,
    decode_update,
    encode_update,
)
from udfs.records import ModelId
from udfs.reports import Place
from udfs.subtask import ScoringSubtask

ALICE, MALLORY = SigningKey.new("alice"), SigningKey.new("alice")
BOB = SigningKey.new("bob")
KEYS = {"alice": TrustedKey("alice", ALICE.public()), "bob": TrustedKey("bob", BOB.public(), ("other-*",))}
VERIFIER = Verifier("job", "control", KEYS, required=True)
Signer = Callable[[bytes], tuple[tuple[str, bytes], ...]]


def publish(version: int, second: int = 1, name: str = "m") -> PublishModel:
    artifact = Artifact(hashlib.sha256(GOOD).hexdigest(), inline=GOOD)
    return PublishModel(ModelId(name, version), "double", artifact, occurred_on=at(second))


def at(second: int) -> str:
    return f"2026-11-24T12:00:{second:02}Z"


def signed(
    update: ModelUpdate, offset: int, key: SigningKey = ALICE, job: str = "job", topic: str = "control"
) -> tuple[bytes, bytes]:
    value = encode_update(update)
    return value, envelope(offset, key.sign(job, topic, value))


def envelope(offset: int, headers: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    return encode_envelope(Envelope("control", 0, offset, 0, b"m", False, headers))


def make_subtask(
    known: KnownCatalog | None = None, restored: Catalog | None = None, verifier: Verifier = VERIFIER
) -> ScoringSubtask:
    made = ScoringSubtask(
        Place("job"),
        make_serving(plain_load(load_doubling, ("double",))),
        LIMITS,
        HeldEvents(30, 3, 1000),
        MissingPolicies(),
        None,
        Clock(),
        max_batch=(2, 10_000),
        verifier=verifier,
    )
    made.start(restored or Catalog(), known or KnownCatalog())
    return made


def refusals(subtask: ScoringSubtask, value: bytes, envelope: bytes) -> list[bytes]:
    """The values of the dead letters of a control record."""
    outcomes = subtask.on_update(envelope, value).outcomes
    return [letter.value for letter in decode_outcomes(outcomes)] if outcomes else []


def test_an_update_that_a_trusted_key_signed_is_followed() -> None:
    subtask = make_subtask()

    assert refusals(subtask, *signed(publish(1), 0)) == []
    assert ModelId("m", 1) in subtask.catalog


WRONG: Mapping[str, Callable[[], tuple[bytes, bytes]]] = {
    "unsigned": lambda: (encode_update(publish(1)), envelope(0)),
    "altered": lambda: (encode_update(publish(2)), signed(publish(1), 0)[1]),
    "signed with another key": lambda: signed(publish(1), 0, MALLORY),
    "signed with a key for other models": lambda: signed(publish(1), 0, BOB),
    "signed for another job": lambda: signed(publish(1), 0, job="another"),
    "signed for another topic": lambda: signed(publish(1), 0, topic="another"),
    "signed without a time": lambda: signed(ActivateModel(ModelId("m", 1)), 0),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_one_is_a_dead_letter_and_changes_nothing(case: str) -> None:
    subtask = make_subtask()
    value, record = WRONG[case]()

    assert refusals(subtask, value, record) == [value]
    assert subtask.catalog.models == {}


def test_an_old_update_that_is_sent_again_is_a_dead_letter_and_changes_nothing() -> None:
    subtask = make_subtask()
    back = ActivateModel(ModelId("m", 1), occurred_on=at(3))
    updates: list[ModelUpdate] = [publish(1, 1), publish(2, 2), back, publish(3, 4)]
    for offset, update in enumerate(updates):
        assert refusals(subtask, *signed(update, offset)) == []

    assert refusals(subtask, *signed(back, 4)) == [encode_update(back)]
    assert subtask.catalog.models["m"].active == 3


REMOTE = PublishModel(
    ModelId("m", 1), "rest", options={"url": "https://a.example", "batch": 1}, occurred_on=at(1)
)
OFFLOADED = msgspec.structs.replace(publish(1), execution="offload")


@pytest.mark.parametrize(
    ("update", "said", "altered"),
    [
        (REMOTE, b"https://a.example", b"https://b.example"),
        (REMOTE, b'"batch":1', b'"batch":2'),
        (REMOTE, b'"batch":1', b'"batch":1,"credentials":"bank"'),
        (REMOTE, b'"rest"', b'"mlflow"'),
        (REMOTE, b'"effective_from":null', b'"effective_from":null,"execution":"offload"'),
        (OFFLOADED, b',"execution":"offload"', b""),
        (publish(1), b'"effective_from":null', b'"effective_from":null,"execution":"offload"'),
    ],
    ids=["url", "option", "one option more", "protocol", "said in vain", "inline", "offloaded"],
)
def test_where_a_signed_version_is_scored_can_not_be_altered(
    update: PublishModel, said: bytes, altered: bytes
) -> None:
    value, record = signed(update, 0)
    other = value.replace(said, altered)
    subtask = make_subtask()

    assert other != value
    decode_update(other)  # its form is right
    assert refusals(subtask, other, record) == [other]
    assert ModelId("m", 1) not in subtask.catalog


def test_each_model_has_its_own_last_update() -> None:
    subtask = make_subtask()
    refusals(subtask, *signed(publish(1, 5), 0))

    assert refusals(subtask, *signed(publish(1, 4, "n"), 1)) == []


def test_what_was_sent_before_the_start_is_checked_as_well() -> None:
    records = [signed(publish(1), 0), (encode_update(publish(2, 2)), envelope(1)), signed(publish(1), 2)]
    batch = decode_events(encode_events(BatchKind.EVENTS, 0, records))

    known = fold(batch, 3, 10_000, verifier=VERIFIER)

    assert list(known.catalog.models["m"].versions) == [1]
    assert [one.offset for one in known.refused] == [1, 2]


def test_after_a_restart_an_old_update_is_still_old() -> None:
    first = make_subtask()
    old = signed(publish(1, 1), 0)
    refusals(first, *old)
    refusals(first, *signed(publish(2, 2), 1))

    again = make_subtask(restored=first.catalog)

    assert refusals(again, old[0], signed(publish(1, 1), 2)[1]) == [old[0]]


def test_what_a_key_signed_that_is_trusted_no_more_does_not_come_back_from_the_state() -> None:
    first = make_subtask()
    record = signed(publish(1), 0)
    refusals(first, *record)
    without = Verifier("job", "control", {"bob": KEYS["bob"]}, required=True)
    known = fold(decode_events(encode_events(BatchKind.EVENTS, 0, [record])), 1, 10_000, verifier=without)

    again = make_subtask(known, first.catalog, without)

    assert again.catalog.models == {}


def test_unless_it_is_required_an_unsigned_update_is_followed_and_a_wrong_signature_is_not() -> None:
    subtask = make_subtask(verifier=Verifier("job", "control", KEYS))
    value, record = WRONG["signed with another key"]()

    assert refusals(subtask, value, record) == [value]
    assert refusals(subtask, encode_update(publish(1)), envelope(1)) == []
