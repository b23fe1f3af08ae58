package io.modelstream.flink;

import java.nio.charset.StandardCharsets;
import java.util.Optional;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.record.TimestampType;

/** Records for tests. */
final class Records {
    private Records() {}

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** A record of a key, at a place. */
    static ConsumerRecord<byte[], byte[]> record(byte[] key, int partition, long offset) {
        return record(key, partition, offset, 1000 + offset, new RecordHeaders());
    }

    static ConsumerRecord<byte[], byte[]> record(
            byte[] key, int partition, long offset, long timestamp, RecordHeaders headers) {
        return new ConsumerRecord<>(
                "ms.events",
                partition,
                offset,
                timestamp,
                TimestampType.CREATE_TIME,
                -1,
                -1,
                key,
                utf8("{}"),
                headers,
                Optional.empty());
    }
}
