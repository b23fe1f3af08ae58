"""Parts of a batch that was not scored as a whole, and what is said of their records in the end."""

from typing import NamedTuple

from udfs.errors import Fault, OffloadError

HALVED = (Fault.RECORD, Fault.UNCLEAR, Fault.HARMFUL)
"""Faults of a request that half of its records may not have."""


class Part(NamedTuple):
    """Some of a batch's records, that are sent together."""

    start: int
    """The first of them."""
    end: int
    """The one after the last."""
    seconds: float
    """How long a request for them may take."""
    cause: OffloadError | None = None
    """Why they are sent without the others; None: they are all of the batch."""
    is_suspect: bool = False
    """Whether they were among records that did harm."""

    @property
    def size(self) -> int:
        """How many they are."""
        return self.end - self.start

    def halves(self, cause: OffloadError, least_seconds: float) -> "tuple[Part, Part]":
        """Its halves; after harm each has half of its time.

        Args:
            cause: why it is not sent as a whole again.
            least_seconds: what that leaves in any case.
        """
        middle, seconds = (self.start + self.end) // 2, self.seconds
        if cause.fault is Fault.HARMFUL:
            seconds = max(seconds / 2, least_seconds)
        is_suspect = self.is_suspect or cause.fault is Fault.HARMFUL
        return (
            Part(self.start, middle, seconds, cause, is_suspect),
            Part(middle, self.end, seconds, cause, is_suspect),
        )


def given_up(part: Part, cause: OffloadError, why: str = "") -> OffloadError:
    """What is said of a part's records that are not tried any more: nothing shows that they are bad.

    Args:
        part: the records.
        cause: why they are sent without others.
        why: what keeps them from being tried, beside that.
    """
    text = f"{cause} (of one of {part.size} records; {why})" if why else str(cause)
    return OffloadError(text, Fault.PASSING, cause.retry_after)


def final_error(part: Part, error: OffloadError, *, has_results: bool) -> OffloadError:
    """What is said of a part's records, once it is known what became of the others of their batch.

    Args:
        part: the records.
        error: of their last request.
        has_results: whether any record of the batch was scored.
    """
    if part.is_suspect and error.fault not in (Fault.HARMFUL, Fault.RECORD):
        text = f"{error}; not scored elsewhere, for it may be what did harm before: {part.cause}"
        return OffloadError(text, Fault.HARMFUL)
    if error.fault is Fault.UNCLEAR:
        return OffloadError(str(error), Fault.RECORD if has_results else Fault.PASSING, error.retry_after)
    return error
