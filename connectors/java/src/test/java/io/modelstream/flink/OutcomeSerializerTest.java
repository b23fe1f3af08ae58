package io.modelstream.flink;

import static io.modelstream.flink.Records.record;
import static io.modelstream.flink.Records.utf8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;

class OutcomeSerializerTest {
    private static final byte PREDICTION = 0;
    private static final byte DEAD_LETTER = 1;
    private static final byte[] NO_DETAILS = {};
    /** One header: ms-stage: score. */
    private static final byte[] DETAILS = {
        1, 0, 0, 0, 8, 0, 0, 0, 'm', 's', '-', 's', 't', 'a', 'g', 'e', 5, 0, 0, 0, 's', 'c', 'o', 'r', 'e'
    };

    @Test
    void aPredictionGoesToItsTopicWithKeyValueAndTimestampOfTheEvent() {
        var written = write(PREDICTION, record(utf8("k"), 2, 5, 77, new RecordHeaders()), NO_DETAILS);

        assertEquals("predictions", written.topic());
        assertArrayEquals(utf8("k"), written.key());
        assertArrayEquals(utf8("value"), written.value());
        assertEquals(77L, written.timestamp());
    }

    @Test
    void aDeadLetterGoesToItsTopicWithKeyAndValueOfTheEvent() {
        var written = write(DEAD_LETTER, record(utf8("k"), 2, 5), DETAILS);

        assertEquals("dead-letters", written.topic());
        assertArrayEquals(utf8("k"), written.key());
        assertArrayEquals(utf8("value"), written.value());
    }

    @Test
    void aDeadLettersTimestampIsTheProducersAndAHeaderHasTheEvents() {
        var written = write(DEAD_LETTER, record(utf8("k"), 2, 5, 77, new RecordHeaders()), NO_DETAILS);

        assertNull(written.timestamp());
        assertEquals(List.of("ms-source=ms.events/2/5", "ms-timestamp=77"), headers(written));
    }

    @Test
    void anEventWithoutATimestampLendsNone() {
        var event = record(utf8("k"), 2, 5, -1, new RecordHeaders());

        assertNull(write(PREDICTION, event, NO_DETAILS).timestamp());
        assertEquals(List.of("ms-source=ms.events/2/5"), headers(write(DEAD_LETTER, event, NO_DETAILS)));
    }

    @Test
    void anEventWithoutAKeyHasNoneInItsOutcome() {
        assertNull(write(PREDICTION, record(null, 0, 0), NO_DETAILS).key());
    }

    @Test
    void anEmptyKeyStaysAnEmptyKey() {
        assertArrayEquals(new byte[0], write(PREDICTION, record(new byte[0], 0, 0), NO_DETAILS).key());
    }

    @Test
    void theEventsHeadersStayButThoseOfModelstreamItself() {
        RecordHeaders headers = new RecordHeaders();
        headers.add("traceparent", utf8("00-ab")).add("ms-stage", utf8("old")).add("traceparent", utf8("2"));

        var written = write(PREDICTION, record(utf8("k"), 1, 9, 0, headers), NO_DETAILS);

        assertEquals(List.of("traceparent=00-ab", "traceparent=2", "ms-source=ms.events/1/9"), headers(written));
    }

    @Test
    void aDeadLettersDetailsAreItsLastHeaders() {
        var written = write(DEAD_LETTER, record(utf8("k"), 0, 1, 5, new RecordHeaders()), DETAILS);

        assertEquals(List.of("ms-source=ms.events/0/1", "ms-timestamp=5", "ms-stage=score"), headers(written));
    }

    @Test
    void aNullValueIsNullAgainInItsDeadLetter() {
        var tombstone = new ConsumerRecord<byte[], byte[]>("ms.events", 0, 0, utf8("k"), null);

        assertNull(write(DEAD_LETTER, tombstone, DETAILS).value());
    }

    private static ProducerRecord<byte[], byte[]> write(
            byte kind, ConsumerRecord<byte[], byte[]> event, byte[] details) {
        Row outcome = Row.of(kind, Envelope.encode(event), utf8("value"), details);
        return new OutcomeSerializer("predictions", "dead-letters").serialize(outcome, null, null);
    }

    private static List<String> headers(ProducerRecord<byte[], byte[]> record) {
        List<String> texts = new ArrayList<>();
        for (Header header : record.headers()) {
            texts.add(header.key() + "=" + new String(header.value(), StandardCharsets.UTF_8));
        }
        return texts;
    }
}
