package io.modelstream.flink;

import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.types.Row;

/** Writes a row of key and value as a record of the model status topic. */
public final class StatusSerializer implements KafkaRecordSerializationSchema<Row> {
    private static final long serialVersionUID = 1L;

    private final String topic;

    /** @param topic the model status topic */
    public StatusSerializer(String topic) {
        this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Row row, KafkaSinkContext context, Long timestamp) {
        return new ProducerRecord<>(topic, (byte[]) row.getField(0), (byte[]) row.getField(1));
    }
}
