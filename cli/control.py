"""The control topic as the commands use it: read as a catalog, and sent to."""

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.signing import sign_record
from cli.statuses import Statuses
from connectors.client import Client, Record
from jobs.config import JobConfig
from udfs.errors import ArtifactError, UpdateError
from udfs.models.catalog import Catalog, Model, apply
from udfs.models.known import fold_one
from udfs.models.places import AllowedPlaces
from udfs.models.signatures import check_newer
from udfs.models.updates import ModelUpdate, PublishModel, RetireModel, decode_update, encode_update
from udfs.records import ModelId


class Control:
    """A job's models, as its control and status topics have them. A context manager.

    Args:
        config: the job's configuration.
        key: file of the private key that signs what is sent; None for no signature.
    """

    def __init__(self, config: JobConfig, key: Path | None = None) -> None:
        self.config = config
        self._key = key
        self.client = Client(config.kafka.client_settings())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()

    def catalog(self) -> Catalog:
        """The control topic as it is now, folded."""
        catalog, verifier = Catalog(), self.config.verifier()
        for record in self.client.read_to_end(self.config.topics.control):
            value, offset = record.value or b"", record.offset or 0
            bounds = self.config.catalog
            catalog, _ = fold_one(
                *(catalog, value, offset, bounds.max_bytes, record.headers, verifier, bounds.max_periods)
            )
        return catalog

    def check_may_send(self, name: str) -> None:
        """See that updates of a model would be signed, where the job asks for it.

        Raises:
            UpdateError: they would not.
        """
        if self._key is None:
            self.config.verifier().check((), b"", name)

    def statuses(self) -> Statuses:
        """The status topic as it is now."""
        statuses = Statuses()
        statuses.add(self.client.read_to_end(self.config.topics.model_status))
        return statuses

    def preview(self, update: ModelUpdate, before: Catalog) -> Catalog:
        """The catalog with an update.

        Raises:
            UpdateError: the job would refuse it.
        """
        update = decode_update(encode_update(update))  # as the job will read it
        model = before.models.get(update.model.name)
        serving: Collection[ModelId] = ()
        if isinstance(update, RetireModel):
            if model is None:
                raise UpdateError(f"{update.reference} can't be retired: it is not published")
            if model.active is not None:
                active = ModelId(model.name, model.active)
                serving = self.statuses().standing_in(self.config.name, active)
        self._check_newer(update, model)
        return apply(
            before,
            update,
            before.offset + 1,
            max_bytes=self.config.catalog.max_bytes,
            max_periods=self.config.catalog.max_periods,
            serving=serving,
        )

    def _check_newer(self, update: ModelUpdate, model: Model | None) -> None:
        """See that an update that will be signed is newer than the model's last that was."""
        verifier = self.config.verifier()
        if self._key is None or not (verifier.keys or verifier.required):
            return
        try:
            check_newer(update.occurred_on, model.signed_on if model else None)
        except UpdateError as error:
            raise UpdateError(f"{update.model.name}: {error}") from error

    @contextmanager
    def listening(self) -> Iterator[Iterator[list[Record]]]:
        """The records that come to the status topic from now on; empty lists while none do."""
        with closing(self.client.follow(self.config.topics.model_status)) as stream:
            next(stream)  # connects it
            yield stream

    def send(self, update: ModelUpdate) -> None:
        """Send an update. One that changes nothing asks subtasks where the version failed to try again.

        Raises:
            ConfigError: the key can't be used.
            UpdateError: the job would refuse the signature, or asks for one.
        """
        value = encode_update(update)
        headers = sign_record(self.config, value, self._key)
        self.client.send(self.config.topics.control, [Record(value, update.model.name.encode(), headers)])


def warning_of_place(config: JobConfig, update: PublishModel) -> str | None:
    """Why a job of a configuration would not fetch an artifact, or not ask a server.

    The configuration of the running job may be another.
    """
    allowed = AllowedPlaces(config.artifacts.allow, config.artifacts.allow_private_addresses)
    try:
        if update.endpoint is not None:
            allowed.check_endpoint(update.endpoint)
        elif update.artifact is not None and update.artifact.uri is not None:
            allowed.check(update.artifact.uri)
    except ArtifactError as error:
        return f"a job with this configuration will not load it: {error}"
    return None


def version_before(catalog: Catalog, name: str) -> ModelId:
    """The version of a model that was active before the one that is.

    Raises:
        UpdateError: no such model, or no such version any more.
    """
    model = catalog.models.get(name, Model(name))
    if not model.versions:
        raise UpdateError(f"{name}: no version is published")
    before = [
        one.version
        for one in model.activations
        if one.version != model.active and one.version not in model.leaving
    ]
    if model.active is None or not before:
        raise UpdateError(
            f"{name}: no other version was active before{_active(model)}; "
            f"`modelstream models activate` makes any published version active"
        )
    return ModelId(name, before[-1])


def now() -> str:
    """The time of day, RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _active(model: Model) -> str:
    return f" {model.name}:{model.active}" if model.active is not None else ""
