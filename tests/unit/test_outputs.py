"""Nothing leaves that an output topic would refuse."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.batches import Envelope, decode_envelope, decode_headers, encode_envelope
from udfs.errors import ScoreError, UpdateError
from udfs.outputs import RECORD_OVERHEAD, SMALLEST_LIMIT, OutputLimits, dead_letter

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def envelope(key: bytes | None = b"key", timestamp: int = NOW_MS, header: bytes = b"") -> bytes:
    return encode_envelope(Envelope("events", 0, 7, timestamp, key, False, (("trace", header),)))


def limits(size: int = SMALLEST_LIMIT, ahead: int | None = None, behind: int | None = None) -> OutputLimits:
    return OutputLimits(size, size, ahead, behind)


def header(details: bytes, name: str) -> bytes | None:
    return dict(decode_headers(details)).get(name)


@settings(deadline=None, derandomize=True)
@given(
    st.integers(0, 40_000),
    st.integers(0, 40_000),
    st.integers(0, 40_000),
    st.text(alphabet="a\U0001f339", max_size=3000),
)
def test_a_dead_letter_fits_its_topic_whatever_it_is_of(key: int, size: int, trace: int, text: str) -> None:
    value = b"x" * size

    letter = dead_letter(
        value, envelope(b"k" * key, header=b"t" * trace), ScoreError(text), limits(), NOW, model=text
    )

    assert len(letter.value) + len(letter.envelope) + len(letter.details) + RECORD_OVERHEAD <= SMALLEST_LIMIT
    assert value.startswith(letter.value)
    assert (header(letter.details, "ms-truncated") is not None) == (
        (letter.value, letter.envelope) != (value, envelope(b"k" * key, header=b"t" * trace))
    )


def test_a_dead_letter_that_fits_is_untouched_and_says_why() -> None:
    letter = dead_letter(b"value", envelope(), ScoreError("too long a petal"), limits(), NOW, "iris:1")

    assert (letter.value, letter.envelope) == (b"value", envelope())
    said = {name: header(letter.details, name) for name in ("ms-stage", "ms-error", "ms-message", "ms-model")}
    assert said == {
        "ms-stage": b"score",
        "ms-error": b"ScoreError",
        "ms-message": b"too long a petal",
        "ms-model": b"iris:1",
    }
    assert header(letter.details, "ms-at") == b"2026-11-23T10:00:00.000+00:00"


def test_a_cut_dead_letter_still_says_where_it_came_from() -> None:
    letter = dead_letter(b"x" * 50_000, envelope(b"k" * 50_000), ScoreError("no"), limits(), NOW)

    source = decode_envelope(letter.envelope)
    assert (source.topic, source.partition, source.offset) == ("events", 0, 7)
    assert header(letter.details, "ms-truncated") == b"50000"


@pytest.mark.parametrize(("size", "fits"), [(10, True), (SMALLEST_LIMIT, False)])
def test_a_prediction_too_large_for_its_topic_is_told(size: int, fits: bool) -> None:
    assert (limits().size_error(b"x" * size, envelope()) is None) == fits


@pytest.mark.parametrize(
    ("offset_ms", "refused"), [(0, False), (1000, False), (1001, True), (-2000, False), (-2001, True)]
)
def test_a_timestamp_that_its_topic_refuses_is_told(offset_ms: int, refused: bool) -> None:
    error = limits(ahead=1000, behind=2000).timestamp_error(envelope(timestamp=NOW_MS + offset_ms), NOW_MS)

    assert (error is not None) == refused
    assert limits().timestamp_error(envelope(timestamp=NOW_MS + offset_ms), NOW_MS) is None


def test_a_dead_letter_of_a_value_that_was_cut_before_says_how_long_it_was() -> None:
    letter = dead_letter(b"", envelope(), UpdateError("not JSON"), limits(), NOW, cut_from=123_456)

    assert (letter.value, letter.envelope) == (b"", envelope())
    assert header(letter.details, "ms-truncated") == b"123456"
