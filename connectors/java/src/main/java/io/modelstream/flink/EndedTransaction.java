package io.modelstream.flink;

import java.io.IOException;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.flink.connector.kafka.sink.KafkaCommittable;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.Admin;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.TransactionState;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.KafkaFuture;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.TransactionalIdNotFoundException;

/** What became of a transaction that Kafka refuses to commit. */
final class EndedTransaction {
    private EndedTransaction() {}

    /**
     * Asks Kafka whether it has committed a transaction.
     *
     * @param transaction one that it refuses to commit (any more)
     * @param properties of the producers
     * @throws IOException Kafka has no answer: the transaction is neither committed nor lost, as far as is known
     */
    static boolean isCommitted(KafkaCommittable transaction, Properties properties)
            throws IOException, InterruptedException {
        String id = transaction.getTransactionalId();
        try (Admin admin = Admin.create(properties)) {
            return isCommitted(
                    transaction, admin.describeTransactions(List.of(id)).description(id));
        }
    }

    /** The same from Kafka's answer. */
    static boolean isCommitted(KafkaCommittable transaction, KafkaFuture<TransactionDescription> answer)
            throws IOException, InterruptedException {
        try {
            TransactionDescription now = answer.get();
            // Where Kafka counts an epoch for each transaction, it has gone on by one.
            int ahead = now.producerEpoch() - transaction.getEpoch();
            boolean isCommitted =
                    now.state() == TransactionState.COMPLETE_COMMIT || now.state() == TransactionState.PREPARE_COMMIT;
            return isCommitted && now.producerId() == transaction.getProducerId() && (ahead == 0 || ahead == 1);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof TransactionalIdNotFoundException) {
                return false;
            }
            throw new IOException(
                    "Kafka does not say whether it has committed " + transaction.getTransactionalId(), e.getCause());
        }
    }
}
