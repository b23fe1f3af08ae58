package io.modelstream.flink;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class BatchBuilderTest {
    static List<Arguments> vectors() throws IOException {
        return Vectors.read("event_batches");
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("vectors")
    void writesWhatPythonReads(String name, JsonNode vector) {
        BatchBuilder builder = new BatchBuilder();
        for (JsonNode record : vector.get("records")) {
            builder.add(Vectors.bytes(record.get("envelope")), Vectors.bytes(record.get("value")));
        }

        byte[] batch = build(builder, vector);

        assertArrayEquals(Vectors.bytes(vector.get("bytes")), batch);
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("vectors")
    void startsAnewAfterABatch(String name, JsonNode vector) {
        BatchBuilder builder = new BatchBuilder();
        builder.add(Envelope.encode(Records.record(null, 0, 7)), new byte[200_000]);
        builder.build(BatchBuilder.EVENTS, 3, false);
        for (JsonNode record : vector.get("records")) {
            builder.add(Vectors.bytes(record.get("envelope")), Vectors.bytes(record.get("value")));
        }

        byte[] batch = build(builder, vector);

        assertArrayEquals(Vectors.bytes(vector.get("bytes")), batch);
    }

    @Test
    void takesMoreThanItHasRoomForAtFirst() {
        BatchBuilder builder = new BatchBuilder();
        byte[] envelope = Envelope.encode(Records.record(null, 0, 0));
        for (int i = 0; i < 5000; i++) {
            builder.add(envelope, new byte[100]);
        }

        assertEquals(5000, builder.count());
        assertEquals(32 + 5000 * (8 + 100 + envelope.length), builder.build(BatchBuilder.EVENTS, 0, false).length);
    }

    @Test
    void anEmptyBatchIsTheSameWithoutABuilder() {
        assertArrayEquals(
                new BatchBuilder().build(BatchBuilder.ROLL_CALL, 9, false), BatchBuilder.empty(BatchBuilder.ROLL_CALL, 9));
    }

    private static byte[] build(BatchBuilder builder, JsonNode vector) {
        return builder.build(
                (byte) vector.get("kind").intValue(),
                vector.get("shard").intValue(),
                vector.get("barrier_follows").booleanValue());
    }
}
