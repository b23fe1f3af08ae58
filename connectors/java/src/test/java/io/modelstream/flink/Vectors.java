package io.modelstream.flink;

import java.io.IOException;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.stream.StreamSupport;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.record.TimestampType;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.params.provider.Arguments;

/** The test vectors that the Python tests read as well. */
final class Vectors {
    private static final Path FOLDER = Path.of("../../tests/data/batches");

    private Vectors() {}

    static List<Arguments> read(String name) throws IOException {
        JsonNode cases = new ObjectMapper().readTree(FOLDER.resolve(name + ".json").toFile());
        return StreamSupport.stream(cases.spliterator(), false)
                .map(vector -> Arguments.of(vector.get("name").textValue(), vector))
                .toList();
    }

    static byte[] bytes(JsonNode hex) {
        return hex.isNull() ? null : HexFormat.of().parseHex(hex.textValue());
    }

    /** The Kafka record of a vector of envelopes; the layout does not hold its value. */
    static ConsumerRecord<byte[], byte[]> record(JsonNode vector) {
        RecordHeaders headers = new RecordHeaders();
        for (JsonNode header : vector.get("headers")) {
            headers.add(header.get(0).textValue(), bytes(header.get(1)));
        }
        byte[] value = vector.get("null_value").booleanValue() ? null : new byte[] {1};
        return new ConsumerRecord<>(
                vector.get("topic").textValue(),
                vector.get("partition").intValue(),
                vector.get("offset").longValue(),
                vector.get("timestamp").longValue(),
                TimestampType.CREATE_TIME,
                -1,
                -1,
                bytes(vector.get("key")),
                value,
                headers,
                Optional.empty());
    }
}
