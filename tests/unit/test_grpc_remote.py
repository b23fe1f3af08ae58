"""Any unary method as a model: how it is found, what is sent to it, and what is made of its answers."""

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from google.protobuf import any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tests.grpc_method import SERVICE, IrisServer, add_message, descriptor_set, iris_file
from tests.grpc_server import Methods, serving
from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.remotes import connect
from udfs.remotes._grpc_descriptors import MAX_SET_BYTES
from udfs.remotes._grpc_messages import MessageWriter
from udfs.remotes.base import Surroundings

IRIS: dict[str, JsonValue] = {
    "sepal_length": 5.1,
    "sepal_width": 3.5,
    "petal_length": 1.5,
    "petal_width": 0.5,
}
SETOSA = {"label": "setosa", "area": 0.75, "rank": 2**60 + 1}
ONE = {"method": f"{SERVICE}/Score"}
BATCH = {"method": f"{SERVICE}/ScoreBatch", "batch": "records", "results": "results"}


@pytest.fixture(scope="module")
def server() -> IrisServer:
    return IrisServer()


@pytest.fixture(scope="module")
def url(server: IrisServer) -> Iterator[str]:
    with serving(server, reflected=server.reflected) as port:
        yield f"grpc://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def silent_url(server: IrisServer) -> Iterator[str]:
    """A server without reflection."""
    with serving(server) as port:
        yield f"grpc://127.0.0.1:{port}"


def score(
    url: str, options: Mapping[str, JsonValue], inputs: Sequence[JsonValue]
) -> Sequence[JsonValue | ScoreError]:
    async def whole() -> Sequence[JsonValue | ScoreError]:
        remote = connect("grpc", {"url": url, **options}, Surroundings(AllowedPlaces([url])))
        try:
            await remote.open(60)
            return await remote.score(inputs, 60, ())
        finally:
            await remote.close()

    return asyncio.run(whole())


# --- finding a method ----------------------------------------------------------------------------------


def test_a_method_is_found_by_reflection(url: str) -> None:
    assert score(url, ONE, [IRIS]) == [SETOSA]


def test_a_method_is_found_in_a_descriptor_set(silent_url: str) -> None:
    assert score(silent_url, {**ONE, "descriptors": descriptor_set(iris_file())}, [IRIS]) == [SETOSA]


def test_files_of_a_set_come_in_any_order(silent_url: str) -> None:
    file = iris_file()
    file.dependency.append("base.proto")
    base = FileDescriptorProto(name="base.proto", package="base", syntax="proto3")
    assert score(silent_url, {**ONE, "descriptors": descriptor_set(file, base)}, [IRIS]) == [SETOSA]


def test_a_server_without_reflection_says_what_to_do(silent_url: str) -> None:
    with pytest.raises(OffloadError, match="option descriptors") as caught:
        score(silent_url, ONE, [IRIS])
    assert caught.value.fault is Fault.LASTING


@pytest.mark.parametrize(
    "method", ["iris.v1.Nobody/Score", f"{SERVICE}/Guess", "grpc.health.v1.Health/Check"]
)
def test_a_method_that_the_server_does_not_have_is_a_load_error(url: str, method: str) -> None:
    with pytest.raises(ModelLoadError, match=method.partition("/")[0]):
        score(url, {"method": method}, [IRIS])


@pytest.mark.parametrize("method", ["", "Score", "a.B/", "/a.B/C", "a.B/C/D", "a b/C", "a.B/C\n", "a..B/C"])
def test_a_name_that_is_no_methods_is_a_load_error(url: str, method: str) -> None:
    with pytest.raises(ModelLoadError, match="option method"):
        score(url, {"method": method}, [IRIS])


def test_a_method_that_streams_is_a_load_error(url: str) -> None:
    with pytest.raises(ModelLoadError, match="streams"):
        score(url, {"method": f"{SERVICE}/Watch"}, [IRIS])


def _needs_itself() -> str:
    return descriptor_set(FileDescriptorProto(name="a.proto", dependency=["a.proto"]))


def _names_no_type() -> str:
    file = FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    add_message(file, "A", "Nowhere field")
    return descriptor_set(file)


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "AAAA",
        descriptor_set(iris_file())[:-40],
        descriptor_set(FileDescriptorProto(name="a.proto", dependency=["b.proto"])),
        _needs_itself(),
        _names_no_type(),
        descriptor_set(*(FileDescriptorProto(name=f"{i}.proto") for i in range(1001))),
        "A" * (MAX_SET_BYTES * 2),
    ],
    ids=["text", "zeros", "cut", "incomplete", "needs itself", "no such type", "too many", "too large"],
)
def test_descriptors_that_are_none_are_a_load_error(text: str) -> None:
    with pytest.raises(ModelLoadError, match="option descriptors") as caught:
        score("grpc://127.0.0.1:1", {**ONE, "descriptors": text}, [IRIS])
    assert len(str(caught.value)) < 500


def test_an_empty_set_has_no_method() -> None:
    empty = descriptor_set(FileDescriptorProto(name="a.proto"))
    with pytest.raises(ModelLoadError, match="no method"):
        score("grpc://127.0.0.1:1", {**ONE, "descriptors": empty}, [IRIS])


@pytest.mark.parametrize("answer", [b"", b"\xff\xff", b"\x22\x03\x0a\x01\xff"], ids=repr)
def test_reflection_that_answers_nonsense_is_a_fault(answer: bytes) -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    with serving(Methods({path: lambda *_: answer})) as port, pytest.raises((OffloadError, ModelLoadError)):
        score(f"grpc://127.0.0.1:{port}", ONE, [IRIS])


# --- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"batch": "records"}, "batch and results"),
        ({"results": "results"}, "batch and results"),
        ({"output": "nothing"}, "no field 'nothing'; known: label, area, rank, note"),
        ({**BATCH, "batch": "season"}, "season is no repeated field"),
        ({**BATCH, "batch": "nothing"}, "option batch: no field"),
        ({**BATCH, "results": "nothing"}, "option results: no field"),
        ({**BATCH, "results": "areas", "output": "area"}, "option output: no field"),
        ({"method": f"{SERVICE}/ScoreBatch", "batch": "records", "results": "records"}, "option results"),
        ({"request": {"nothing": 1}}, "option request: .*nothing"),
        ({"request": "[]"}, "option request"),
        ({"repeatable": "perhaps"}, "option repeatable"),
        ({"surprise": 1}, "unknown option 'surprise'"),
    ],
)
def test_options_that_do_not_fit_are_a_load_error(url: str, more: dict[str, JsonValue], text: str) -> None:
    with pytest.raises(ModelLoadError, match=text):
        score(url, {**ONE, **more}, [IRIS])


def test_a_call_is_repeatable_only_where_that_is_said(url: str) -> None:
    surroundings = Surroundings(AllowedPlaces([url]))
    options = {"url": url, **ONE}
    assert not connect("grpc", options, surroundings).is_repeatable
    assert connect("grpc", {**options, "repeatable": True}, surroundings).is_repeatable


def test_one_record_is_one_request_unless_there_is_a_batch(url: str) -> None:
    surroundings = Surroundings(AllowedPlaces([url]))
    assert connect("grpc", {"url": url, **ONE}, surroundings).max_batch == 1
    assert connect("grpc", {"url": url, **BATCH}, surroundings).max_batch is None


# --- records and answers -------------------------------------------------------------------------------


def test_a_batch_goes_as_one_request(server: IrisServer, url: str) -> None:
    score(url, BATCH, [IRIS])
    server.seen.requests.clear()
    assert score(url, BATCH, [IRIS] * 20) == [SETOSA] * 20
    assert len(server.seen.requests) == 1


def test_a_field_of_all_requests_goes_with_a_batch(url: str) -> None:
    assert score(url, {**BATCH, "request": '{"season": "May"}'}, [IRIS]) == [{**SETOSA, "note": "May"}]


@pytest.mark.parametrize(
    "options", [{**ONE, "output": "area"}, {**BATCH, "output": "area"}, {**BATCH, "results": "areas"}]
)
def test_a_field_may_be_the_output(url: str, options: dict[str, JsonValue]) -> None:
    assert score(url, options, [IRIS]) == [0.75]


def test_a_field_that_is_not_set_is_null_as_an_output(url: str) -> None:
    assert score(url, {**ONE, "output": "note"}, [IRIS]) == [None]


@pytest.mark.parametrize(
    "bad",
    [
        None, 7, "iris", [], [IRIS], {"petal_length": "long"}, {"petal_length": [1]},
        {"surprise": 1}, {**IRIS, "": 1}, {"petal_length": {"petal_length": 1}}, {"petal_length": math.nan},
    ],
    ids=repr,
)  # fmt: skip
def test_a_bad_record_fails_alone(url: str, bad: JsonValue) -> None:
    first, second, third = score(url, BATCH, [IRIS, bad, IRIS])
    assert (first, third) == (SETOSA, SETOSA)
    assert isinstance(second, ScoreError)
    assert str(second).isprintable()
    assert len(str(second)) < 400


def test_a_batch_of_bad_records_asks_nobody(server: IrisServer, url: str) -> None:
    score(url, BATCH, [IRIS])
    server.seen.requests.clear()
    assert [type(result) for result in score(url, BATCH, [None, 7])] == [ScoreError, ScoreError]
    assert not server.seen.requests


def test_a_record_that_the_server_refuses_is_its_records_fault(url: str) -> None:
    with pytest.raises(OffloadError, match="a petal of negative length") as caught:
        score(url, BATCH, [IRIS, {**IRIS, "petal_length": -1}])
    assert caught.value.fault is Fault.RECORD


@pytest.mark.parametrize(("answer", "text"), [(b"", "0 elements for 1 records"), (b"\x0a\x05a", "is no")])
def test_an_answer_that_does_not_fit_is_a_lasting_fault(answer: bytes, text: str) -> None:
    options = {**BATCH, "descriptors": descriptor_set(iris_file())}
    handler = Methods({f"/{SERVICE}/ScoreBatch": lambda *_: answer})
    with serving(handler) as port, pytest.raises(OffloadError, match=text) as caught:
        score(f"grpc://127.0.0.1:{port}", options, [IRIS])
    assert caught.value.fault is Fault.LASTING


# --- messages as JSON ----------------------------------------------------------------------------------


def value_of(*fields: str, **values: Any) -> JsonValue:
    """A message of such fields, with such values, as JSON."""
    file = FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    pool = DescriptorPool()
    for module in (any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        file.dependency.append(module.DESCRIPTOR.name)
    color = file.enum_type.add(name="Color")
    color.value.add(name="RED", number=0)
    color.value.add(name="BLUE", number=1)
    add_message(file, "I", "int64 n")
    add_message(file, "M", *fields)
    pool.AddSerializedFile(file.SerializeToString())
    message = GetMessageClass(pool.FindMessageTypeByName("a.M"))(**values)
    return MessageWriter(pool).message(message)


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("int64", 2**60 + 1, 2**60 + 1),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("int32", -1, -1),
        ("double", math.inf, math.inf),
        ("bool", True, True),
        ("string", "ü", "ü"),
        ("bytes", b"\x00\xff", "AP8="),
        ("enum:Color", 1, "BLUE"),
        ("enum:Color", 7, 7),
        ("repeated enum:Color", [0, 1], ["RED", "BLUE"]),
        ("repeated int64", [2**60, 1], [2**60, 1]),
        ("I", {"n": 5}, {"n": 5}),
        ("repeated I", [{"n": 5}, {}], [{"n": 5}, {"n": 0}]),
        (".google.protobuf.Timestamp", {"seconds": 1}, "1970-01-01T00:00:01Z"),
        (".google.protobuf.Int64Value", {"value": 2**60}, 2**60),
        (".google.protobuf.Value", {"number_value": 2.5}, 2.5),
        (".google.protobuf.Value", {"null_value": 0}, None),
        (".google.protobuf.ListValue", {"values": [{"string_value": "a"}]}, ["a"]),
        (".google.protobuf.Struct", {"a": True}, {"a": True}),
        (".google.protobuf.Any", {"type_url": "x/a.I", "value": b"\x08\x05"}, {"@type": "x/a.I", "n": 5}),
        (".google.protobuf.Any", {"type_url": "x/b.C", "value": b"0"}, {"@type": "x/b.C", "value": "MA=="}),
        (".google.protobuf.Any", {"type_url": "x/a.I", "value": b"a"}, {"@type": "x/a.I", "value": "YQ=="}),
    ],
)  # fmt: skip
def test_a_field_has_its_json_value(field: str, given: Any, value: JsonValue) -> None:
    assert value_of(f"{field} f", f=given) == {"f": value}


def test_nan_is_nan() -> None:
    value: Any = value_of("double f", f=math.nan)
    assert math.isnan(value["f"])


def test_a_field_without_presence_is_always_there() -> None:
    fields = ("int64 a", "repeated double b", "I c", "optional string d")
    assert value_of(*fields) == {"a": 0, "b": []}
