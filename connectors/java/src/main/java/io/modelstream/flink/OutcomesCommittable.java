package io.modelstream.flink;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.connector.kafka.sink.KafkaCommittable;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * A Kafka transaction to be committed, and the events that it has outcomes of.
 *
 * @param transaction the transaction
 * @param events none where an earlier modelstream wrote it, which did not note them
 */
record OutcomesCommittable(KafkaCommittable transaction, List<SourceSpans.Span> events) {

    /**
     * Writes the connector's own bytes, then the events, then the length of the events in four bytes: what
     * the connector wrote is read here, and what is written here the connector reads, which leaves the rest.
     */
    static final class Serializer implements SimpleVersionedSerializer<OutcomesCommittable> {
        /** Far from the connector's versions, the first of which is 1. */
        private static final int VERSION = 1001;

        private final SimpleVersionedSerializer<KafkaCommittable> transactions;

        Serializer(SimpleVersionedSerializer<KafkaCommittable> transactions) {
            this.transactions = transactions;
        }

        @Override
        public int getVersion() {
            return VERSION;
        }

        @Override
        public byte[] serialize(OutcomesCommittable committable) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            DataOutputStream out = new DataOutputStream(bytes);
            out.write(transactions.serialize(committable.transaction()));
            int start = out.size();
            out.writeInt(committable.events().size());
            for (SourceSpans.Span span : committable.events()) {
                out.writeUTF(span.topic());
                out.writeInt(span.partition());
                out.writeLong(span.first());
                out.writeLong(span.last());
                out.writeLong(span.count());
            }
            out.writeInt(out.size() - start);
            return bytes.toByteArray();
        }

        @Override
        public OutcomesCommittable deserialize(int version, byte[] bytes) throws IOException {
            if (version != VERSION) {
                return new OutcomesCommittable(transactions.deserialize(version, bytes), List.of());
            }
            int end = bytes.length - Integer.BYTES;
            int length = ByteBuffer.wrap(bytes).getInt(end);
            DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes, end - length, length));
            List<SourceSpans.Span> events = new ArrayList<>();
            for (int left = in.readInt(); left > 0; left--) {
                events.add(
                        new SourceSpans.Span(
                                in.readUTF(), in.readInt(), in.readLong(), in.readLong(), in.readLong()));
            }
            return new OutcomesCommittable(
                    transactions.deserialize(transactions.getVersion(), bytes), events);
        }
    }
}
