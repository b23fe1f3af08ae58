"""What the control topic says before a job starts."""

from base64 import b64encode
from collections.abc import Mapping, Sequence

import msgspec

from udfs.batches import EventBatch, decode_envelope
from udfs.errors import ModelstreamError, UpdateError
from udfs.models.catalog import MAX_PERIODS, Catalog, advance, apply
from udfs.models.signatures import ANYBODY, Headers, Verifier, check_newer
from udfs.models.updates import ModelUpdate, PublishModel, decode_update
from udfs.records import ModelId

REFUSED_BYTES = 16 * 1024 * 1024
"""Most bytes that the values of refused records may have together; beyond it the oldest are cut."""


class KnownUpdate(msgspec.Struct, frozen=True):
    """A control record as it was read."""

    offset: int
    envelope: bytes
    value: bytes


class RefusedUpdate(KnownUpdate, frozen=True):
    """One that could not be folded."""

    message: str
    cut_from: int | None = None
    """How many bytes its value had, where it has been cut."""

    def error(self) -> ModelstreamError:
        """Why, as the error that a running job would have had."""
        return UpdateError(self.message)


class KnownPublication(KnownUpdate, frozen=True):
    """One that published a version. Its inline artifact is left out of the value: the catalog has it."""

    artifact_at: int | None = None
    """Where in the value the artifact's base64 belongs; None: the value is whole."""

    def whole_value(self, published: PublishModel) -> bytes:
        """The value as it was read, given the version that the catalog has."""
        if self.artifact_at is None:
            return self.value
        text = b64encode(published.inline)
        return self.value[: self.artifact_at] + text + self.value[self.artifact_at :]


class KnownCatalog(msgspec.Struct, frozen=True):
    """The control topic, folded from its beginning. As large as the catalog, however long the topic."""

    catalog: Catalog = Catalog()
    next_offset: int = 0
    """The first offset that was not read: where the job goes on."""
    refused: tuple[RefusedUpdate, ...] = ()
    published: Mapping[ModelId, KnownPublication] = {}
    """How each version of the catalog was published: what becomes a dead letter when it fails to load."""


def fold(
    records: EventBatch,
    next_offset: int,
    max_bytes: int,
    known: KnownCatalog | None = None,
    verifier: Verifier = ANYBODY,
    max_periods: int = MAX_PERIODS,
) -> KnownCatalog:
    """Fold control records in their order.

    Args:
        records: the control topic's next records.
        next_offset: the offset behind the last one.
        max_bytes: most bytes of inline artifacts that the catalog may hold.
        known: what the records before them came to, None at the topic's beginning.
        verifier: what is asked of signatures.
        max_periods: most periods of a model's timeline.
    """
    known = known or KnownCatalog()
    catalog = known.catalog
    refused = [*known.refused]
    published = {**known.published}
    for index, value in enumerate(records.values):
        envelope = records.envelope(index)
        record = decode_envelope(envelope)
        offset = record.offset
        catalog, update = fold_one(catalog, value, offset, max_bytes, record.headers, verifier, max_periods)
        match update:
            case UpdateError():
                refused.append(RefusedUpdate(offset, envelope, value, str(update)))
            case PublishModel():
                kept = catalog.models[update.model.name].versions[update.model.version]
                published[update.model] = _publication(offset, envelope, value, kept)
    # Any update may let go of a version, not only a retirement.
    published = {model: one for model, one in published.items() if model in catalog}
    return KnownCatalog(catalog, next_offset, _bounded(refused), published)


def fold_one(
    catalog: Catalog,
    value: bytes,
    offset: int,
    max_bytes: int,
    headers: Headers = (),
    verifier: Verifier = ANYBODY,
    max_periods: int = MAX_PERIODS,
) -> tuple[Catalog, ModelUpdate | UpdateError]:
    """The catalog after a control record, and the update, or why it was refused."""
    try:
        update, signed_on = read_update(value, headers, catalog, verifier)
        after = apply(
            catalog, update, offset, max_bytes=max_bytes, max_periods=max_periods, signed_on=signed_on
        )
        return after, update
    except UpdateError as error:
        return advance(catalog, offset), error


def read_update(
    value: bytes, headers: Headers, catalog: Catalog, verifier: Verifier
) -> tuple[ModelUpdate, str | None]:
    """Read a control record that may change a catalog.

    Returns:
        The update, and where it is signed, when it was made.

    Raises:
        UpdateError: it is no update, not signed as it must be, or an old signed one sent again.
    """
    update = decode_update(value)
    name = update.model.name
    if not verifier.check(headers, value, name):
        return update, None
    model = catalog.models.get(name)
    try:
        return update, check_newer(update.occurred_on, model.signed_on if model else None)
    except UpdateError as error:
        raise UpdateError(f"{name}: {error}") from error


def _publication(offset: int, envelope: bytes, value: bytes, kept: PublishModel) -> KnownPublication:
    text = b64encode(kept.inline)
    at = value.find(text) if text else -1
    if at < 0:  # by URI, in another spelling, or there is none
        return KnownPublication(offset, envelope, value)
    return KnownPublication(offset, envelope, value[:at] + value[at + len(text) :], at)


def _bounded(refused: Sequence[RefusedUpdate]) -> tuple[RefusedUpdate, ...]:
    """The refused records, whose newest are whole: a job that starts again has told of the older ones."""
    bounded: list[RefusedUpdate] = []
    total = 0
    for one in reversed(refused):
        total += len(one.value)
        if total > REFUSED_BYTES and one.value:
            one = msgspec.structs.replace(one, value=b"", cut_from=len(one.value))
        bounded.append(one)
    return tuple(reversed(bounded))
