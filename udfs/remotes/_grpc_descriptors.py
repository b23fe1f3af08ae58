"""What a gRPC method takes and gives: from a descriptor set, or as the server's reflection tells it.

The descriptors go into a pool of their own, so that no two models, and no library, can be in each other's
way. Of protobuf's well-known types the library's own descriptors are taken, whatever is said of them.

Source: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

import asyncio
import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes._grpc_faults import one_line

MAX_SET_BYTES = 4 * 1024 * 1024
_MAX_FILES = 1000
_WELL_KNOWN = {
    module.DESCRIPTOR.name: module.DESCRIPTOR.serialized_pb
    for module in (
        any_pb2,
        descriptor_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
}
# Newer servers may know only the second; the messages are the same.
_REFLECTION = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1alpha", "v1")
)
_REFUSED = (TypeError, ValueError, KeyError, RecursionError, DecodeError)
"""What protobuf raises for descriptors that can't be."""


class Method(NamedTuple):
    """A unary method: its path, the classes of its messages, and the pool that they are of."""

    path: str
    request: type[Message]
    response: type[Message]
    pool: DescriptorPool


def split_name(name: str) -> tuple[str, str]:
    """The service and the method of ``package.Service/Method``.

    Raises:
        ModelLoadError: it is no such name.
    """
    service, slash, method = name.partition("/")
    if not (slash and method.isidentifier() and all(part.isidentifier() for part in service.split("."))):
        raise ModelLoadError(f"option method: expected package.Service/Method, got {name!r}")
    return service, method


def method_of_set(text: str, name: str) -> Method:
    """Find a method in a FileDescriptorSet.

    Args:
        text: the set, serialized and in base64: ``protoc --include_imports --descriptor_set_out``.
        name: ``package.Service/Method``.

    Raises:
        ModelLoadError: it is no such set, it is too large, or has no such unary method.
    """
    if len(text) > MAX_SET_BYTES * 4 // 3 + 4:
        raise ModelLoadError(f"option descriptors: over {MAX_SET_BYTES >> 20} MiB")
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(text, validate=True)).file
        pool = _pool_of(files)
    except _REFUSED as error:
        raise ModelLoadError(
            f"option descriptors: expected a FileDescriptorSet in base64: {one_line(str(error))}"
        ) from error
    return _find(pool, name, "option descriptors")


async def method_of_server(endpoint: GrpcEndpoint, name: str, seconds: float) -> Method:
    """Ask a server for a method's descriptors, by reflection.

    Raises:
        OffloadError: it can't be reached, has no reflection, or answers with what is none.
        ModelLoadError: it has no such unary method.
    """
    service, _ = split_name(name)
    files: dict[str, Any] = {}
    wanted = [ServerReflectionRequest(file_containing_symbol=service)]
    size = 0
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while wanted:
        for serialized in await _reflect(endpoint, wanted.pop(), max(end - clock(), 0.001)):
            size += len(serialized)
            try:
                file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
            except DecodeError as error:
                raise OffloadError(f"{endpoint.name}: its reflection gives no descriptors") from error
            files[file.name] = file
        if size > MAX_SET_BYTES or len(files) > _MAX_FILES:
            raise OffloadError(f"{endpoint.name}: its reflection gives too much; use the option descriptors")
        missing = (
            {one for file in files.values() for one in file.dependency} - files.keys() - _WELL_KNOWN.keys()
        )
        wanted = [ServerReflectionRequest(file_by_filename=one) for one in sorted(missing)[:1]]
    try:
        pool = _pool_of(files.values())
    except _REFUSED as error:
        raise OffloadError(f"{endpoint.name}: its reflection: {one_line(str(error))}") from error
    return _find(pool, name, endpoint.name)


async def _reflect(endpoint: GrpcEndpoint, request: Any, seconds: float) -> list[bytes]:
    """One question to the reflection service. It streams, but a stream of one is a unary call."""
    for path in _REFLECTION:
        try:
            answer = await endpoint.unary(path, request.SerializeToString(), seconds)
            break
        except OffloadError as error:
            if error.fault is not Fault.LASTING:
                raise
            failure = error
    else:
        raise OffloadError(f"{failure}; without reflection, give the option descriptors") from failure
    try:
        response = ServerReflectionResponse.FromString(answer)
    except DecodeError as error:
        raise OffloadError(f"{endpoint.name}: its reflection gives no answer that can be read") from error
    if response.HasField("error_response"):
        asked = request.file_containing_symbol or request.file_by_filename
        raise ModelLoadError(
            f"{endpoint.name} has no {asked}: {one_line(response.error_response.error_message)}"
        )
    return list(response.file_descriptor_response.file_descriptor_proto)


def _pool_of(files: Iterable[Any]) -> DescriptorPool:
    """A pool of files, which may come in any order."""
    pool = DescriptorPool()
    for serialized in _WELL_KNOWN.values():
        pool.AddSerializedFile(serialized)
    waiting = {file.name: file for file in files if file.name not in _WELL_KNOWN}
    if len(waiting) > _MAX_FILES:
        raise ValueError(f"over {_MAX_FILES} files")
    while waiting:
        ready = [file for file in waiting.values() if not any(one in waiting for one in file.dependency)]
        if not ready:
            raise ValueError("files that need each other")
        for file in ready:
            pool.AddSerializedFile(file.SerializeToString())
            del waiting[file.name]
    return pool


def _find(pool: DescriptorPool, name: str, where: str) -> Method:
    service, method_name = split_name(name)
    try:
        found: MethodDescriptor = pool.FindServiceByName(service).methods_by_name[method_name]
    except KeyError as error:
        raise ModelLoadError(f"{where}: no method {name}") from error
    if found.client_streaming or found.server_streaming:
        raise ModelLoadError(f"{where}: {name} streams; only unary methods can score")
    return Method(f"/{name}", _class_of(found.input_type), _class_of(found.output_type), pool)


def _class_of(descriptor: Descriptor) -> type[Message]:
    message_class: type[Message] = GetMessageClass(descriptor)
    return message_class
