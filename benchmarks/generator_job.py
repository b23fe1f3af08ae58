"""The job without a broker: a generator in Java gives events, and outcomes go nowhere.

``python -m benchmarks.generator_job EVENTS MODEL FOLDER`` writes to ``FOLDER/seconds`` how long Flink ran it.
"""

import hashlib
import sys
from pathlib import Path

from pyflink.common import WatermarkStrategy
from pyflink.datastream import DataStream, StreamExecutionEnvironment

from benchmarks.programs import SETTINGS
from benchmarks.stand import FLOWERS, iris_event
from connectors import _java, batching
from examples.iris.train import FIELDS
from jobs import settings
from jobs.config import JobConfig, load_config
from jobs.score_events import make_environment
from udfs.models.catalog import Catalog, apply
from udfs.models.known import KnownCatalog
from udfs.models.updates import Artifact, PublishModel
from udfs.outputs import OutputLimits
from udfs.records import ModelId
from udfs.score_batches import CATALOG, OUTCOMES, STATUSES, ScoreBatches

_LIMIT = 1_000_000


def main(events: int, model: Path, folder: str) -> None:
    """Run it to its end."""
    config = load_config(
        None,
        [
            *(f"{key}={value}" for key, value in SETTINGS.items()),
            f"artifacts.cache_folder={folder}",
            f"checkpoints.folder={Path(folder).as_uri()}",
        ],
    )
    env = make_environment(config)
    _java.add_jar(env)
    build(env, config, events, model.read_bytes())
    result = env.execute("generator")
    Path(folder, "seconds").write_text(f"{result.get_net_runtime() / 1000}", encoding="utf-8")


def build(env: StreamExecutionEnvironment, config: JobConfig, events: int, model: bytes) -> None:
    """The graph of `jobs.topology`, with other ends."""
    values = _java.jvm().java.util.ArrayList()
    for number in range(len(FLOWERS)):
        values.add(iris_event(number))
    generated = _generate(env, values, events, "generate events")
    updates = _generate(env, values, 0, "no updates").broadcast(CATALOG)
    batches = batching.micro_batches(generated, settings.batching_settings(config))
    limits = OutputLimits(_LIMIT, _LIMIT, None, None)
    scoring = ScoreBatches(_known(model), settings.serving_settings(config, limits))
    scored = batches.connect(updates).process(scoring, OUTCOMES)
    for stream in (batching.split_outcomes(scored), batching.side_output(scored, STATUSES)):
        sinks = _java.jvm().org.apache.flink.streaming.api.functions.sink.v2
        stream._j_data_stream.sinkTo(sinks.DiscardingSink())


def _generate(env: StreamExecutionEnvironment, values: object, count: int, name: str) -> DataStream:
    events = _java.flink().RepeatedEvents(values)
    source = _java.jvm().org.apache.flink.connector.datagen.source.DataGeneratorSource(
        events, count, _java.flink().RecordDeserializer.TYPE
    )
    j_strategy = WatermarkStrategy.no_watermarks()._j_watermark_strategy
    return DataStream(env._j_stream_execution_environment.fromSource(source, j_strategy, name))


def _known(model: bytes) -> KnownCatalog:
    artifact = Artifact(sha256=hashlib.sha256(model).hexdigest(), inline=model)
    update = PublishModel(ModelId("iris", 1), "onnx", artifact, options={"fields": ",".join(FIELDS)})
    return KnownCatalog(apply(Catalog(), update, 0, max_bytes=_LIMIT), 1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
