"""TensorFlow Serving without TensorFlow: messages, tensors, examples, options, and answers of any kind."""

import asyncio
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.grpc_server import Methods, serving
from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.remotes import _tensorflow_serving_messages as messages
from udfs.remotes import connect
from udfs.remotes._tensorflow_serving_examples import (
    Feature,
    example_of,
    json_example_of,
    read_features,
    read_kinds,
)
from udfs.remotes._tensorflow_serving_signature import Signature, TensorInfo, read_metadata_json
from udfs.remotes._tensorflow_serving_tensors import (
    dtype_of,
    json_column,
    read_json_values,
    read_records,
    read_tensor,
    write_tensor,
)
from udfs.remotes.base import Surroundings
from udfs.tensors.columns import TensorSpec

# --- messages ------------------------------------------------------------------------------------------


def test_tensorflow_is_not_imported() -> None:
    code = "import sys, udfs.remotes.tensorflow_serving; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _assert_same_wire(ours: Descriptor, theirs: Descriptor, done: set[str]) -> None:
    """Assert that each of our fields is one of theirs: name, number, type and label."""
    if ours.full_name in done:
        return
    done.add(ours.full_name)
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        kind = FieldDescriptor.TYPE_INT32 if other.type == FieldDescriptor.TYPE_ENUM else other.type
        assert (field.number, field.type, field.label) == (other.number, kind, other.label), field.full_name
        if field.message_type is not None:
            _assert_same_wire(field.message_type, other.message_type, done)


def test_messages_are_the_published_ones_on_the_wire() -> None:
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        predict_pb2,
        regression_pb2,
    )

    published = {
        messages.PredictRequest: predict_pb2.PredictRequest,
        messages.PredictResponse: predict_pb2.PredictResponse,
        messages.ExamplesRequest: classification_pb2.ClassificationRequest,
        messages.ClassificationResponse: classification_pb2.ClassificationResponse,
        messages.RegressionResponse: regression_pb2.RegressionResponse,
        messages.GetModelMetadataRequest: get_model_metadata_pb2.GetModelMetadataRequest,
        messages.GetModelMetadataResponse: get_model_metadata_pb2.GetModelMetadataResponse,
        messages.SignatureDefMap: get_model_metadata_pb2.SignatureDefMap,
    }
    done: set[str] = set()
    for ours, theirs in published.items():
        _assert_same_wire(ours.DESCRIPTOR, theirs.DESCRIPTOR, done)
    _assert_same_wire(messages.ExamplesRequest.DESCRIPTOR, regression_pb2.RegressionRequest.DESCRIPTOR, set())
    assert done >= {
        message.full_name for message in messages.Tensor.DESCRIPTOR.file.message_types_by_name.values()
    }


# --- tensors -------------------------------------------------------------------------------------------


def tensor(kind: int, shape: Sequence[int], **fields: Any) -> Any:
    message = messages.Tensor(dtype=kind, **fields)
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
def test_a_tensor_reads_as_it_was_written(dtype: str) -> None:
    column = np.array([[0, 1], [1, 0], [1, 1]], dtype)
    message = messages.Tensor()
    write_tensor(column, message)
    read = read_tensor(message)
    assert read.dtype == column.dtype
    assert read.tolist() == column.tolist()


def test_a_tensor_of_strings_reads_as_bytes() -> None:
    message = messages.Tensor()
    write_tensor(np.array([["a", "ü"], [b"\xff", ""]], dtype=object), message)
    assert read_tensor(message).tolist() == [[b"a", "ü".encode()], [b"\xff", b""]]


@pytest.mark.parametrize(
    ("message", "values"),
    [
        (tensor(1, [2], float_val=[0.5, 1.5]), [0.5, 1.5]),
        (tensor(19, [1], half_val=[0x3C00]), [1.0]),
        (tensor(6, [2], int_val=[-128, 127]), [-128, 127]),
        (tensor(10, [2], bool_val=[True, False]), [True, False]),
        (tensor(23, [1], uint64_val=[2**64 - 1]), [2**64 - 1]),
        (tensor(1, [3], float_val=[0.5]), [0.5, 0.5, 0.5]),
        (tensor(1, [0, 2]), []),
        (tensor(1, [], float_val=[2.0]), 2.0),
    ],
)
def test_elements_may_be_in_fields(message: Any, values: Any) -> None:
    assert read_tensor(message).tolist() == values


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (tensor(0, [1]), "element type 0"),
        (tensor(8, [1]), "element type 8"),
        (tensor(14, [1], tensor_content=b"ab"), "element type 14"),
        (tensor(1, [2]), "0 elements for shape"),
        (tensor(1, [2], tensor_content=bytes(12)), "3 elements for shape"),
        (tensor(1, [2], tensor_content=bytes(7)), "buffer size"),
        (tensor(1, [-1], float_val=[1.0]), "no shape"),
        (tensor(1, [1] * 33, float_val=[1.0]), "no shape"),
        (tensor(1, [2**62, 2**62], float_val=[1.0]), "elements"),
        (tensor(4, [1], int_val=[256]), "beyond uint8"),
    ],
)
def test_a_tensor_that_does_not_add_up_is_refused(message: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_tensor(message)


def test_bytes_go_into_json_as_base64() -> None:
    assert json_column(np.array(["a", b"\xff"], dtype=object)) == ["a", {"b64": "/w=="}]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (7, "DT_FLOAT"), ("x", "DT_STRING"), (None, "DT_FLOAT"), ({"a": 1}, "DT_FLOAT"),
        ([1, "x"], "DT_FLOAT"), ([[1], [1, 2]], "DT_FLOAT"), ([None], "DT_FLOAT"), ([1.5], "DT_INT32"),
        ([300], "DT_UINT8"), ([1], "DT_BOOL"), ([1e300], "DT_FLOAT"),
        ([1], "DT_STRING"), ([{"b64": 1}], "DT_STRING"), ([{"b64": "!"}], "DT_STRING"),
    ],
)  # fmt: skip
def test_json_that_is_no_tensor_is_refused(values: JsonValue, kind: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json_values(values, dtype_of(kind))


def test_padding_is_left_out_of_the_outputs() -> None:
    assert read_records({"y": np.array([1.0, 2.0, 3.0])}, ["y"], 2, 3) == [{"y": 1.0}, {"y": 2.0}]


def test_outputs_that_are_no_text_are_errors_of_their_records() -> None:
    good, bad = read_records({"y": np.array([b"a", b"\xff"], dtype=object)}, ["y"], 2, 2)
    assert good == {"y": "a"}
    assert isinstance(bad, ScoreError)


@pytest.mark.parametrize("outputs", [{}, {"y": np.array(1.0)}, {"y": np.array([1.0])}])
def test_outputs_without_a_value_for_each_record_are_refused(outputs: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="output 'y'"):
        read_records(outputs, ["y"], 2, 2)


# --- examples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "feature"),
    [
        (1, None, Feature("int64", [1])),
        (True, None, Feature("int64", [1])),
        (1.5, None, Feature("float", [1.5])),
        ([1, 2.5], None, Feature("float", [1.0, 2.5])),
        ("ü", None, Feature("bytes", ["ü".encode()])),
        (1, "float", Feature("float", [1.0])),
        (2.0, "int64", Feature("int64", [2])),
    ],
)
def test_a_value_becomes_a_feature(value: JsonValue, kind: str | None, feature: Feature) -> None:
    assert read_features({"f": value}, {"f": kind} if kind else {}) == {"f": feature}


@pytest.mark.parametrize("value", [None, [], ()])
def test_a_feature_may_be_missing(value: JsonValue) -> None:
    assert read_features({"f": value}, {}) == {}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", "float"), (True, "float"), (1.5, "int64"), ("1", "int64"), (2**63, "int64"), (1, "bytes"),
        ({"a": 1}, "bytes"), ([[1]], "int64"), (10**400, "float"), (1e300, "float"), (math.inf, "int64"),
        ([1, None], "float"), (2**63, None), ([1, "x"], None), ({}, None),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_the_records_error(value: JsonValue, kind: str | None) -> None:
    with pytest.raises(ScoreError, match='field "f": '):
        read_features({"f": value}, {"f": kind} if kind else {})


@pytest.mark.parametrize("record", [None, 7, "x", [], [{}]])
def test_a_record_of_no_fields_is_an_error(record: JsonValue) -> None:
    with pytest.raises(ScoreError, match="expected an object"):
        read_features(record, {})


def test_an_example_is_the_one_that_tensorflow_reads() -> None:
    from tensorflow.core.example.example_pb2 import Example

    features = read_features({"a": 1, "b": [0.5, 1.5], "c": ["x"]}, {})
    example = Example.FromString(example_of(features).SerializeToString()).features.feature
    assert list(example["a"].int64_list.value) == [1]
    assert list(example["b"].float_list.value) == [0.5, 1.5]
    assert list(example["c"].bytes_list.value) == [b"x"]


def test_an_example_has_bytes_in_base64_as_json() -> None:
    features = read_features({"a": 1, "b": [0.5, 1.5], "c": "x"}, {})
    assert json_example_of(features) == {"a": 1, "b": [0.5, 1.5], "c": {"b64": "eA=="}}


def test_a_kind_that_there_is_not_is_a_load_error() -> None:
    with pytest.raises(ModelLoadError, match="option features: f: expected float or int64 or bytes"):
        read_kinds({"f": "number"})


# --- signatures ----------------------------------------------------------------------------------------


def test_specs_have_no_batch_axis() -> None:
    signature = Signature(
        {"b": TensorInfo(1, (None, 4)), "a": TensorInfo("DT_STRING", (None,)), "c": TensorInfo(1, None)}, {}
    )
    assert signature.specs() == [
        TensorSpec("a", np.dtype(object), ()),
        TensorSpec("b", np.dtype("f4"), (4,)),
        TensorSpec("c", np.dtype("f4"), None),
    ]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"x": TensorInfo(1, ())}, "no batch axis"),
        ({"x": TensorInfo(14, (None,))}, "input 'x': element type 14"),
        ({"x": TensorInfo("DT_VARIANT", (None,))}, "DT_VARIANT"),
        ({"x": TensorInfo(1, (None,)), "y": TensorInfo(1, (2,))}, "no batch axis in common"),
    ],
)
def test_a_signature_that_no_record_fits_is_a_load_error(inputs: dict[str, TensorInfo], text: str) -> None:
    with pytest.raises(ModelLoadError, match=text):
        Signature(inputs, {}).specs(), Signature(inputs, {}).batch_size()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"metadata": 1}', b'{"metadata": {"signature_def": {}}}']
)
def test_metadata_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_metadata_json(body)


# --- options and answers -------------------------------------------------------------------------------

SERVICE = "/tensorflow.serving.PredictionService"


def remote(url: str, **options: JsonValue) -> Any:
    return connect(
        "tensorflow-serving", {"url": url, "model": "m", **options}, Surroundings(AllowedPlaces([url]))
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"version": 1, "label": "stable"}, "version and label"),
        ({"version": 0}, "option version"),
        ({"version": "newest"}, "option version"),
        ({"call": "guess"}, "option call"),
        ({"call": "classify", "fields": "a"}, "option fields"),
        ({"call": "classify", "input": "tf.Example"}, "option input"),
        ({"input": "tf.Example", "fields": "a"}, "option fields"),
        ({"features": {"a": "float"}}, "option features"),
        ({"request_format": "column"}, "request_format is for REST"),
        ({"model": ""}, "option model"),
    ],
)
def test_options_that_do_not_go_together_are_a_load_error(options: dict[str, JsonValue], text: str) -> None:
    with pytest.raises(ModelLoadError, match=text):
        remote("grpc://127.0.0.1:1", **options)


def metadata() -> bytes:
    """A model whose default signature takes ``x`` of shape [N] and gives ``y``."""
    signatures = messages.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    for infos, name in ((signature.inputs, "x"), (signature.outputs, "y")):
        infos[name].dtype = 1
        infos[name].tensor_shape.dim.add(size=-1)
    response = messages.GetModelMetadataResponse()
    response.metadata["signature_def"].value = signatures.SerializeToString()
    return bytes(response.SerializeToString())


def predict(answer: bytes, told: bytes | None = None) -> Sequence[JsonValue | ScoreError]:
    """What a server is taken to say that answers so."""

    async def ask(url: str) -> Sequence[JsonValue | ScoreError]:
        asking = remote(url)
        try:
            await asking.open(60)
            return list(await asking.score([1.0, 2.0], 60, ()))
        finally:
            await asking.close()

    handler = Methods(
        {
            f"{SERVICE}/GetModelMetadata": lambda *_: metadata() if told is None else told,
            f"{SERVICE}/Predict": lambda *_: answer,
        }
    )
    with serving(handler) as port:
        return asyncio.run(ask(f"grpc://127.0.0.1:{port}"))


def prediction(**outputs: Any) -> bytes:
    response = messages.PredictResponse()
    for name, message in outputs.items():
        response.outputs[name].CopyFrom(message)
    return bytes(response.SerializeToString())


def test_a_server_that_is_all_made_up_is_understood() -> None:
    assert predict(prediction(y=tensor(1, [2], float_val=[0.5, 1.5]))) == [{"y": 0.5}, {"y": 1.5}]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\xff", prediction(z=tensor(1, [2], float_val=[1, 2])), prediction(y=tensor(1, [])),
        prediction(y=tensor(1, [3], float_val=[1, 2, 3])), prediction(y=tensor(99, [2])),
    ],
    ids=["empty", "garbage", "another output", "no tensor", "too many", "another type"],
)  # fmt: skip
def test_an_answer_that_can_not_be_read_is_a_lasting_fault(answer: bytes) -> None:
    with pytest.raises(OffloadError, match="model m gave an answer that can't be read") as caught:
        predict(answer)
    assert caught.value.fault is Fault.LASTING


def test_metadata_that_can_not_be_read_is_a_lasting_fault() -> None:
    with pytest.raises(OffloadError, match="its metadata can't be read") as caught:
        predict(b"", b"\xff")
    assert caught.value.fault is Fault.LASTING


def test_a_model_without_signatures_is_a_load_error() -> None:
    with pytest.raises(ModelLoadError, match="no signature 'serving_default'"):
        predict(b"", b"")
