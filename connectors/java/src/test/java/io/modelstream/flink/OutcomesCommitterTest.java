package io.modelstream.flink;

import static io.modelstream.flink.Records.record;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.connector.kafka.sink.KafkaCommittable;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.junit.jupiter.api.Test;

class OutcomesCommitterTest {
    @Test
    void aTransactionThatIsLostFailsTheCommitWithItsEvents() {
        var error = assertThrows(IOException.class, () -> commit(Set.of("lost"), Set.of(), false, "lost"));

        assertTrue(error.getMessage().contains("ms.events/0: 2 at offsets 3 to 7; ms.events/1: 1 at offsets 5 to 5"));
        assertTrue(error.getMessage().contains("transaction.timeout.ms (900000)"));
        assertTrue(error.getMessage().contains("lost_transactions: accept"));
    }

    @Test
    void theOthersAreCommittedBeforeItFails() {
        List<String> committed = new ArrayList<>();
        var committer = new OutcomesCommitter(new Kafka(Set.of("lost"), committed), one -> false, "1", false);

        assertThrows(IOException.class, () -> committer.commit(List.of(new Request("lost"), new Request("good"))));

        assertEquals(List.of("good"), committed);
    }

    @Test
    void aLossThatIsAcceptedIsOver() throws Exception {
        assertEquals("failed for a known reason", commit(Set.of("lost"), Set.of(), true, "lost").became);
    }

    @Test
    void aTransactionThatWasCommittedAlreadyIsNoLoss() throws Exception {
        assertEquals("already committed", commit(Set.of("old"), Set.of("old"), false, "old").became);
    }

    @Test
    void aTransactionThatKafkaSaysNothingOfIsNoAcceptedLoss() {
        var request = new Request("unclear");
        var committer = new OutcomesCommitter(
                new Kafka(Set.of("unclear"), List.of()),
                one -> {
                    throw new IOException("no answer");
                },
                "1",
                true);

        assertThrows(IOException.class, () -> committer.commit(List.of(request)));

        assertEquals("", request.became);
    }

    @Test
    void aTransactionThatIsCommittedStaysSo() throws Exception {
        assertEquals("", commit(Set.of(), Set.of(), false, "good").became);
    }

    @Test
    void aCheckpointOfAnEarlierModelstreamDoesNotKnowTheEvents() {
        var request = new Request("lost", List.of());
        var committer = new OutcomesCommitter(new Kafka(Set.of("lost"), List.of()), one -> false, "1", false);

        var error = assertThrows(IOException.class, () -> committer.commit(List.of(request)));

        assertTrue(error.getMessage().contains("unknown, an earlier modelstream wrote the checkpoint"));
    }

    @Test
    void whatIsWrittenToACheckpointIsReadAgain() throws IOException {
        var serializer = new OutcomesCommittable.Serializer(transactions());
        var committable = new OutcomesCommittable(transaction("id"), events());

        assertEquals(committable, serializer.deserialize(serializer.getVersion(), serializer.serialize(committable)));
    }

    @Test
    void whatTheConnectorWroteIsRead() throws IOException {
        byte[] written = transactions().serialize(transaction("id"));

        var read = new OutcomesCommittable.Serializer(transactions()).deserialize(1, written);

        assertEquals(new OutcomesCommittable(transaction("id"), List.of()), read);
    }

    @Test
    void theConnectorReadsWhatIsWritten() throws IOException {
        var serializer = new OutcomesCommittable.Serializer(transactions());
        byte[] written = serializer.serialize(new OutcomesCommittable(transaction("id"), events()));

        assertEquals(transaction("id"), transactions().deserialize(serializer.getVersion(), written));
    }

    @Test
    void eventsAreTakenOnce() {
        var spans = new SourceSpans();
        spans.add(Envelope.encode(record(null, 0, 5)));

        assertEquals(1, spans.take().size());
        assertEquals(List.of(), spans.take());
    }

    private static Request commit(Set<String> refused, Set<String> committed, boolean accepts, String id)
            throws Exception {
        var request = new Request(id);
        new OutcomesCommitter(
                        new Kafka(refused, new ArrayList<>()),
                        one -> committed.contains(one.getTransactionalId()),
                        "900000",
                        accepts)
                .commit(List.of(request));
        return request;
    }

    private static KafkaCommittable transaction(String id) {
        return new KafkaCommittable(7L, (short) 3, id, null);
    }

    private static List<SourceSpans.Span> events() {
        var spans = new SourceSpans();
        spans.add(Envelope.encode(record(null, 1, 5)));
        spans.add(Envelope.encode(record(null, 0, 7)));
        spans.add(Envelope.encode(record(null, 0, 3)));
        return spans.take();
    }

    private static SimpleVersionedSerializer<KafkaCommittable> transactions() {
        return KafkaSink.<byte[]>builder()
                .setBootstrapServers("none")
                .setRecordSerializer((value, context, time) -> null)
                .build()
                .getCommittableSerializer();
    }

    /** Stands for the connector's committer: refuses some transactions. */
    private record Kafka(Set<String> refused, List<String> committed) implements Committer<KafkaCommittable> {
        @Override
        public void commit(Collection<CommitRequest<KafkaCommittable>> requests) {
            for (var request : requests) {
                String id = request.getCommittable().getTransactionalId();
                if (refused.contains(id)) {
                    request.signalFailedWithKnownReason(new IllegalStateException("fenced"));
                } else {
                    committed.add(id);
                }
            }
        }

        @Override
        public void close() {}
    }

    private static final class Request implements Committer.CommitRequest<OutcomesCommittable> {
        private final OutcomesCommittable committable;
        private String became = "";

        Request(String id) {
            this(id, events());
        }

        Request(String id, List<SourceSpans.Span> events) {
            committable = new OutcomesCommittable(transaction(id), events);
        }

        @Override
        public OutcomesCommittable getCommittable() {
            return committable;
        }

        @Override
        public int getNumberOfRetries() {
            return 0;
        }

        @Override
        public void signalFailedWithKnownReason(Throwable reason) {
            became = "failed for a known reason";
        }

        @Override
        public void signalFailedWithUnknownReason(Throwable reason) {
            became = "failed for an unknown reason";
        }

        @Override
        public void retryLater() {
            became = "retried";
        }

        @Override
        public void updateAndRetryLater(OutcomesCommittable committable) {
            became = "retried";
        }

        @Override
        public void signalAlreadyCommitted() {
            became = "already committed";
        }
    }
}
