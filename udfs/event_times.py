"""The times of events: their records' timestamps, or a field of their values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from udfs.batches import TIMESTAMP_AT, EventBatch
from udfs.errors import DecodeError
from udfs.json_values import read_json

_LARGEST = 2**53
_EIGHT = np.arange(8)


class EventTimes(NamedTuple):
    """The times of N events."""

    at: NDArray[np.int64]
    """ms since 1970; -1 for none."""
    errors: Mapping[int, DecodeError]
    """Events whose time can't be read, by index."""

    def part(self, indexes: Sequence[int]) -> "EventTimes":
        """The times of some events whose time could be read."""
        return EventTimes(self.at[np.asarray(indexes)], {})


def record_times(batch: EventBatch) -> NDArray[np.int64]:
    """The timestamps of a batch's N records, ms since 1970, -1 for none."""
    if not batch.values:
        return np.empty(0, np.int64)
    starts = np.array([0, *batch.envelope_ends[:-1]]) + TIMESTAMP_AT
    raw = np.frombuffer(batch.envelope_bytes, np.uint8)[starts[:, None] + _EIGHT]
    return raw.view("<i8").ravel().astype(np.int64, copy=False)


class TimeField:
    """A field of events' values that says their time.

    Args:
        path: names with dots between: ``occurred_on``, ``data.at``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._names = path.split(".")

    def read(self, values: Sequence[bytes]) -> EventTimes:
        """The times that N values say, in ms since 1970 or as RFC 3339 with a zone."""
        at = np.full(len(values), -1, np.int64)
        errors: dict[int, DecodeError] = {}
        for index, value in enumerate(values):
            try:
                at[index] = self._read(value)
            except DecodeError as error:
                errors[index] = error
        return EventTimes(at, errors)

    def _read(self, value: bytes) -> int:
        try:
            found: Any = read_json(value)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise DecodeError(f"not JSON: {error}") from error
        for name in self._names:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= _LARGEST:
            return found
        if isinstance(found, str):
            try:
                time = datetime.fromisoformat(found)
            except ValueError:
                time = None
            if time is not None and time.tzinfo is not None and time.year >= 1970:
                return max(0, round(time.timestamp() * 1000))
        raise DecodeError(
            f"{self._path} is no event time: expected ms since 1970, or RFC 3339 with a zone "
            f"(events.time_field)"
        )
