package io.modelstream.flink;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** Which events a transaction has outcomes of, by the partitions that they came from. */
final class SourceSpans {
    private List<Growing> spans = new ArrayList<>();

    /**
     * Outcomes of one partition's events.
     *
     * @param topic the events' topic
     * @param partition their partition
     * @param first the lowest offset
     * @param last the highest
     * @param count how many: between first and last may be events of other transactions
     */
    record Span(String topic, int partition, long first, long last, long count) {
        @Override
        public String toString() {
            return "%s/%d: %d at offsets %d to %d".formatted(topic, partition, count, first, last);
        }
    }

    /** Adds the event that an envelope is of. Called for each outcome: nothing is decoded but numbers. */
    void add(byte[] envelope) {
        int partition = Envelope.partitionOf(envelope);
        for (int i = 0; i < spans.size(); i++) {
            Growing span = spans.get(i);
            if (span.partition == partition && Envelope.haveSameTopic(span.envelope, envelope)) {
                span.add(Envelope.offsetOf(envelope));
                if (i > 0) { // the next event is likely of the same partition
                    spans.set(i, spans.get(i - 1));
                    spans.set(i - 1, span);
                }
                return;
            }
        }
        spans.add(new Growing(envelope, partition, Envelope.offsetOf(envelope)));
    }

    /** Gives what was added since the last call, in the order of topics and partitions. */
    List<Span> take() {
        List<Growing> taken = spans;
        spans = new ArrayList<>();
        return taken.stream()
                .map(Growing::toSpan)
                .sorted(Comparator.comparing(Span::topic).thenComparing(Span::partition))
                .toList();
    }

    private static final class Growing {
        private final byte[] envelope;
        private final int partition;
        private long first;
        private long last;
        private long count = 1;

        Growing(byte[] envelope, int partition, long offset) {
            this.envelope = envelope;
            this.partition = partition;
            this.first = offset;
            this.last = offset;
        }

        void add(long offset) {
            first = Math.min(first, offset);
            last = Math.max(last, offset);
            count++;
        }

        Span toSpan() {
            return new Span(Envelope.decode(envelope).topic(), partition, first, last, count);
        }
    }
}
