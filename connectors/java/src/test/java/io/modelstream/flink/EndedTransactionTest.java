package io.modelstream.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.util.OptionalLong;
import java.util.Set;
import org.apache.flink.connector.kafka.sink.KafkaCommittable;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.TransactionState;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.CoordinatorNotAvailableException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.TimeoutException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.TransactionalIdAuthorizationException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.TransactionalIdNotFoundException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.internals.KafkaFutureImpl;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class EndedTransactionTest {
    private static final KafkaCommittable TRANSACTION = new KafkaCommittable(7L, (short) 3, "id", null);

    @ParameterizedTest
    @CsvSource({
        "COMPLETE_COMMIT, 7, 3, true",
        "PREPARE_COMMIT, 7, 3, true",
        "COMPLETE_COMMIT, 7, 4, true",
        "COMPLETE_COMMIT, 7, 5, false",
        "COMPLETE_COMMIT, 8, 3, false",
        "COMPLETE_ABORT, 7, 3, false",
        "ONGOING, 7, 4, false",
    })
    void kafkaSaysWhetherItIsCommitted(TransactionState state, long producer, int epoch, boolean expected)
            throws Exception {
        var answer = new KafkaFutureImpl<TransactionDescription>();
        answer.complete(new TransactionDescription(0, state, producer, epoch, 1, OptionalLong.empty(), Set.of()));

        assertEquals(expected, EndedTransaction.isCommitted(TRANSACTION, answer));
    }

    @Test
    void oneThatKafkaDoesNotKnowIsNotCommitted() throws Exception {
        assertFalse(EndedTransaction.isCommitted(TRANSACTION, failed(new TransactionalIdNotFoundException("id"))));
    }

    @ParameterizedTest
    @ValueSource(
            classes = {
                TimeoutException.class,
                CoordinatorNotAvailableException.class,
                TransactionalIdAuthorizationException.class
            })
    void noAnswerIsNoLoss(Class<? extends Exception> failure) throws Exception {
        Exception cause = failure.getConstructor(String.class).newInstance("the broker is away");

        var error = assertThrows(
                IOException.class, () -> EndedTransaction.isCommitted(TRANSACTION, failed(cause)));

        assertSame(cause, error.getCause());
    }

    private static KafkaFutureImpl<TransactionDescription> failed(Exception cause) {
        var answer = new KafkaFutureImpl<TransactionDescription>();
        answer.completeExceptionally(cause);
        return answer;
    }
}
