"""A bounded job of connectors and an echo, run as a program; its settings are JSON in its only argument."""

import json
import os
import sys

from pyflink.common import Configuration
from pyflink.datastream import CheckpointingMode, StreamExecutionEnvironment

from connectors import _java, batching, kafka
from tests.integration.echo import OUTCOMES, STATUSES, UPDATES, Echo


def main() -> None:
    settings = json.loads(sys.argv[1])
    topics = settings["topics"]
    client = {"bootstrap.servers": settings["bootstrap"]}
    # Embedded, the interpreter is found as a shell would find it.
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    configuration = Configuration()
    for name, value in {
        "parallelism.default": str(settings["parallelism"]),
        "python.executable": sys.executable,
        "python.execution-mode": settings["execution"],
        "_python_worker_execution_mode": "process",
        "pipeline.object-reuse": "true",
        "restart-strategy.type": "disable",
    }.items():
        configuration.set_string(name, value)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    _java.add_jar(env)
    if settings["delivery"] == "exactly-once":
        env.enable_checkpointing(500, CheckpointingMode.EXACTLY_ONCE)

    events = kafka.read_events(
        env,
        kafka.EventsSettings(
            properties=client, topics=[topics["events"]], group_id="echo", start="committed", bounded=True
        ),
    )
    control = kafka.ControlSettings(properties=client, topic=topics["control"], bounded=True)
    updates = kafka.read_updates(env, control, settings["start_offset"]).broadcast(UPDATES)
    batches = batching.micro_batches(
        events,
        batching.BatchingSettings(
            max_events=100, max_bytes=4 * 1024 * 1024, interval_ms=10, heartbeat_ms=200
        ),
    )
    echoed = batches.connect(updates).process(Echo(), OUTCOMES).name("echo").uid("echo")
    kafka.write_outcomes(
        batching.split_outcomes(echoed),
        kafka.OutcomesSettings(
            properties=client,
            predictions=topics["predictions"],
            dead_letters=topics["dead_letters"],
            delivery=settings["delivery"],
            transactional_id_prefix=topics["predictions"],
        ),
    )
    kafka.write_statuses(
        batching.side_output(echoed, STATUSES),
        kafka.StatusesSettings(properties=client, topic=topics["model_status"]),
    )
    env.execute("echo")


if __name__ == "__main__":
    main()
