package io.modelstream.flink;

import java.util.List;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.types.Row;

/**
 * Makes events for load tests, where a broker would be measured as well: the given values over and over, as
 * {@link RecordDeserializer} would give them. Called by {@code benchmarks/generator_job.py}.
 */
public final class RepeatedEvents implements GeneratorFunction<Long, Row> {
    private static final long serialVersionUID = 1L;

    private static final int KEYS = 1000;

    private final byte[][] values;

    /** @param values the events' values. */
    public RepeatedEvents(List<byte[]> values) {
        this.values = values.toArray(new byte[0][]);
    }

    @Override
    public Row map(Long number) {
        byte[] key = ("key-" + number % KEYS).getBytes(java.nio.charset.StandardCharsets.UTF_8);
        byte[] value = values[(int) (number % values.length)];
        return Row.of(Envelope.encode(new ConsumerRecord<>("generated", 0, number, key, value)), value);
    }
}
