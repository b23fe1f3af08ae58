package io.modelstream.flink;

import java.io.IOException;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.api.connector.sink2.CommitterInitContext;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.connector.kafka.sink.KafkaCommittable;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.KafkaWriterState;
import org.apache.flink.connector.kafka.sink.TwoPhaseCommittingStatefulSink;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.streaming.api.connector.sink2.CommittableMessage;
import org.apache.flink.streaming.api.connector.sink2.SupportsPostCommitTopology;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.types.Row;

/**
 * Writes outcomes exactly once, and fails where Kafka has aborted a transaction that a checkpoint wants
 * committed, with the events whose outcomes were in it.
 *
 * <p>All else is the connector's own {@link KafkaSink}, whose state it reads and whose state it writes.
 */
public final class OutcomesSink
        implements TwoPhaseCommittingStatefulSink<Row, KafkaWriterState, OutcomesCommittable>,
                SupportsPostCommitTopology<OutcomesCommittable> {
    private static final long serialVersionUID = 1L;
    private static final int ENVELOPE = 1;

    private final KafkaSink<Row> sink;
    private final Properties producer;
    private final boolean acceptsLoss;

    /**
     * @param sink with exactly-once delivery, of rows of {@link OutcomeSplitter}
     * @param producer its producers' properties
     * @param acceptsLoss log the loss of a transaction and go on, rather than fail
     */
    public OutcomesSink(KafkaSink<Row> sink, Properties producer, boolean acceptsLoss) {
        this.sink = sink;
        this.producer = producer;
        this.acceptsLoss = acceptsLoss;
    }

    @Override
    public PrecommittingStatefulSinkWriter<Row, KafkaWriterState, OutcomesCommittable> createWriter(
            WriterInitContext context) throws IOException {
        return new Writer(transactions().createWriter(context));
    }

    @Override
    public PrecommittingStatefulSinkWriter<Row, KafkaWriterState, OutcomesCommittable> restoreWriter(
            WriterInitContext context, Collection<KafkaWriterState> state) throws IOException {
        return new Writer(transactions().restoreWriter(context, state));
    }

    @Override
    public Committer<OutcomesCommittable> createCommitter(CommitterInitContext context) {
        return new OutcomesCommitter(
                sink.createCommitter(context),
                transaction -> EndedTransaction.isCommitted(transaction, producer),
                producer.getProperty("transaction.timeout.ms"),
                acceptsLoss);
    }

    @Override
    public SimpleVersionedSerializer<OutcomesCommittable> getCommittableSerializer() {
        return new OutcomesCommittable.Serializer(sink.getCommittableSerializer());
    }

    @Override
    public SimpleVersionedSerializer<KafkaWriterState> getWriterStateSerializer() {
        return sink.getWriterStateSerializer();
    }

    @Override
    @SuppressWarnings("unchecked") // it looks at the graph alone: writer and committer are to be together
    public void addPostCommitTopology(DataStream<CommittableMessage<OutcomesCommittable>> committer) {
        sink.addPostCommitTopology(
                (DataStream<CommittableMessage<KafkaCommittable>>) (DataStream<?>) committer);
    }

    private TwoPhaseCommittingStatefulSink<Row, KafkaWriterState, KafkaCommittable> transactions() {
        return sink;
    }

    /** Notes whose outcomes are in a transaction. */
    @SuppressWarnings("try") // Flink's interface says that closing may throw anything
    private static final class Writer
            implements PrecommittingStatefulSinkWriter<Row, KafkaWriterState, OutcomesCommittable> {
        private final PrecommittingStatefulSinkWriter<Row, KafkaWriterState, KafkaCommittable> writer;
        private final SourceSpans spans = new SourceSpans();

        Writer(PrecommittingStatefulSinkWriter<Row, KafkaWriterState, KafkaCommittable> writer) {
            this.writer = writer;
        }

        @Override
        public void write(Row row, Context context) throws IOException, InterruptedException {
            writer.write(row, context);
            spans.add((byte[]) row.getField(ENVELOPE));
        }

        @Override
        public void flush(boolean endOfInput) throws IOException, InterruptedException {
            writer.flush(endOfInput);
        }

        @Override
        public Collection<OutcomesCommittable> prepareCommit() throws IOException, InterruptedException {
            List<SourceSpans.Span> events = spans.take();
            return writer.prepareCommit().stream()
                    .map(transaction -> new OutcomesCommittable(transaction, events))
                    .toList();
        }

        @Override
        public List<KafkaWriterState> snapshotState(long checkpointId) throws IOException {
            return writer.snapshotState(checkpointId);
        }

        @Override
        public void close() throws Exception {
            writer.close();
        }
    }
}
