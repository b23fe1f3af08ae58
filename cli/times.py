"""Times as people and programs write them: milliseconds since 1970, or RFC 3339 with a zone."""

from datetime import UTC, datetime

from jobs.units import Duration, decode_unit
from udfs.errors import ConfigError
from udfs.json_values import JsonValue

_LATEST = 2**53


def milliseconds(value: JsonValue) -> int:
    """A moment as milliseconds since 1970.

    Raises:
        ValueError: it is neither a number of milliseconds nor a text of RFC 3339 with its zone.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LATEST:
        return value
    if isinstance(value, str):
        time_of_day = datetime.fromisoformat(value)
        if time_of_day.tzinfo is not None and time_of_day.timestamp() >= 0:
            return round(time_of_day.astimezone(UTC).timestamp() * 1000)
    raise ValueError(f"expected milliseconds since 1970, or a time with its zone, got {value!r}")


def read_time(text: str | None, option: str) -> int | None:
    """An option's moment in milliseconds since 1970; None where it was not given.

    Raises:
        ConfigError: the text is no moment.
    """
    if text is None:
        return None
    try:
        return milliseconds(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


def read_duration(text: str, option: str) -> float:
    """An option's seconds: ``10s``, ``500ms``, ``2min``.

    Raises:
        ConfigError: the text is no duration.
    """
    try:
        seconds = decode_unit(Duration, text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
    assert isinstance(seconds, Duration)
    return seconds


def write_time(moment: int | None) -> str | None:
    """Milliseconds since 1970 as RFC 3339, UTC; beyond the year 9999 as they are."""
    if moment is None:
        return None
    try:
        at = datetime.fromtimestamp(moment / 1000, UTC)
    except (ValueError, OverflowError):
        return str(moment)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
