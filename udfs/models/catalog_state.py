"""The catalog's models as the state keeps them: JSON with its schema's version."""

from collections.abc import Mapping

import msgspec

from udfs.json_values import read_struct, write_struct
from udfs.models.catalog import Model
from udfs.models.timeline import Activation
from udfs.models.updates import PublishModel

STATE_SCHEMA = 4
"""Version of the JSON that the state holds. A later one must read every earlier one."""
_SCHEMA_WITHOUT_OFFLOADED = 3


class _Schema(msgspec.Struct):
    name: str
    schema: int


class _Model2(msgspec.Struct):
    """A model as schemas 1 and 2 had it; 1 knew no timeline."""

    name: str
    versions: Mapping[int, PublishModel] = {}
    retired: Mapping[int, str] = {}
    activations: tuple[int, ...] = ()
    """Published versions by their last activation."""
    offset: int = -1
    signed_on: str | None = None
    timeline: tuple[Activation, ...] = ()
    leaving: Mapping[int, int | None] = {}

    def as_model(self) -> Model:
        """The same model: what no period of the timeline has was active before all of them."""
        planned = {one.version for one in self.timeline}
        earlier = [Activation(version) for version in self.activations if version not in planned]
        return Model(
            name=self.name,
            versions=self.versions,
            retired=self.retired,
            activations=(*earlier, *self.timeline),
            offset=self.offset,
            signed_on=self.signed_on,
            leaving=self.leaving,
        )


class _Written(Model, frozen=True):
    """A model with its schema behind it."""

    schema: int = STATE_SCHEMA


_schema_decoder = msgspec.json.Decoder(_Schema)
_model_2_decoder = msgspec.json.Decoder(_Model2)
_model_decoder = msgspec.json.Decoder(Model)


def encode_model(model: Model) -> bytes:
    """A model as the state keeps it.

    One that has nothing of this schema is written in the one before: jobs of that time go on with it.
    """
    has_offloaded = any(version.is_offloaded for version in model.versions.values())
    schema = STATE_SCHEMA if has_offloaded else _SCHEMA_WITHOUT_OFFLOADED
    return write_struct(_Written(**msgspec.structs.asdict(model), schema=schema))


def decode_model(state: bytes) -> Model:
    """Read a model from the state, of this schema or an earlier one.

    Raises:
        ValueError: written by a newer modelstream than this, or no such state.
    """
    written = read_struct(_schema_decoder, state)
    if written.schema > STATE_SCHEMA:
        raise ValueError(
            f"the state of model {written.name} has schema {written.schema}, this modelstream reads up to "
            f"{STATE_SCHEMA}: start the job with the version that wrote it, or a later one"
        )
    if written.schema < 3:
        return read_struct(_model_2_decoder, state).as_model()
    return read_struct(_model_decoder, state)
