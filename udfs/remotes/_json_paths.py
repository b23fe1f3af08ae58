"""Places in JSON values, written with dots: ``payload.instances``, ``choices.0.text``."""

from collections.abc import Mapping, Sequence
from typing import Self

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue

_MOST_NAMES = 32


class JsonPath:
    """A place in a JSON value: names of fields, positions in arrays from 0. Without any: the value itself."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self._text = text
        self._names = tuple(names)

    @classmethod
    def parse(cls, option: str, text: str | None) -> Self:
        """Read an option's path; None: the whole value.

        Raises:
            ModelLoadError: a name in it is empty, or there are too many.
        """
        names = text.split(".") if text is not None else []
        if not all(names) or len(names) > _MOST_NAMES:
            raise ModelLoadError(f"option {option}: expected names with dots between them, got {text!r}")
        return cls(text or "", names)

    def __str__(self) -> str:
        return self._text

    @property
    def is_whole(self) -> bool:
        """Whether it is the value itself."""
        return not self._names

    def get(self, value: JsonValue) -> JsonValue:
        """What is at the path.

        Raises:
            LookupError: nothing is; the text says how far there was something.
        """
        for depth, name in enumerate(self._names):
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and len(name) < 10 and int(name) < len(value):
                value = value[int(name)]
            else:
                raise LookupError(f"has no {'.'.join(self._names[: depth + 1])}")
        return value

    def put(self, body: Mapping[str, JsonValue], value: JsonValue) -> JsonValue:
        """A copy of an object, with a value at the path.

        Raises:
            LookupError: something that is no object is on the way there.
        """
        return _put(body, self._names, value)


def _put(body: JsonValue, names: Sequence[str], value: JsonValue) -> JsonValue:
    if not names:
        return value
    if not isinstance(body, Mapping):
        raise LookupError(f"has no object that {names[0]} could be put into")
    return {**body, names[0]: _put(body.get(names[0], {}), names[1:], value)}
