package io.modelstream.flink;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeader;

/**
 * All of a Kafka record but its value, as bytes that Python hands back unread. The layout is documented
 * in {@code udfs/batches.py}, which has the other half.
 */
record Envelope(
        String topic,
        int partition,
        long offset,
        long timestamp,
        byte[] key,
        boolean nullValue,
        List<Header> headers) {

    private static final int HAS_KEY = 1;
    private static final int NULL_VALUE = 2;
    private static final int PARTITION_AT = 1;
    private static final int OFFSET_AT = PARTITION_AT + 4;
    private static final int TIMESTAMP_AT = OFFSET_AT + 8;
    private static final int TOPIC_AT = TIMESTAMP_AT + 8;

    /** Writes the envelope of a record. */
    static byte[] encode(ConsumerRecord<byte[], byte[]> record) {
        byte[] topic = record.topic().getBytes(StandardCharsets.UTF_8);
        byte[] key = record.key() == null ? new byte[0] : record.key();
        Header[] headers = record.headers().toArray();
        byte[][] names = new byte[headers.length][];
        int size = TOPIC_AT + 2 + topic.length + 4 + key.length + 4;
        for (int i = 0; i < headers.length; i++) {
            names[i] = headers[i].key().getBytes(StandardCharsets.UTF_8);
            byte[] value = headers[i].value();
            size += 4 + names[i].length + 4 + (value == null ? 0 : value.length);
        }
        ByteBuffer buffer = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        buffer.put((byte) ((record.key() == null ? 0 : HAS_KEY) | (record.value() == null ? NULL_VALUE : 0)));
        buffer.putInt(record.partition()).putLong(record.offset()).putLong(record.timestamp());
        buffer.putShort((short) topic.length).put(topic).putInt(key.length).put(key);
        buffer.putInt(headers.length);
        for (int i = 0; i < headers.length; i++) {
            byte[] value = headers[i].value();
            buffer.putInt(names[i].length).put(names[i]).putInt(value == null ? -1 : value.length);
            if (value != null) {
                buffer.put(value);
            }
        }
        return buffer.array();
    }

    /** Reads an envelope. */
    static Envelope decode(byte[] envelope) {
        ByteBuffer buffer = wrap(envelope);
        int flags = buffer.get();
        int partition = buffer.getInt();
        long offset = buffer.getLong();
        long timestamp = buffer.getLong();
        String topic = text(buffer, Short.toUnsignedInt(buffer.getShort()));
        byte[] key = bytes(buffer, buffer.getInt());
        return new Envelope(
                topic,
                partition,
                offset,
                timestamp,
                (flags & HAS_KEY) == 0 ? null : key,
                (flags & NULL_VALUE) != 0,
                headers(buffer));
    }

    /** Reads the headers of an outcome's details: none when these are empty. */
    static List<Header> decodeDetails(byte[] details) {
        return details.length == 0 ? List.of() : headers(wrap(details));
    }

    /** Reads the timestamp of an envelope alone, in milliseconds; -1 for none. */
    static long timestampOf(byte[] envelope) {
        return wrap(envelope).getLong(TIMESTAMP_AT);
    }

    /** Reads the partition of an envelope alone. */
    static int partitionOf(byte[] envelope) {
        return wrap(envelope).getInt(PARTITION_AT);
    }

    /** Reads the offset of an envelope alone. */
    static long offsetOf(byte[] envelope) {
        return wrap(envelope).getLong(OFFSET_AT);
    }

    /** Whether two envelopes are of records of one topic. */
    static boolean haveSameTopic(byte[] one, byte[] other) {
        int oneEnd = TOPIC_AT + 2 + Short.toUnsignedInt(wrap(one).getShort(TOPIC_AT));
        int otherEnd = TOPIC_AT + 2 + Short.toUnsignedInt(wrap(other).getShort(TOPIC_AT));
        return Arrays.equals(one, TOPIC_AT, oneEnd, other, TOPIC_AT, otherEnd);
    }

    /** The hash of an envelope's key alone; without a key, of its partition and offset. */
    static int shuffleKeyOf(byte[] envelope) {
        ByteBuffer buffer = wrap(envelope);
        if ((buffer.get(0) & HAS_KEY) == 0) {
            return Long.hashCode(31 * buffer.getLong(OFFSET_AT) + buffer.getInt(PARTITION_AT));
        }
        int keyLengthAt = TOPIC_AT + 2 + Short.toUnsignedInt(buffer.getShort(TOPIC_AT));
        int start = keyLengthAt + 4;
        int end = start + buffer.getInt(keyLengthAt);
        int hash = 1;
        for (int i = start; i < end; i++) {
            hash = 31 * hash + envelope[i];
        }
        return hash;
    }

    /** Where the record came from: topic/partition/offset. */
    String source() {
        return topic + "/" + partition + "/" + offset;
    }

    private static List<Header> headers(ByteBuffer buffer) {
        int count = buffer.getInt();
        List<Header> headers = new ArrayList<>(count);
        for (int i = 0; i < count; i++) {
            String name = text(buffer, buffer.getInt());
            int length = buffer.getInt();
            headers.add(new RecordHeader(name, length < 0 ? null : bytes(buffer, length)));
        }
        return headers;
    }

    private static String text(ByteBuffer buffer, int length) {
        return new String(bytes(buffer, length), StandardCharsets.UTF_8);
    }

    private static byte[] bytes(ByteBuffer buffer, int length) {
        byte[] bytes = new byte[length];
        buffer.get(bytes);
        return bytes;
    }

    private static ByteBuffer wrap(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
