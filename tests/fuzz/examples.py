"""How many examples are tried, and where they come from."""

import os
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_TIMES = int(os.environ.get("MODELSTREAM_FUZZ", "0"))


def examples(count: int, seconds: float = 20.0) -> settings:
    """Settings of a test.

    Args:
        count: examples in CI.
        seconds: longest that one example may take.
    """
    return settings(
        max_examples=count * max(1, _TIMES),
        derandomize=not _TIMES,
        database=None,
        deadline=timedelta(seconds=seconds),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


NUMBERS = st.one_of(
    st.integers(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**31 - 1, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, -0.0]),
    st.floats(),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "m", "iris", "../m", "m:1", "m\n", "\x00", "\u2028", "\U0010ffff", "e\u0301", "a" * 300]
    ),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
ODD_JSON = st.sampled_from(
    [
        b"",
        b"null",
        b"NaN",
        b"-Infinity",
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"1e999",
        b"-0",
        b"9" * 5000,
        b"[" * 200,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' * 2_000 + b"NaN" + b"}" * 2_000,
        b'{"model":{"name":"m","version":1},"model":{"name":"m","version":2},"type":"retire_model"}',
        b'{"data":1,"data":2,"model":"m","model":null}',
        b'{"data":NaN,"model":"\\udfff"}',
        b'{"type":"publish_model","type":"retire_model"}',
    ]
)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """Bytes that were real once: with some changed, cut off, taken out, repeated or put in."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        until = min(len(data), at + draw(st.integers(1, 64)))
        match draw(st.integers(0, 5)):
            case 0:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x2D]))
            case 2:
                del data[at:]
            case 3:
                del data[at:until]
            case 4:
                to = draw(st.integers(0, len(data)))
                data[to:to] = data[at:until]
            case _:
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
    return bytes(data)


@st.composite
def changed(draw: st.DrawFn, original: Any) -> Any:
    """A JSON value that was valid once, with a part of it replaced, taken out or added."""
    if isinstance(original, dict) and original and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(original)))
        copy = dict(original)
        match draw(st.integers(0, 9)):
            case 0:
                del copy[key]
            case 1:
                copy[draw(TEXTS)] = draw(JSON_VALUES)
            case _:
                copy[key] = draw(changed(original[key]))
        return copy
    return draw(JSON_VALUES)
