"""Times and durations of options."""

import pytest

from cli.times import milliseconds, read_duration, read_time, write_time
from udfs.errors import ConfigError
from udfs.json_values import JsonValue


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", 0),
        ("1764000000123", 1_764_000_000_123),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:01.5+01:00", 1500),
        (None, None),
    ],
)
def test_a_time_is_milliseconds_or_rfc_3339(text: str | None, moment: int | None) -> None:
    assert read_time(text, "--effective-from") == moment


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "1.5", "2026-11-24T10:00:00", "1969-12-31T23:59:59Z", "9007199254740993", "٣"]
)
def test_what_is_no_time_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--effective-from: "):
        read_time(text, "--effective-from")


@pytest.mark.parametrize("value", [True, None, 1.5, [], {}, -1])
def test_other_values_are_no_times(value: JsonValue) -> None:
    with pytest.raises(ValueError, match="milliseconds since 1970, or a time with its zone"):
        milliseconds(value)


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("500ms", 0.5), ("2min", 120), ("3", 3)])
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert read_duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "-1s", "soon", "1 day"])
def test_what_is_no_duration_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--timeout: expected a duration"):
        read_duration(text, "--timeout")


def test_a_time_that_is_shown_can_be_given_back() -> None:
    shown = write_time(1_764_000_000_123)

    assert shown == "2025-11-24T16:00:00.123Z"
    assert read_time(shown, "--effective-from") == 1_764_000_000_123


def test_a_time_beyond_calendars_is_shown_as_it_is() -> None:
    assert write_time(2**53) == str(2**53)
