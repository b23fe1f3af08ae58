"""Signatures as TensorFlow Serving tells of them, over gRPC and over REST.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/get_model_metadata.proto
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from google.protobuf.message import DecodeError, Message

from udfs.errors import ModelLoadError
from udfs.remotes._tensorflow_serving_messages import GetModelMetadataResponse, SignatureDefMap
from udfs.remotes._tensorflow_serving_tensors import dtype_of
from udfs.tensors.columns import TensorSpec

FIELD = "signature_def"
"""What is asked for of a model's metadata."""


class TensorInfo(NamedTuple):
    """A tensor of a signature.

    Attributes:
        kind: its DataType, by number or name.
        axes: its axes, the records' first; None for one of any length, or in place of all for any rank.
    """

    kind: int | str
    axes: tuple[int | None, ...] | None


class Signature(NamedTuple):
    """What a signature takes and gives, by name."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    def specs(self) -> list[TensorSpec]:
        """The tensors of one record.

        Raises:
            ModelLoadError: one has no batch axis, or elements that JSON has no values for.
        """
        specs = []
        for name, info in sorted(self.inputs.items()):
            if info.axes == ():
                raise ModelLoadError(f"input {name!r} has no batch axis")
            try:
                specs.append(TensorSpec(name, dtype_of(info.kind), info.axes and info.axes[1:]))
            except ValueError as error:
                raise ModelLoadError(f"input {name!r}: {error}") from error
        return specs

    def batch_size(self) -> int | None:
        """How many records a request has to have; None: any number.

        Raises:
            ModelLoadError: the inputs don't agree on it.
        """
        sizes = {info.axes[0] if info.axes else None for info in self.inputs.values()}
        if len(sizes) > 1:
            raise ModelLoadError("the inputs have no batch axis in common")
        return sizes.pop() if sizes else None

    def choose_outputs(self, wanted: Sequence[str]) -> list[str]:
        """The names of the outputs to give: the wanted ones, or all.

        Raises:
            ModelLoadError: there is no such output.
        """
        known = sorted(self.outputs)
        if unknown := [name for name in wanted if name not in known]:
            raise ModelLoadError(
                f"no output {unknown[0]!r}; the signature has: {', '.join(known)} (option outputs)"
            )
        return list(wanted) or known


def read_metadata_message(answer: bytes) -> dict[str, Signature]:
    """The signatures in a serialized GetModelMetadataResponse.

    Raises:
        ValueError: it is none, or has no signatures.
    """
    try:
        response = GetModelMetadataResponse.FromString(answer)
        signatures = SignatureDefMap.FromString(response.metadata[FIELD].value).signature_def
    except DecodeError as error:
        raise ValueError("it is no GetModelMetadataResponse") from error
    return {
        name: Signature(_infos(signature.inputs), _infos(signature.outputs))
        for name, signature in signatures.items()
        if signature.inputs  # not what only initializes
    }


def read_metadata_json(answer: bytes) -> dict[str, Signature]:
    """The signatures in the answer to ``GET .../metadata``.

    Raises:
        ValueError: there are none in it.
    """
    # JSON has 64-bit integers as strings.
    read = msgspec.convert(msgspec.json.decode(answer), _Metadata, strict=False)
    return {
        name: Signature(
            {key: value.info() for key, value in one.inputs.items()},
            {key: value.info() for key, value in one.outputs.items()},
        )
        for name, one in read.metadata.signature_def.signature_def.items()
        if one.inputs
    }


def _infos(tensors: Mapping[str, Message]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(
            one.dtype, _axes([dim.size for dim in one.tensor_shape.dim], one.tensor_shape.unknown_rank)
        )
        for name, one in tensors.items()
    }


def _axes(sizes: Sequence[int], unknown_rank: bool) -> tuple[int | None, ...] | None:
    return None if unknown_rank else tuple(size if size >= 0 else None for size in sizes)


class _Dim(msgspec.Struct):
    size: int = -1


class _Shape(msgspec.Struct):
    dim: list[_Dim] = []
    unknown_rank: bool = False


class _Tensor(msgspec.Struct):
    dtype: str
    tensor_shape: _Shape = msgspec.field(default_factory=_Shape)

    def info(self) -> TensorInfo:
        sizes = [dim.size for dim in self.tensor_shape.dim]
        return TensorInfo(self.dtype, _axes(sizes, self.tensor_shape.unknown_rank))


class _Signature(msgspec.Struct):
    inputs: dict[str, _Tensor] = {}
    outputs: dict[str, _Tensor] = {}


class _Signatures(msgspec.Struct):
    signature_def: dict[str, _Signature]


class _Fields(msgspec.Struct):
    signature_def: _Signatures


class _Metadata(msgspec.Struct):
    metadata: _Fields
