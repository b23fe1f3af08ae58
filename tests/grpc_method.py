"""A gRPC service that scores irises, made of a descriptor: alone, in batches, and with reflection."""

import base64
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tests.grpc_server import Methods, fail

PACKAGE = "iris.v1"
SERVICE = f"{PACKAGE}.Iris"
_TYPES = {
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}


def add_message(file: FileDescriptorProto, name: str, *fields: str) -> DescriptorProto:
    """Add a message of fields like ``repeated double measures`` to a proto3 file, numbered from 1."""
    message = file.message_type.add(name=name)
    for number, text in enumerate(fields, 1):
        *words, kind, field_name = text.split()
        field = message.field.add(name=field_name, number=number)
        field.label = field.LABEL_REPEATED if "repeated" in words else field.LABEL_OPTIONAL
        if kind in _TYPES:
            field.type = _TYPES[kind]
        elif kind.startswith("enum:"):
            field.type, field.type_name = field.TYPE_ENUM, f".{file.package}.{kind[5:]}"
        else:
            field.type, field.type_name = (
                field.TYPE_MESSAGE,
                kind if kind[0] == "." else f".{file.package}.{kind}",
            )
        if "optional" in words:
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field_name}")
    return message


def iris_file() -> FileDescriptorProto:
    """The file of the service."""
    file = FileDescriptorProto(name="iris/v1/iris.proto", package=PACKAGE, syntax="proto3")
    fields = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    add_message(file, "Measures", *(f"double {field}" for field in fields))
    add_message(file, "Species", "string label", "double area", "int64 rank", "optional string note")
    add_message(file, "Batch", "repeated Measures records", "string season")
    add_message(file, "Answers", "repeated Species results", "repeated double areas")
    service = file.service.add(name="Iris")
    for name, takes, gives in (
        ("Score", "Measures", "Species"),
        ("ScoreBatch", "Batch", "Answers"),
        ("Watch", "Measures", "Species"),
    ):
        method = service.method.add(
            name=name, input_type=f".{PACKAGE}.{takes}", output_type=f".{PACKAGE}.{gives}"
        )
        method.server_streaming = name == "Watch"
    return file


def descriptor_set(*files: FileDescriptorProto) -> str:
    """Files as the option ``descriptors`` takes them."""
    return base64.b64encode(FileDescriptorSet(file=files).SerializeToString()).decode()


class IrisServer(Methods):
    """The service: the species by the petal's length, its area, and a rank beyond 2^53.

    A petal of negative length is refused as an invalid argument.
    """

    def __init__(self) -> None:
        pool = DescriptorPool()
        pool.AddSerializedFile(iris_file().SerializeToString())
        self.reflected = ([SERVICE], pool)
        self._classes = {
            name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
            for name in ("Measures", "Species", "Batch", "Answers")
        }
        super().__init__({f"/{SERVICE}/Score": self._score, f"/{SERVICE}/ScoreBatch": self._score_batch})

    def _score(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        species = self._classes["Species"]()
        self._set(species, self._classes["Measures"].FromString(request), context)
        return bytes(species.SerializeToString())

    def _score_batch(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        batch, answers = self._classes["Batch"].FromString(request), self._classes["Answers"]()
        for record in batch.records:
            self._set(answers.results.add(note=batch.season or None), record, context)
            answers.areas.append(answers.results[-1].area)
        return bytes(answers.SerializeToString())

    def _set(self, species: Any, measures: Any, context: grpc.ServicerContext) -> None:
        if measures.petal_length < 0:
            fail(context, "INVALID_ARGUMENT", "a petal of negative length")
        species.label = "setosa" if measures.petal_length < 2.5 else "other"
        species.area = measures.petal_length * measures.petal_width
        species.rank = 2**60 + 1
