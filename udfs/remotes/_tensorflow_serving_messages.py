"""The messages of TensorFlow Serving's prediction service, as far as they are used here.

The published classes (tensorflow-serving-api) import all of TensorFlow: some ten seconds of one core, and
pauses of all that runs beside them. On the wire a message is its fields' numbers and types, so these are
told here, from tensorflow_serving/apis/*.proto and tensorflow/core/{framework,example,protobuf}/*.proto;
a test holds them against the published ones. They are in a pool of their own, beside which TensorFlow may be
imported.

Source: https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
"""

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "modelstream.tensorflow_serving"
_MESSAGES = {
    "TensorShapeDim": "int64 size = 1",
    "TensorShape": "repeated TensorShapeDim dim = 2; bool unknown_rank = 3",
    # The enum DataType goes as any int32.
    "Tensor": (
        "int32 dtype = 1; TensorShape tensor_shape = 2; bytes tensor_content = 4; "
        "repeated float float_val = 5; repeated double double_val = 6; repeated int32 int_val = 7; "
        "repeated bytes string_val = 8; repeated int64 int64_val = 10; repeated bool bool_val = 11; "
        "repeated int32 half_val = 13; repeated uint32 uint32_val = 16; repeated uint64 uint64_val = 17"
    ),
    "TensorInfo": "int32 dtype = 2; TensorShape tensor_shape = 3",
    "Int64Value": "int64 value = 1",
    "ModelSpec": (
        "string name = 1; Int64Value version = 2; string signature_name = 3; string version_label = 4"
    ),
    "PredictRequest": "ModelSpec model_spec = 1; map Tensor inputs = 2; repeated string output_filter = 3",
    "PredictResponse": "map Tensor outputs = 1",
    "BytesList": "repeated bytes value = 1",
    "FloatList": "repeated float value = 1",
    "Int64List": "repeated int64 value = 1",
    "Feature": "BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3",
    "Features": "map Feature feature = 1",
    "Example": "Features features = 1",
    "ExampleList": "repeated Example examples = 1",
    "Input": "ExampleList example_list = 1",
    # ClassificationRequest and RegressionRequest.
    "ExamplesRequest": "ModelSpec model_spec = 1; Input input = 2",
    "Class": "string label = 1; float score = 2",
    "Classifications": "repeated Class classes = 1",
    "ClassificationResult": "repeated Classifications classifications = 1",
    "ClassificationResponse": "ClassificationResult result = 1",
    "Regression": "float value = 1",
    "RegressionResult": "repeated Regression regressions = 1",
    "RegressionResponse": "RegressionResult result = 1",
    "GetModelMetadataRequest": "ModelSpec model_spec = 1; repeated string metadata_field = 2",
    "Any": "bytes value = 2",
    "GetModelMetadataResponse": "map Any metadata = 2",
    "SignatureDef": "map TensorInfo inputs = 1; map TensorInfo outputs = 2; string method_name = 3",
    "SignatureDefMap": "map SignatureDef signature_def = 1",
}
"""The fields of each message; ``map T f`` is a ``map<string, T> f``."""


def _build() -> DescriptorPool:
    file = FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split("; "):
            _add_field(message, text)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: DescriptorProto, text: str) -> None:
    declared, number = text.split(" = ")
    *words, kind, name = declared.split()
    field = message.field.add(name=name, number=int(number))
    field.label = FieldDescriptorProto.LABEL_REPEATED if words else FieldDescriptorProto.LABEL_OPTIONAL
    if words == ["map"]:
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "string key = 1")
        _add_field(entry, f"{kind} value = 2")
        kind = f"{message.name}.{entry.name}"
    if kind[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


_POOL = _build()


def _class(name: str) -> type[Message]:
    message_class: type[Message] = GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    return message_class


Tensor = _class("Tensor")
ModelSpec = _class("ModelSpec")
PredictRequest = _class("PredictRequest")
PredictResponse = _class("PredictResponse")
Example = _class("Example")
ExamplesRequest = _class("ExamplesRequest")
ClassificationResponse = _class("ClassificationResponse")
RegressionResponse = _class("RegressionResponse")
GetModelMetadataRequest = _class("GetModelMetadataRequest")
GetModelMetadataResponse = _class("GetModelMetadataResponse")
SignatureDefMap = _class("SignatureDefMap")
