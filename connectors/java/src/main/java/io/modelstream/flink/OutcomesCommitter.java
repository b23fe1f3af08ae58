package io.modelstream.flink;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.connector.kafka.sink.KafkaCommittable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Commits Kafka transactions as the connector does, but fails where one is lost: the connector takes it for
 * done and writes a line to its log.
 */
@SuppressWarnings("try") // Flink's interface says that closing may throw anything
final class OutcomesCommitter implements Committer<OutcomesCommittable> {
    private static final Logger LOG = LoggerFactory.getLogger(OutcomesCommitter.class);

    private final Committer<KafkaCommittable> transactions;
    private final Fate fate;
    private final String timeout;
    private final boolean acceptsLoss;

    /**
     * @param transactions the connector's own
     * @param fate says whether Kafka has committed a transaction that can't be committed (any more)
     * @param timeout of transactions, in milliseconds, for the message
     * @param acceptsLoss log what is lost and go on
     */
    OutcomesCommitter(
            Committer<KafkaCommittable> transactions,
            Fate fate,
            String timeout,
            boolean acceptsLoss) {
        this.transactions = transactions;
        this.fate = fate;
        this.timeout = timeout;
        this.acceptsLoss = acceptsLoss;
    }

    @Override
    public void commit(Collection<CommitRequest<OutcomesCommittable>> requests)
            throws IOException, InterruptedException {
        List<Request> delegated = requests.stream().map(Request::new).toList();
        transactions.commit(new ArrayList<>(delegated));
        // The others are committed by now: no more is lost than must be.
        List<OutcomesCommittable> lost = new ArrayList<>();
        for (Request request : delegated) {
            if (request.failure == null) {
                continue;
            }
            if (fate.isCommitted(request.getCommittable())) {
                request.outer.signalAlreadyCommitted();
            } else if (acceptsLoss) {
                LOG.warn("{}", describe(List.of(request.outer.getCommittable()), timeout), request.failure);
                request.outer.signalFailedWithKnownReason(request.failure);
            } else {
                lost.add(request.outer.getCommittable());
            }
        }
        if (!lost.isEmpty()) {
            throw new LostTransactionException(describe(lost, timeout));
        }
    }

    @Override
    public void close() throws Exception {
        transactions.close();
    }

    private static String describe(List<OutcomesCommittable> lost, String timeout) {
        String ids =
                lost.stream().map(one -> one.transaction().getTransactionalId()).collect(Collectors.joining(", "));
        String events =
                lost.stream()
                        .flatMap(one -> one.events().stream())
                        .map(SourceSpans.Span::toString)
                        .collect(Collectors.joining("; "));
        return "Outcomes are lost: Kafka has aborted what the checkpoint wanted committed, most likely because the"
                + " job was down for longer than transaction.timeout.ms ("
                + timeout
                + "). Events without outcomes, by topic/partition: "
                + (events.isEmpty() ? "unknown, an earlier modelstream wrote the checkpoint" : events)
                + ". Start the job from an older checkpoint or savepoint, which scores them again, or set"
                + " lost_transactions: accept to go on without them; see docs/restarts.md. Transactions: "
                + ids;
    }

    /** Says whether Kafka has committed a transaction that it refuses to commit. */
    interface Fate {
        /**
         * @throws IOException it is not known; the commit fails, and the next start asks again
         */
        boolean isCommitted(KafkaCommittable transaction) throws IOException, InterruptedException;
    }

    /** A transaction that Kafka has aborted. */
    static final class LostTransactionException extends IOException {
        private static final long serialVersionUID = 1L;

        LostTransactionException(String message) {
            super(message);
        }
    }

    /** Hears from the connector what became of a request. */
    private static final class Request implements CommitRequest<KafkaCommittable> {
        private final CommitRequest<OutcomesCommittable> outer;
        private Throwable failure;

        Request(CommitRequest<OutcomesCommittable> outer) {
            this.outer = outer;
        }

        @Override
        public KafkaCommittable getCommittable() {
            return outer.getCommittable().transaction();
        }

        @Override
        public int getNumberOfRetries() {
            return outer.getNumberOfRetries();
        }

        @Override
        public void signalFailedWithKnownReason(Throwable reason) {
            failure = reason;
        }

        @Override
        public void signalFailedWithUnknownReason(Throwable reason) {
            outer.signalFailedWithUnknownReason(reason);
        }

        @Override
        public void retryLater() {
            outer.retryLater();
        }

        @Override
        public void updateAndRetryLater(KafkaCommittable committable) {
            outer.updateAndRetryLater(new OutcomesCommittable(committable, outer.getCommittable().events()));
        }

        @Override
        public void signalAlreadyCommitted() {
            outer.signalAlreadyCommitted();
        }
    }
}
