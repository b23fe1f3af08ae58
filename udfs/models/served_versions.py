"""Which versions have served: what a start goes by where a server can't be reached. Plain data."""

from collections.abc import Collection, Iterable

import msgspec

from udfs.errors import Fault
from udfs.models.catalog import Catalog, Model
from udfs.models.updates import PublishModel
from udfs.records import ModelId, ServedModel

STATE_SCHEMA = 1
"""Version of the JSON that the state holds. A later one must read every earlier one."""


class _Schema(msgspec.Struct):
    schema: int


class _State(msgspec.Struct, frozen=True):
    """A subtask's versions as the state keeps them."""

    versions: tuple[ServedModel, ...]
    schema: int = STATE_SCHEMA


_schema_decoder = msgspec.json.Decoder(_Schema)
_decoder = msgspec.json.Decoder(_State)


class ServedVersions:
    """The versions that were ready to score and have not failed since: here, or in earlier attempts.

    Such a version goes on after a restart, whatever has become of its server. Any other is tried like a
    new one, so that it displaces none that served. Where none of its model is known to have served, its
    server may be away, but must not refuse it: it may have refused it before.
    """

    def __init__(self) -> None:
        self._versions: dict[ModelId, ServedModel] = {}
        self._unopposed: set[ModelId] = set()
        """Versions at the start of models of which none is known to have served."""

    def add(self, served: ServedModel) -> None:
        """A version is ready to score."""
        self._versions[ModelId(served.name, served.version)] = served

    def discard(self, model_id: ModelId) -> None:
        """A version can't be served, or is retired."""
        self._versions.pop(model_id, None)

    def late_after(self, model_id: ModelId) -> Collection[Fault]:
        """The faults of a version's server after which it connects later, instead of failing."""
        if model_id in self._versions:
            return frozenset(Fault)
        return {Fault.PASSING} if model_id in self._unopposed else ()

    def start(self, catalog: Catalog, earlier: Catalog, state: Iterable[str]) -> None:
        """Go on from earlier attempts.

        Args:
            catalog: what is served from now on.
            earlier: what an earlier attempt followed.
            state: what earlier attempts, or several subtasks before a rescaling, have left.

        Raises:
            ValueError: written by a newer modelstream than this, or no such state.
        """
        known = {ModelId(one.name, one.version): one for text in state for one in _decode(text)}
        for model in catalog.models.values():
            served = [
                published
                for published in model.versions.values()
                if (one := known.get(published.model)) and one.sha256 == published.identity()
            ]
            self._versions.update((one.model, known[one.model]) for one in served)
            numbers = {one.model.version for one in served}
            if numbers.isdisjoint(one.version for one in model.activations):
                before = earlier.models.get(model.name)
                self._unopposed.update(
                    one.model for one in model.versions.values() if _was_followed(one, before)
                )

    def encode(self) -> list[str]:
        """All of them, as the state keeps them."""
        if not self._versions:
            return []
        return [msgspec.json.encode(_State(tuple(self._versions.values()))).decode()]


def _decode(state: str) -> Iterable[ServedModel]:
    schema = _schema_decoder.decode(state).schema
    if schema > STATE_SCHEMA:
        raise ValueError(
            f"the state of the versions that served has schema {schema}, this modelstream reads up to "
            f"{STATE_SCHEMA}: start the job with the version that wrote it, or a later one"
        )
    return _decoder.decode(state).versions


def _was_followed(published: PublishModel, before: Model | None) -> bool:
    """Whether an earlier attempt had a version; also where it had nothing of its model."""
    if before is None:
        return True
    known = before.versions.get(published.model.version)
    return known is not None and known.identity() == published.identity()
