"""What the control topic says before a job starts."""

from collections.abc import Mapping

import msgspec

from udfs.batches import EventBatch, decode_envelope
from udfs.errors import ModelstreamError, UpdateError
from udfs.models.catalog import Catalog, advance, apply
from udfs.models.updates import ModelUpdate, PublishModel, RetireModel, decode_update
from udfs.records import ModelId


class KnownUpdate(msgspec.Struct, frozen=True):
    """A control record as it was read."""

    offset: int
    envelope: bytes
    value: bytes


class RefusedUpdate(KnownUpdate, frozen=True):
    """One that could not be folded."""

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
    published: Mapping[ModelId, KnownUpdate] = {}
    """How each version of the catalog was published: what becomes a dead letter when it fails to load."""


def fold(records: EventBatch, next_offset: int, max_bytes: int) -> KnownCatalog:
    """Fold control records in their order.

    Args:
        records: every record of the control topic.
        next_offset: the offset behind the last one.
        max_bytes: most bytes of inline artifacts that the catalog may hold.
    """
    catalog = Catalog()
    refused: list[RefusedUpdate] = []
    published: dict[ModelId, KnownUpdate] = {}
    for index, value in enumerate(records.values):
        envelope = records.envelope(index)
        offset = decode_envelope(envelope).offset
        catalog, update = fold_one(catalog, value, offset, max_bytes)
        match update:
            case UpdateError():
                refused.append(RefusedUpdate(offset, envelope, value, str(update)))
            case PublishModel():
                published[update.model] = KnownUpdate(offset, envelope, value)
            case RetireModel():
                published = {model: known for model, known in published.items() if model in catalog}
    return KnownCatalog(catalog, next_offset, tuple(refused), published)


def fold_one(
    catalog: Catalog, value: bytes, offset: int, max_bytes: int
) -> tuple[Catalog, ModelUpdate | UpdateError]:
    """The catalog after a control record, and the update, or why it was refused."""
    try:
        update = decode_update(value)
        return apply(catalog, update, offset, max_bytes=max_bytes), update
    except UpdateError as error:
        return advance(catalog, offset), error
