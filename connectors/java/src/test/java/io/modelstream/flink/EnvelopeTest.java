package io.modelstream.flink;

import static io.modelstream.flink.Records.record;
import static io.modelstream.flink.Records.utf8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.List;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class EnvelopeTest {
    static List<Arguments> vectors() throws IOException {
        return Vectors.read("envelopes");
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("vectors")
    void isWrittenAsPythonReadsIt(String name, JsonNode vector) {
        assertArrayEquals(Vectors.bytes(vector.get("bytes")), Envelope.encode(Vectors.record(vector)));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("vectors")
    void isReadAsWhatItWasWrittenFrom(String name, JsonNode vector) {
        var record = Vectors.record(vector);

        Envelope envelope = Envelope.decode(Vectors.bytes(vector.get("bytes")));

        assertEquals(record.topic(), envelope.topic());
        assertEquals(record.partition(), envelope.partition());
        assertEquals(record.offset(), envelope.offset());
        assertEquals(record.timestamp(), envelope.timestamp());
        assertArrayEquals(record.key(), envelope.key());
        assertEquals(record.value() == null, envelope.nullValue());
        assertEquals(List.of(record.headers().toArray()), envelope.headers());
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("vectors")
    void tellsItsTimestampAlone(String name, JsonNode vector) {
        long timestamp = Envelope.timestampOf(Vectors.bytes(vector.get("bytes")));

        assertEquals(vector.get("timestamp").longValue(), timestamp);
    }

    @Test
    void recordsOfOneKeyGoTheSameWayWhateverElseTheyHold() {
        RecordHeaders headers = new RecordHeaders();
        headers.add("trace", utf8("x"));

        int one = Envelope.shuffleKeyOf(Envelope.encode(record(utf8("customer"), 0, 1)));
        int other = Envelope.shuffleKeyOf(Envelope.encode(record(utf8("customer"), 5, 99, -1, headers)));

        assertEquals(one, other);
    }

    @Test
    void recordsOfOtherKeysGoOtherWays() {
        int one = Envelope.shuffleKeyOf(Envelope.encode(record(utf8("customer-1"), 0, 1)));
        int other = Envelope.shuffleKeyOf(Envelope.encode(record(utf8("customer-2"), 0, 1)));

        assertNotEquals(one, other);
    }

    @Test
    void recordsWithoutAKeyAreSpreadEvenly() {
        int parallelism = 4;
        int[] counts = new int[parallelism];
        for (int partition = 0; partition < 3; partition++) {
            for (long offset = 0; offset < 4000; offset++) {
                int key = Envelope.shuffleKeyOf(Envelope.encode(record(null, partition, offset)));
                counts[KeyGroupRangeAssignment.assignKeyToParallelOperator(key, 128, parallelism)]++;
            }
        }

        for (int count : counts) {
            assertTrue(Math.abs(count - 3000) < 300, () -> "uneven: " + List.of(counts));
        }
    }

    @Test
    void emptyDetailsHoldNoHeaders() {
        assertEquals(List.of(), Envelope.decodeDetails(new byte[0]));
    }
}
