package io.modelstream.flink;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;

class RepeatedEventsTest {
    private final RepeatedEvents events = new RepeatedEvents(List.of(utf8("a"), utf8("b")));

    @Test
    void repeatsItsValues() {
        assertArrayEquals(utf8("a"), (byte[]) events.map(4L).getField(1));
        assertArrayEquals(utf8("b"), (byte[]) events.map(5L).getField(1));
    }

    @Test
    void numbersItsEventsAsABrokerWould() {
        Row row = events.map(7L);

        assertEquals(7L, Envelope.decode((byte[]) row.getField(0)).offset());
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
