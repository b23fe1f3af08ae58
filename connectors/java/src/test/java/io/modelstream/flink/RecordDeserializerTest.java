package io.modelstream.flink;

import static io.modelstream.flink.Records.record;
import static io.modelstream.flink.Records.utf8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;

class RecordDeserializerTest {
    @Test
    void givesEnvelopeAndValueOfARecord() {
        var record = record(utf8("k"), 1, 2);

        Row row = read(record);

        assertArrayEquals(Envelope.encode(record), (byte[]) row.getField(0));
        assertArrayEquals(record.value(), (byte[]) row.getField(1));
    }

    @Test
    void aNullValueIsEmptyAndItsEnvelopeRemembersIt() {
        Row row = read(new ConsumerRecord<>("ms.events", 0, 0, utf8("k"), null));

        assertEquals(0, ((byte[]) row.getField(1)).length);
        assertTrue(Envelope.decode((byte[]) row.getField(0)).nullValue());
    }

    private static Row read(ConsumerRecord<byte[], byte[]> record) {
        List<Row> rows = new ArrayList<>();
        new RecordDeserializer().deserialize(record, new ListCollector<>(rows));
        return rows.get(0);
    }
}
