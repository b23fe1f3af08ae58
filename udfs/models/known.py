"""What the control topic says before a job starts."""

import msgspec

from udfs.batches import EventBatch, decode_envelope
from udfs.errors import ModelstreamError, UpdateError
from udfs.models.catalog import Catalog, advance, apply
from udfs.models.updates import decode_update


class RefusedUpdate(msgspec.Struct, frozen=True):
    """A control record that could not be folded."""

    offset: int
    envelope: bytes
    value: bytes
    message: str

    def error(self) -> ModelstreamError:
        """Why, as the error that a running job would have had."""
        return UpdateError(self.message)


class KnownCatalog(msgspec.Struct, frozen=True):
    """The control topic, folded from its beginning."""

    catalog: Catalog = Catalog()
    next_offset: int = 0
    """The first offset that was not read: where the job goes on."""
    refused: tuple[RefusedUpdate, ...] = ()


def fold(records: EventBatch, next_offset: int, max_bytes: int) -> KnownCatalog:
    """Fold control records in their order.

    Args:
        records: every record of the control topic.
        next_offset: the offset behind the last one.
        max_bytes: most bytes of inline artifacts that the catalog may hold.
    """
    catalog = Catalog()
    refused: list[RefusedUpdate] = []
    for index, value in enumerate(records.values):
        envelope = records.envelope(index)
        offset = decode_envelope(envelope).offset
        catalog, error = fold_one(catalog, value, offset, max_bytes)
        if error is not None:
            refused.append(RefusedUpdate(offset, envelope, value, str(error)))
    return KnownCatalog(catalog, next_offset, tuple(refused))


def fold_one(
    catalog: Catalog, value: bytes, offset: int, max_bytes: int
) -> tuple[Catalog, UpdateError | None]:
    """The catalog after a control record, and why it was refused if it was."""
    try:
        return apply(catalog, decode_update(value), offset, max_bytes=max_bytes), None
    except UpdateError as error:
        return advance(catalog, offset), error
