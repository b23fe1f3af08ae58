"""A PyFlink job as its documentation writes one: Kafka source, a map function, Kafka sink, default settings.

https://nightlies.apache.org/flink/flink-docs-release-2.3/docs/dev/python/datastream/intro_to_datastream_api/
"""

import sys
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

import orjson
from pyflink.common import Types, WatermarkStrategy
from pyflink.common.serialization import SimpleStringSchema
from pyflink.datastream import MapFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)

from connectors._java import JAR

Predict = Callable[[dict[str, float]], Any]


class Score(MapFunction):  # type: ignore[misc]  # PyFlink has no types
    """Scores one event a call."""

    def __init__(self, format_name: str, path: str) -> None:
        self._format = format_name
        self._path = path

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002  # Flink's signature
        """Load the model."""
        self._predict: Predict = LOADERS[self._format](self._path)

    def map(self, value: str) -> str:
        """From JSON to JSON."""
        event = orjson.loads(value)
        outputs = self._predict(event["data"])
        return orjson.dumps({"id": event["id"], "outputs": outputs}).decode()


def load_onnx(path: str) -> Predict:
    """With onnxruntime."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options)
    name = session.get_inputs()[0].name

    def predict(data: dict[str, float]) -> Any:
        label, probabilities = session.run(None, {name: np.array([list(data.values())], np.float32)})
        return {"label": label[0], "probabilities": probabilities[0].tolist()}

    return predict


def load_pmml(path: str) -> Predict:
    """With pypmml."""
    from pypmml import Model

    model = Model.load(path)
    return lambda data: dict(model.predict(data))


def load_tensorflow(path: str) -> Predict:
    """With a SavedModel's signature."""
    import tensorflow as tf

    folder = tempfile.mkdtemp()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    model = tf.saved_model.load(folder)
    signature = model.signatures["serving_default"]

    def predict(data: dict[str, float]) -> Any:
        outputs = signature(**{name: tf.constant([value]) for name, value in data.items()})
        return {
            "label": outputs["label"].numpy()[0].decode(),
            "probabilities": outputs["probabilities"].numpy()[0].tolist(),
        }

    # Without the model its variables would be gone.
    predict.model = model  # type: ignore[attr-defined]
    return predict


def load_pfa(path: str) -> Predict:
    """With titus2, which needs this project's adaptation to run on Python 3.11 at all."""
    from udfs.scorers import _titus

    with open(path, encoding="utf-8") as file:
        (engine,) = _titus.genpy.PFAEngine.fromJson(file.read())
    return lambda data: engine.action(data)


LOADERS: dict[str, Callable[[str], Predict]] = {
    "onnx": load_onnx,
    "pmml": load_pmml,
    "tensorflow": load_tensorflow,
    "pfa": load_pfa,
}


def main(bootstrap: str, events: str, output: str, format_name: str, path: str) -> None:
    """Run until killed."""
    env = StreamExecutionEnvironment.get_execution_environment()
    env.set_parallelism(1)
    env.set_python_executable(sys.executable)
    env.add_jars(JAR.as_uri())
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(bootstrap)
        .set_topics(events)
        .set_group_id(output)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    serializer = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(output)
        .set_value_serialization_schema(SimpleStringSchema())
        .build()
    )
    sink = KafkaSink.builder().set_bootstrap_servers(bootstrap).set_record_serializer(serializer).build()
    stream = env.from_source(source, WatermarkStrategy.no_watermarks(), "events")
    stream.map(Score(format_name, path), output_type=Types.STRING()).sink_to(sink)
    env.execute("naive")


if __name__ == "__main__":
    main(*sys.argv[1:])
