package io.modelstream.flink;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.flink.types.Row;

/**
 * Writes a row of {@link OutcomeSplitter} as a record of the predictions topic or the dead letters topic.
 *
 * <p>Both keep the key and the headers of the event, but headers that begin with {@code ms-}, which are
 * modelstream's own. A prediction keeps the event's timestamp; a dead letter's is the producer's, so that
 * an old event's dead letter does not expire at once, and {@code ms-timestamp} has the event's.
 */
public final class OutcomeSerializer implements KafkaRecordSerializationSchema<Row> {
    private static final long serialVersionUID = 1L;
    private static final byte DEAD_LETTER = 1;
    private static final String OWN_HEADERS = "ms-";

    private final String predictions;
    private final String deadLetters;

    /**
     * @param predictions topic of predictions
     * @param deadLetters topic of dead letters
     */
    public OutcomeSerializer(String predictions, String deadLetters) {
        this.predictions = predictions;
        this.deadLetters = deadLetters;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Row row, KafkaSinkContext context, Long timestamp) {
        boolean dead = (Byte) row.getField(0) == DEAD_LETTER;
        Envelope envelope = Envelope.decode((byte[]) row.getField(1));
        byte[] value = (byte[]) row.getField(2);
        List<Header> headers = new ArrayList<>(envelope.headers().size() + 8);
        for (Header header : envelope.headers()) {
            if (!header.key().startsWith(OWN_HEADERS)) {
                headers.add(header);
            }
        }
        headers.add(text("ms-source", envelope.source()));
        if (!dead) {
            Long time = envelope.timestamp() < 0 ? null : envelope.timestamp();
            return new ProducerRecord<>(predictions, null, time, envelope.key(), value, headers);
        }
        if (envelope.timestamp() >= 0) {
            headers.add(text("ms-timestamp", Long.toString(envelope.timestamp())));
        }
        headers.addAll(Envelope.decodeDetails((byte[]) row.getField(3)));
        byte[] original = envelope.nullValue() ? null : value;
        return new ProducerRecord<>(deadLetters, null, null, envelope.key(), original, headers);
    }

    private static Header text(String name, String value) {
        return new RecordHeader(name, value.getBytes(StandardCharsets.UTF_8));
    }
}
