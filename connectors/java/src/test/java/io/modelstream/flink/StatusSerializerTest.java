package io.modelstream.flink;

import static io.modelstream.flink.Records.utf8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;

class StatusSerializerTest {
    @Test
    void writesKeyAndValueToItsTopic() {
        var written = new StatusSerializer("model-status").serialize(Row.of(utf8("k"), utf8("v")), null, null);

        assertEquals("model-status", written.topic());
        assertArrayEquals(utf8("k"), written.key());
        assertArrayEquals(utf8("v"), written.value());
    }
}
