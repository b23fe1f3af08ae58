"""Values of the configuration that have a unit: times and sizes."""

import re


class Duration(float):
    """Seconds; in YAML a number of seconds, or text such as ``250ms``, ``30s``, ``5min``, ``1h``."""


class ByteSize(int):
    """Bytes; in YAML a number of bytes, or text such as ``512KiB``, ``4MiB``, ``1GiB``."""


def check_at_least(key: str, value: float, least: float) -> None:
    """Refuse a value that is too small, by a ValueError that names its key."""
    if value < least:
        raise ValueError(f"{key}: expected at least {least:g}, got {value:g}")


def check_at_most(key: str, value: float, most: float) -> None:
    """Refuse a value that is too large, by a ValueError that names its key."""
    if value > most:
        raise ValueError(f"{key}: expected at most {most:g}, got {value:g}")


_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|min|h)?$")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "min": 60.0, "h": 3600.0}
_SIZE = re.compile(r"^(\d+)\s*(B|KiB|MiB|GiB)?$")
_BYTES = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def decode_unit(kind: type, value: object) -> object:
    """Read a value of one of these types; what msgspec asks where it meets one.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        if kind is Duration:
            match = _DURATION.match(str(value))
            if match:
                return Duration(float(match[1]) * _SECONDS[match[2]])
            raise ValueError(f"expected a duration such as 250ms, 30s or 5min, got {value!r}")
        if kind is ByteSize:
            match = _SIZE.match(str(value))
            if match:
                return ByteSize(int(match[1]) * _BYTES[match[2]])
            raise ValueError(f"expected a size such as 512KiB or 4MiB, got {value!r}")
    raise ValueError(f"expected {'a duration' if kind is Duration else 'a size'}, got {value!r}")
