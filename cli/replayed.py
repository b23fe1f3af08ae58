"""Which dead letters of a partition were sent again: what a consumer group remembers of it."""

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable
from typing import NamedTuple, Self

from udfs.errors import TopicError

_LONGEST_TEXT = 4096
"""Kafka's default of offset.metadata.max.bytes."""


class Replayed(NamedTuple):
    """All offsets before ``next_offset``, and some behind it.

    A replay of one stage alone leaves gaps, which an offset can't say: what lies behind the first gap is
    kept in the text that Kafka keeps with a committed offset.
    """

    next_offset: int = 0
    later: frozenset[int] = frozenset()

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and (offset < self.next_offset or offset in self.later)

    def after(self, done: Iterable[int], read: Collection[int]) -> Self:
        """This, when more were done.

        Args:
            done: their offsets.
            read: every offset that holds a letter, from ``next_offset`` to the end.
        """
        every = self.later.union(done)
        left = [offset for offset in read if offset >= self.next_offset and offset not in every]
        next_offset = min(left) if left else max(read, default=self.next_offset - 1) + 1
        return type(self)(next_offset, frozenset(offset for offset in every if offset > next_offset))

    def to_text(self) -> str:
        """``later`` as text, to be kept beside ``next_offset``.

        Raises:
            TopicError: longer than Kafka keeps.
        """
        if not self.later:
            return ""
        bits = sum(1 << (offset - self.next_offset) for offset in self.later)
        text = b64encode(zlib.compress(bits.to_bytes(bits.bit_length() // 8 + 1, "little"), 9)).decode()
        if len(text) > _LONGEST_TEXT:
            raise TopicError(
                "too many gaps between dead letters that were replayed and others to remember them all; "
                "replay without --stage and --model, or several stages one after the other with --limit"
            )
        return text

    @classmethod
    def from_text(cls, next_offset: int, text: str) -> Self:
        """Read what `to_text` wrote; a text of another's is none.

        Args:
            next_offset: the committed offset.
            text: the text beside it.
        """
        try:
            bits = int.from_bytes(zlib.decompress(b64decode(text, validate=True)), "little") if text else 0
        except (binascii.Error, ValueError, zlib.error):
            return cls(next_offset)
        numbers = (number for number in range(bits.bit_length()) if bits >> number & 1)
        return cls(next_offset, frozenset(next_offset + number for number in numbers))
