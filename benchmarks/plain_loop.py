"""The least that any framework could cost: confluent-kafka, orjson and onnxruntime in a loop."""

import sys

import numpy as np
import onnxruntime as ort
import orjson
from confluent_kafka import Consumer, Producer

from examples.iris.train import FIELDS

BATCH = 500


def main(bootstrap: str, events: str, output: str, path: str) -> None:
    """Run until killed."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": output,
            "auto.offset.reset": "earliest",
            # Without it librdkafka idles a second at a time when its queue was full.
            "fetch.queue.backoff.ms": 20,
        }
    )
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
    )
    consumer.subscribe([events])
    while True:
        messages = consumer.consume(BATCH, 0.1)
        if not messages:
            continue
        decoded = [orjson.loads(message.value() or b"") for message in messages]
        rows = np.array([[event["data"][field] for field in FIELDS] for event in decoded], np.float32)
        labels, probabilities = session.run(None, {name: rows})
        answers = zip(messages, decoded, labels.tolist(), probabilities.tolist(), strict=True)
        for message, event, label, probability in answers:
            outputs = {"id": event["id"], "outputs": {"label": label, "probabilities": probability}}
            producer.produce(output, orjson.dumps(outputs), message.key())
        producer.poll(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
