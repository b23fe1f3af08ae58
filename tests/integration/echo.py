"""A function between the connectors that gives events back: JSON as predictions, the rest as dead letters."""

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import OutputTag
from pyflink.datastream.functions import KeyedBroadcastProcessFunction
from pyflink.datastream.state import MapStateDescriptor

from udfs.batches import BatchKind, Outcome, OutcomeKind, decode_events, encode_headers, encode_outcomes

_BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
OUTCOMES = Types.ROW([_BYTES])
STATUSES = OutputTag("statuses", Types.ROW([_BYTES, _BYTES]))
UPDATES = MapStateDescriptor("updates", Types.STRING(), Types.STRING())

_DETAILS = encode_headers([("ms-stage", b"decode")])


class Echo(KeyedBroadcastProcessFunction):  # type: ignore[misc]  # PyFlink has no types
    def process_element(self, row: Row, context: Any) -> Iterator[object]:
        batch = decode_events(row[0])
        if context.get_current_key() != batch.shard:
            raise AssertionError(f"shard {batch.shard} came with key {context.get_current_key()}")
        if batch.kind is BatchKind.END_OF_INPUT:
            yield STATUSES, Row(b"end of input", str(batch.shard).encode())
        if batch.values:
            yield Row(
                encode_outcomes(
                    [
                        Outcome(OutcomeKind.PREDICTION, value, batch.envelope(index))
                        if value.startswith(b"{")
                        else Outcome(OutcomeKind.DEAD_LETTER, value, batch.envelope(index), _DETAILS)
                        for index, value in enumerate(batch.values)
                    ]
                )
            )

    def process_broadcast_element(self, row: Row, context: Any) -> Iterator[object]:
        context.get_broadcast_state(UPDATES).put("last", bytes(row[1]).decode())
        yield STATUSES, Row(b"update", bytes(row[1]))
