"""The options of a format, as they were published: read strictly, whichever way they were written."""

from collections.abc import Collection, Sequence

from udfs.errors import ModelLoadError
from udfs.scorers.base import Options

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
            raise ModelLoadError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}")
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

    def count(self, name: str, default: int) -> int:
        """A number from 1 to 1024."""
        text = str(self._options.get(name, default))
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST):
            raise ModelLoadError(
                f"option {name}: expected a number from 1 to {_MOST}, got {self._options[name]!r}"
            )
        return int(text)
