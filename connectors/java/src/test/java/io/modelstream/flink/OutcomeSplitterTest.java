package io.modelstream.flink;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class OutcomeSplitterTest {
    static List<Arguments> vectors() throws IOException {
        return Vectors.read("outcome_batches");
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("vectors")
    void givesTheOutcomesThatPythonWroteInTheirOrder(String name, JsonNode vector) {
        List<Row> rows = split(Vectors.bytes(vector.get("bytes")));

        JsonNode outcomes = vector.get("outcomes");
        assertEquals(outcomes.size(), rows.size());
        for (int i = 0; i < rows.size(); i++) {
            assertEquals((byte) outcomes.get(i).get("kind").intValue(), rows.get(i).getField(0));
            assertArrayEquals(Vectors.bytes(outcomes.get(i).get("envelope")), (byte[]) rows.get(i).getField(1));
            assertArrayEquals(Vectors.bytes(outcomes.get(i).get("value")), (byte[]) rows.get(i).getField(2));
            assertArrayEquals(Vectors.bytes(outcomes.get(i).get("details")), (byte[]) rows.get(i).getField(3));
        }
    }

    @Test
    void refusesALayoutThatItDoesNotKnow() {
        byte[] batch = {1, 0, 0, 0, 0, 0, 0, 0};

        assertThrows(IllegalStateException.class, () -> split(batch));
    }

    private static List<Row> split(byte[] batch) {
        List<Row> rows = new ArrayList<>();
        new OutcomeSplitter().flatMap(Row.of(batch), new ListCollector<>(rows));
        return rows;
    }
}
