"""What an inference server says of a model, or its publisher in its place: the tensors it takes and gives."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue, read_json
from udfs.options import Options
from udfs.remotes._inference_tensors import MOST_AXES, dtype_of, listed, shown
from udfs.tensors.faults import shape_text
from udfs.tensors.reader import TensorSpec

Parameter = bool | int | float | str
"""What goes with a request, by the protocol."""

_LARGEST_REQUEST = 64 << 20
_FREE = -1
_INT64 = range(-(1 << 63), 1 << 63)


class TensorMetadata(msgspec.Struct, frozen=True):
    """A tensor of a model.

    Attributes:
        name: its name.
        datatype: as the protocol writes it: ``FP32``.
        shape: its axes, the records' first; -1 for one of any length.
    """

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """The tensors of a model; none where the server does not know."""

    inputs: list[TensorMetadata] | None = None
    outputs: list[TensorMetadata] | None = None


class DeclaredTensor(TensorMetadata, frozen=True, forbid_unknown_fields=True):
    """A tensor as the option ``inputs`` declares it."""


class Wanted(NamedTuple):
    """What a publisher wants of a server.

    Attributes:
        model: the model's name there.
        version: its version there, None: whichever the server takes.
        outputs: the names of the outputs to give; none: all.
        parameters: what goes with each request.
    """

    model: str
    version: str | None = None
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = {}


class Signature(NamedTuple):
    """What a request to a model holds.

    Attributes:
        specs: the tensors of a record.
        max_batch: most records that a request can hold.
    """

    specs: list[TensorSpec]
    max_batch: int


def declared_inputs(options: Options) -> list[DeclaredTensor]:
    """The option ``inputs``: a JSON array, itself or as text; empty where it is not given.

    Raises:
        ModelLoadError: it is something else.
    """
    value = options.get("inputs", ())
    try:
        if isinstance(value, str):
            value = read_json(value.encode())
        return msgspec.convert(value, list[DeclaredTensor])
    except ValueError as error:
        raise ModelLoadError(
            'option inputs: expected an array like [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]: '
            f"{error}"
        ) from error


def checked_parameters(values: Mapping[str, JsonValue]) -> dict[str, Parameter]:
    """Parameters that the protocol can send.

    Raises:
        ModelLoadError: one is neither a text, a number, true nor false.
    """
    parameters: dict[str, Parameter] = {}
    for name, value in values.items():
        if not isinstance(value, Parameter) or (isinstance(value, int) and value not in _INT64):
            raise ModelLoadError(
                f"option parameters: {name}: expected a text, a number, true or false, got {value!r}"
            )
        parameters[name] = value
    return parameters


def signature_of(
    metadata: ModelMetadata, declared: Sequence[TensorMetadata], outputs: Sequence[str]
) -> Signature:
    """What to send to a model.

    Args:
        metadata: what the server says.
        declared: its inputs, where they are to be taken instead of those that the server says.
        outputs: the names of the wanted outputs; none: all.

    Raises:
        ModelLoadError: neither says the inputs, records have no place in them, or the model has no such
            outputs.
    """
    inputs = declared or metadata.inputs or ()
    if not inputs:
        raise ModelLoadError(
            "the server does not say which inputs the model takes; declare them with the option inputs, like "
            '[{"name": "predict", "datatype": "FP32", "shape": [-1, 4]}]'
        )
    if len({one.name for one in inputs}) < len(inputs):
        raise ModelLoadError(f"two inputs of one name: {listed(one.name for one in inputs)}")
    known = [one.name for one in metadata.outputs or ()]
    if known and (missing := [name for name in outputs if name not in known]):
        raise ModelLoadError(f"the model has no output {missing[0]!r}; it has {listed(known)}")
    specs = [_spec(one) for one in inputs]
    most = _most_records(specs)
    return Signature(specs, 1 if any(one.shape[0] == 1 for one in inputs) else most)


def _spec(tensor: TensorMetadata) -> TensorSpec:
    text = f"input {shown(tensor.name)} has shape {shape_text(tuple(tensor.shape[:MOST_AXES]))}"
    try:
        dtype = dtype_of(tensor.datatype)
    except ValueError as error:
        raise ModelLoadError(f"input {shown(tensor.name)}: {error}") from error
    if not tensor.shape or tensor.shape[0] not in (_FREE, 1):
        raise ModelLoadError(
            f"{text}: its first axis must be the records' (-1, or 1: one record a request); where it is, "
            "declare it so with the option inputs"
        )
    if len(tensor.shape) > MOST_AXES or any(axis < _FREE or axis == 0 for axis in tensor.shape):
        raise ModelLoadError(f"{text}, which no record can have")
    return TensorSpec(tensor.name, dtype, tuple(None if axis == _FREE else axis for axis in tensor.shape[1:]))


def _most_records(specs: Sequence[TensorSpec]) -> int:
    """How many records make the largest request, as far as the shapes say."""
    size = sum(spec.dtype.itemsize * math.prod(axis or 1 for axis in spec.shape or ()) for spec in specs)
    if size > _LARGEST_REQUEST:
        raise ModelLoadError(f"one record of the model has {size} bytes; {_LARGEST_REQUEST} can be sent")
    return _LARGEST_REQUEST // size
