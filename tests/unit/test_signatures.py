"""Who may change which models: what a signature covers, and every way in which one is refused."""

import importlib
import pickle
from base64 import b64decode, b64encode
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from udfs.errors import UpdateError
from udfs.models.signatures import SigningKey, TrustedKey, Verifier, signed_bytes

JOB, TOPIC, VALUE = "fraud-job", "ms.control", b'{"type": "activate_model"}'
ALICE, BOB = SigningKey.new("alice"), SigningKey.new("bob")
SIGNED = ALICE.sign(JOB, TOPIC, VALUE)
KEY_HEADER, SIGNATURE_HEADER = SIGNED


def trusting(*models: str, required: bool = True, job: str = JOB, topic: str = TOPIC) -> Verifier:
    """Trusts Alice."""
    return Verifier(job, topic, {"alice": TrustedKey("alice", ALICE.public(), models)}, required)


def refusal(
    verifier: Verifier,
    headers: Sequence[tuple[str, bytes | None]],
    value: bytes = VALUE,
    name: str = "fraud-cards",
) -> str:
    with pytest.raises(UpdateError) as error:
        verifier.check(headers, value, name)
    return str(error.value)


# --- who signed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("required", [True, False])
def test_what_a_trusted_key_signed_is_taken(required: bool) -> None:
    assert trusting(required=required).check(SIGNED, VALUE, "fraud-cards") is True


def test_headers_of_others_do_not_matter() -> None:
    headers = [("traceparent", b"00-1"), *SIGNED, ("traceparent", b"00-2"), ("ms-key-2", None)]

    assert trusting().check(headers, VALUE, "fraud-cards") is True


@pytest.mark.parametrize(
    "headers", [(), (("other", b"1"),), (("ms-key", None), ("ms-signature", None))], ids=str
)
def test_an_unsigned_update_is_taken_where_no_signature_is_required(
    headers: Sequence[tuple[str, bytes | None]],
) -> None:
    assert trusting(required=False).check(headers, VALUE, "fraud-cards") is False


@pytest.mark.parametrize("headers", [(), SIGNED, (KEY_HEADER,), (*SIGNED, *SIGNED)], ids=len)
def test_without_keys_signatures_are_no_matter(headers: Sequence[tuple[str, bytes | None]]) -> None:
    assert Verifier(JOB, TOPIC).check(headers, VALUE, "fraud-cards") is False


@pytest.mark.parametrize(
    "headers", [(), (("other", b"1"),), (("ms-key", None), ("ms-signature", None))], ids=str
)
def test_an_unsigned_update_is_refused_where_a_signature_is_required(
    headers: Sequence[tuple[str, bytes | None]],
) -> None:
    said = refusal(trusting(), headers)

    assert said.startswith("fraud-cards: the update is not signed, and updates.require_signature asks for it")
    assert "--key FILE" in said


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ((KEY_HEADER,), "fraud-cards: the update is half signed: it has no header ms-signature"),
        ((SIGNATURE_HEADER,), "fraud-cards: the update is half signed: it has no header ms-key"),
        ((KEY_HEADER, *SIGNED), "fraud-cards: the update has 2 headers ms-key; expected one"),
        (
            (*SIGNED, ("ms-signature", None)),
            "fraud-cards: the update has 2 headers ms-signature; expected one",
        ),
    ],
)
def test_half_and_double_signatures_are_refused(
    headers: Sequence[tuple[str, bytes | None]], said: str, required: bool
) -> None:
    assert refusal(trusting(required=required), headers) == said


@pytest.mark.parametrize("required", [True, False])
def test_a_key_that_is_not_trusted_is_refused_by_its_id(required: bool) -> None:
    said = refusal(trusting(required=required), BOB.sign(JOB, TOPIC, VALUE))

    assert said == "fraud-cards: signed with 'bob', which is no key of updates.keys"


@pytest.mark.parametrize("key_id", [b"\xff\x00", b"x" * 100_000, b"alice\n", b"", b"ALICE"])
def test_any_bytes_for_a_key_id_are_refused_in_few_words(key_id: bytes) -> None:
    said = refusal(trusting(), (("ms-key", key_id), SIGNATURE_HEADER))

    assert said.endswith("which is no key of updates.keys")
    assert len(said) < 200


# --- what it covers --------------------------------------------------------------------------------------

WRONG = (
    "fraud-cards: the signature is not that of key alice: the update was altered, or signed for another job "
    "or control topic (this is job fraud-job, topic ms.control), or with another key of that id"
)


@settings(deadline=None, derandomize=True)
@given(at=st.integers(0, len(VALUE) - 1), change=st.integers(1, 255))
def test_any_altered_byte_of_the_value_is_refused(at: int, change: int) -> None:
    altered = VALUE[:at] + bytes([VALUE[at] ^ change]) + VALUE[at + 1 :]

    assert refusal(trusting(), SIGNED, altered) == WRONG


@settings(deadline=None, derandomize=True)
@given(bit=st.integers(0, 64 * 8 - 1))
def test_any_altered_bit_of_the_signature_is_refused(bit: int) -> None:
    signature = bytearray(b64decode(SIGNATURE_HEADER[1]))
    signature[bit // 8] ^= 1 << bit % 8

    assert refusal(trusting(), (KEY_HEADER, ("ms-signature", b64encode(signature)))) == WRONG


@pytest.mark.parametrize("value", [b"", VALUE[:-1], VALUE + b" ", b" " + VALUE], ids=repr)
def test_a_longer_or_shorter_value_is_refused(value: bytes) -> None:
    assert refusal(trusting(), SIGNED, value) == WRONG


@settings(deadline=None, derandomize=True)
@given(signature=st.binary(max_size=200))
@example(b"")
@example(b"\x00" * 64)
@example(b64encode(b"\x00" * 64))
@example(b64encode(b"\x00" * 63))
@example(SIGNATURE_HEADER[1] + b"\n")
@example(SIGNATURE_HEADER[1][:-1])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    assert refusal(trusting(), (KEY_HEADER, ("ms-signature", signature))) == WRONG


def test_one_signed_for_another_job_is_refused() -> None:
    assert refusal(trusting(), ALICE.sign("other-job", TOPIC, VALUE)) == WRONG


def test_one_signed_for_another_control_topic_is_refused() -> None:
    assert refusal(trusting(), ALICE.sign(JOB, "other.control", VALUE)) == WRONG


def test_one_signed_with_another_key_of_the_same_id_is_refused() -> None:
    assert refusal(trusting(), SigningKey.new("alice").sign(JOB, TOPIC, VALUE)) == WRONG


def test_one_that_a_trusted_key_signed_does_not_stand_for_another_trusted_key() -> None:
    both = Verifier(
        JOB, TOPIC, {key.id: TrustedKey(key.id, key.public()) for key in (ALICE, BOB)}, required=True
    )

    assert "not that of key bob" in refusal(both, (("ms-key", b"bob"), SIGNATURE_HEADER))


texts = st.text("ab1:,.-", max_size=6)
whats = st.tuples(texts, texts, st.binary(max_size=8) | texts.map(str.encode))


@settings(deadline=None, derandomize=True)
@given(one=whats, other=whats)
@example(("ab", "c", b""), ("a", "bc", b""))
@example(("a", "b", b"1:c,"), ("a", "b,1:c", b""))
def test_no_two_updates_have_the_same_signed_bytes(
    one: tuple[str, str, bytes], other: tuple[str, str, bytes]
) -> None:
    assert (signed_bytes(*one) == signed_bytes(*other)) == (one == other)


def test_the_signed_bytes_are_those_that_the_docs_say() -> None:
    assert signed_bytes("jöb", "c", b"{}") == "20:modelstream-update-1,4:jöb,1:c,2:{},".encode()


OLD_PUBLIC = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="
OLD_SIGNATURE = b"i0wEtCgfSMLDJjbe0XDhdU+eWN8CdSB9JT1rqjxaYp5fupnU3waxgss2R0ke4aTevSgzkM4An4KyCUkICiQjCQ=="


def test_a_signature_that_was_made_with_the_first_version_verifies() -> None:
    """Signatures stay in control topics for years: key of 32 bytes 0x01, made by openssl pkeyutl."""
    old = TrustedKey("old", OLD_PUBLIC)

    assert Verifier("job", "ms.control", {"old": old}, True).check(
        [("ms-key", b"old"), ("ms-signature", OLD_SIGNATURE)], b"{}", "iris"
    )


# --- which models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "name"),
    [
        ((), "anything"),
        (("*",), "anything"),
        (("fraud-cards",), "fraud-cards"),
        (("fraud-*",), "fraud-"),
        (("fraud-*",), "fraud-cards"),
        (("iris", "fraud-?"), "fraud-1"),
    ],
)
def test_a_key_may_change_the_models_that_its_patterns_name(models: tuple[str, ...], name: str) -> None:
    assert trusting(*models).check(SIGNED, VALUE, name) is True


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    ("models", "name"),
    [
        (("fraud-*",), "fraud"),
        (("fraud-*",), "Fraud-cards"),
        (("fraud-*",), "a-fraud-cards"),
        (("fraud",), "fraud-cards"),
        (("fraud-?", "iris"), "fraud-12"),
    ],
)
def test_a_key_may_change_no_other_model(models: tuple[str, ...], name: str, required: bool) -> None:
    said = refusal(trusting(*models, required=required), SIGNED, name=name)

    assert said == f"{name}: key alice may not change this model, only {', '.join(models)}"


# --- keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_id", ["a", "0", "alice", "A.b_c-9", "a" * 128])
def test_a_key_has_an_id(key_id: str) -> None:
    assert TrustedKey(key_id, ALICE.public()).id == SigningKey.new(key_id).id == key_id


@pytest.mark.parametrize("key_id", ["", " ", "a b", "a\n", "-a", ".a", "ä", "a/b", "a" * 129])
def test_other_ids_are_refused(key_id: str) -> None:
    with pytest.raises(ValueError, match="is no key id"):
        TrustedKey(key_id, ALICE.public())
    with pytest.raises(ValueError, match="is no key id"):
        SigningKey.new(key_id)


@pytest.mark.parametrize(
    ("public", "said"),
    [
        ("", "public: expected 32 bytes in base64, got 0"),
        ("YWJj", "public: expected 32 bytes in base64, got 3"),
        (b64encode(b"x" * 33).decode(), "public: expected 32 bytes in base64, got 33"),
        (ALICE.public()[:-1], "public: not base64"),
        (ALICE.public() + "\n", "public: not base64"),
        ("ssh-ed25519 AAAA", "public: not base64"),
        ("ä", "public: not base64"),
    ],
)
def test_what_is_no_public_key_is_refused(public: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrustedKey("alice", public)


P = 2**255 - 19
Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL = [0, 1, P - 1, P, P + 1, Y8, P - Y8]


@pytest.mark.parametrize("y", [y + sign for y in SMALL for sign in (0, 1 << 255)])
def test_a_public_key_that_anybody_can_sign_for_is_refused(y: int) -> None:
    with pytest.raises(ValueError, match="anybody could sign for it"):
        TrustedKey("alice", b64encode(y.to_bytes(32, "little")).decode())


@pytest.mark.parametrize("pattern", ["", "fraud *", "fraud\n", "iris:1", "[a-z]*", "ä*", "a/*", "a" * 129])
def test_a_pattern_that_no_model_fits_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="models: expected a model's name"):
        TrustedKey("alice", ALICE.public(), ("fraud-*", pattern))


def test_a_key_does_not_show_its_private_part() -> None:
    private = ALICE.private.private_bytes_raw()

    shown = repr(ALICE)

    assert private.hex() not in shown
    assert b64encode(private).decode() not in shown


@pytest.mark.parametrize("pickler", ["pickle", "cloudpickle"])
def test_a_verifier_can_be_sent_to_the_workers(pickler: str) -> None:
    verifier = trusting("fraud-*")

    sent = pickle.loads(importlib.import_module(pickler).dumps(verifier))

    assert sent == verifier
    assert sent.check(SIGNED, VALUE, "fraud-cards") is True
