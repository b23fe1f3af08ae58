"""The options of a format, as they were published: read strictly, whichever way they were written."""

import difflib
import math
from collections.abc import Collection, Mapping, Sequence

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue, read_json

Options = Mapping[str, JsonValue]
"""A version's options by name, as they were published."""

_MOST = 1024


class OptionReader:
    """Reads options. Values may be JSON values or text: the command line knows only text.

    Every method raises ModelLoadError for a value that is not what it should be.
    """

    def __init__(self, options: Options, known: Collection[str]) -> None:
        """Take the options of a version.

        Raises:
            ModelLoadError: there is one that is not known.
        """
        if unknown := sorted(options.keys() - known):
            raise ModelLoadError(
                f"unknown option {with_nearest(unknown[0], known)}; known: {', '.join(sorted(known))}"
            )
        self._options = options

    def text(self, name: str) -> str | None:
        """A text, None where the option is not given."""
        value = self._options.get(name)
        if value is not None and not (isinstance(value, str) and value):
            raise ModelLoadError(f"option {name}: expected a text, got {value!r}")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """Names, as a list or comma-separated; none where the option is not given."""
        value = self._options.get(name, ())
        names = [one.strip() for one in value.split(",")] if isinstance(value, str) else value
        if not isinstance(names, Sequence) or not all(isinstance(one, str) and one for one in names):
            raise ModelLoadError(
                f"option {name}: expected names, as a list or comma-separated, got {value!r}"
            )
        return tuple(map(str, names))

    def chosen(self, name: str, word: str) -> bool:
        """Whether the only value that an option may have was given."""
        if name in self._options and self._options[name] != word:
            raise ModelLoadError(f"option {name}: expected {word!r} or nothing, got {self._options[name]!r}")
        return name in self._options

    def required(self, name: str) -> str:
        """A text that must be given."""
        value = self.text(name)
        if value is None:
            raise ModelLoadError(f"option {name} is missing")
        return value

    def one_of(self, name: str, words: Sequence[str]) -> str:
        """One of some words; the first where the option is not given."""
        value = self._options.get(name, words[0])
        if value not in words:
            raise ModelLoadError(f"option {name}: expected {' or '.join(words)}, got {value!r}")
        return str(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._options.get(name, default)
        given = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
        if not isinstance(given, bool):
            raise ModelLoadError(f"option {name}: expected true or false, got {value!r}")
        return given

    def count(self, name: str, default: int, most: int = _MOST) -> int:
        """A number from 1 to ``most``."""
        return self.whole(name, default, 1, most)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds, which both belong to them."""
        value = self._options.get(name, default)
        text = str(value)
        # A longer text than the bound's could not be in it, and Python refuses to read very long ones.
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
            raise ModelLoadError(f"option {name}: expected a number from {least} to {most}, got {value!r}")
        if not least <= int(text) <= most:
            raise ModelLoadError(f"option {name}: expected a number from {least} to {most}, got {value!r}")
        return int(text)

    def seconds(self, name: str, default: float, least: float, most: float) -> float:
        """Seconds within bounds: ``0.5``, or ``"500ms"``, ``"2s"``."""
        value = self._options.get(name, default)
        found = _seconds_in(value)
        if found is None or not least <= found <= most:
            raise ModelLoadError(
                f"option {name}: expected seconds from {least:g} to {most:g}, as a number or like 500ms, "
                f"got {value!r}"
            )
        return found

    def object(self, name: str) -> Mapping[str, JsonValue]:
        """A JSON object, itself or as text; empty where the option is not given."""
        value = self._options.get(name, {})
        if isinstance(value, str):
            try:
                value = read_json(value.encode())
            except ValueError:
                value = None
        if not isinstance(value, Mapping):
            raise ModelLoadError(f"option {name}: expected a JSON object, got {self._options[name]!r}")
        return value


def with_nearest(name: str, known: Collection[str]) -> str:
    """A mistyped name in quotes, with the known one that was perhaps meant."""
    nearest = difflib.get_close_matches(name, sorted(known), 1)
    return f"{name!r} (did you mean {nearest[0]!r}?)" if nearest else repr(name)


def _seconds_in(value: JsonValue) -> float | None:
    """Seconds that a value says, None where it says none."""
    factor = 1.0
    if isinstance(value, str):
        for unit, one in (("ms", 0.001), ("s", 1.0)):
            if value.endswith(unit):
                value, factor = value.removesuffix(unit), one
                break
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value) * factor
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
