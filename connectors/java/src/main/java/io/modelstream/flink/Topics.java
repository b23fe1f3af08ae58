package io.modelstream.flink;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.Admin;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.Config;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.TopicDescription;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.KafkaFuture;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.config.ConfigResource;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.TimeoutException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** What the client asks Kafka before it submits the job, with the job's own client properties. */
public final class Topics {
    private Topics() {}

    /**
     * Describes topics: the settings of each, and its number of partitions among them as {@code
     * partitions}; a topic that does not exist is left out.
     *
     * @param properties of the client
     * @param names of the topics
     * @param timeoutMs how long to wait for the cluster, in milliseconds
     * @throws ExecutionException the cluster did not answer in time, or refused
     */
    public static Map<String, Map<String, String>> describe(
            Properties properties, Collection<String> names, int timeoutMs)
            throws ExecutionException, InterruptedException {
        Map<String, Map<String, String>> topics = new HashMap<>();
        try (Admin admin = Admin.create(withTimeout(properties, timeoutMs))) {
            for (var answer : admin.describeTopics(names).topicNameValues().entrySet()) {
                String name = answer.getKey();
                if (exists(answer.getValue())) {
                    TopicDescription description = answer.getValue().get();
                    topics.put(name, settings(admin, name));
                    topics.get(name).put("partitions", Integer.toString(description.partitions().size()));
                }
            }
        }
        return topics;
    }

    /**
     * What {@link #read} read.
     *
     * @param batch an event batch of the records
     * @param nextOffset the first offset that was not read
     * @param endOffset the offset behind the last record that the topic has now
     */
    public record Contents(byte[] batch, long nextOffset, long endOffset) {}

    /**
     * Reads some records of a topic of one partition.
     *
     * @param properties of the consumer
     * @param topic its name
     * @param startOffset the first offset to read; where it is gone already, the first that is there
     * @param endOffset the offset to stop at, or -1 for the end that the topic has now
     * @param maxBytes how many bytes of records are enough: the record that reaches them is the last
     * @param timeoutMs how long to wait for the cluster and for the next record, in milliseconds
     * @throws TimeoutException the cluster did not answer in time, or records did not come
     */
    public static Contents read(
            Properties properties,
            String topic,
            long startOffset,
            long endOffset,
            long maxBytes,
            int timeoutMs) {
        TopicPartition partition = new TopicPartition(topic, 0);
        Properties client = withTimeout(properties, timeoutMs);
        client.remove("group.id");
        client.put("enable.auto.commit", "false");
        client.put("auto.offset.reset", "earliest");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(client, bytes, bytes)) {
            consumer.assign(List.of(partition));
            long start = Math.max(startOffset, consumer.beginningOffsets(List.of(partition)).get(partition));
            consumer.seek(partition, start);
            long end = endOffset < 0 ? consumer.endOffsets(List.of(partition)).get(partition) : endOffset;
            BatchBuilder batch = new BatchBuilder();
            // The position passes what is no record: marks of transactions, and what was aborted.
            for (long at = start; at < end; at = consumer.position(partition)) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(timeoutMs))) {
                    if (record.offset() >= end) {
                        break;
                    }
                    batch.add(Envelope.encode(record), RecordDeserializer.valueOf(record));
                    if (batch.size() >= maxBytes) {
                        return new Contents(batch.build(BatchBuilder.EVENTS, 0, false), record.offset() + 1, end);
                    }
                }
                if (consumer.position(partition) == at) {
                    throw new TimeoutException(topic + ": no record came at offset " + at + " of " + end);
                }
            }
            return new Contents(batch.build(BatchBuilder.EVENTS, 0, false), end, end);
        }
    }

    private static boolean exists(KafkaFuture<?> answer) throws ExecutionException, InterruptedException {
        try {
            answer.get();
            return true;
        } catch (ExecutionException error) {
            if (error.getCause() instanceof UnknownTopicOrPartitionException) {
                return false;
            }
            throw error;
        }
    }

    private static Map<String, String> settings(Admin admin, String topic)
            throws ExecutionException, InterruptedException {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        Map<String, String> settings = new HashMap<>();
        for (ConfigEntry entry : config.entries()) {
            settings.put(entry.name(), entry.value());
        }
        return settings;
    }

    private static Properties withTimeout(Properties properties, int timeoutMs) {
        Properties limited = new Properties();
        limited.putAll(properties);
        limited.put("default.api.timeout.ms", Integer.toString(timeoutMs));
        limited.put("request.timeout.ms", Integer.toString(timeoutMs));
        return limited;
    }
}
