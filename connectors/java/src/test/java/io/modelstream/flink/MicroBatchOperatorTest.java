package io.modelstream.flink;

import static io.modelstream.flink.Records.utf8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class MicroBatchOperatorTest {
    private static final int MAX_EVENTS = 4;
    private static final long MAX_BYTES = 1000;
    private static final long INTERVAL_MS = 10;
    private static final long HEARTBEAT_MS = 200;
    private static final int KEY_GROUPS = 128;
    private static final long START = 1_000_000;

    private final List<OneInputStreamOperatorTestHarness<Row, Row>> harnesses = new ArrayList<>();

    /** What a batch is made of, as far as these tests ask. */
    private record Batch(int key, byte kind, boolean barrierFollows, int count, int shard) {}

    @AfterEach
    void close() throws Exception {
        for (var harness : harnesses) {
            harness.close();
        }
    }

    @Test
    void anEventAloneLeavesAtOnce() throws Exception {
        var harness = pastFirstHeartbeat();
        harness.setProcessingTime(START + INTERVAL_MS);

        send(harness, 1);

        assertEquals(List.of(1), eventCounts(harness));
    }

    @Test
    void eventsThatFollowABatchTooSoonWaitTogether() throws Exception {
        var harness = pastFirstHeartbeat();
        harness.setProcessingTime(START + INTERVAL_MS);

        send(harness, 3);
        assertEquals(List.of(1), eventCounts(harness));
        harness.setProcessingTime(START + 2 * INTERVAL_MS);

        assertEquals(List.of(1, 2), eventCounts(harness));
    }

    @Test
    void batchesThatAreNotFullLeaveOnceAnIntervalAtMost() throws Exception {
        var harness = pastFirstHeartbeat();
        for (int ms = 5; ms <= 1000; ms += 5) {
            harness.setProcessingTime(START + ms);
            send(harness, 1);
        }

        int batches = eventCounts(harness).size();
        assertTrue(batches <= 1000 / INTERVAL_MS, () -> batches + " batches in a second");
    }

    @Test
    void aBatchLeavesWhenItHasTheMostEvents() throws Exception {
        var harness = pastFirstHeartbeat();

        send(harness, 2 * MAX_EVENTS + 1);

        assertEquals(List.of(MAX_EVENTS, MAX_EVENTS), eventCounts(harness));
    }

    @Test
    void aBatchLeavesBeforeItGetsTooLarge() throws Exception {
        var harness = pastFirstHeartbeat();

        send(harness, 1, 450);
        send(harness, 1, 450);
        assertEquals(List.of(), eventCounts(harness));
        send(harness, 1, 450);

        assertEquals(List.of(2), eventCounts(harness));
    }

    @Test
    void anEventLargerThanABatchGoesAlone() throws Exception {
        var harness = pastFirstHeartbeat();

        send(harness, 1, 10);
        send(harness, 1, 5000);

        assertEquals(List.of(1, 1), eventCounts(harness));
    }

    @Test
    void nothingIsHeldAtACheckpointBarrier() throws Exception {
        var harness = pastFirstHeartbeat();
        send(harness, 2);

        harness.prepareSnapshotPreBarrier(1);

        assertEquals(List.of(2), eventCounts(harness));
    }

    @Test
    void theBatchBeforeABarrierSaysSo() throws Exception {
        var harness = pastFirstHeartbeat();
        send(harness, 1);
        harness.prepareSnapshotPreBarrier(1);
        harness.prepareSnapshotPreBarrier(2);

        assertEquals(
                List.of(false, true, true), batches(harness).stream().map(Batch::barrierFollows).toList());
    }

    @Test
    void theEndOfInputSaysThatABarrierFollowsAndNoneAfterItDoes() throws Exception {
        var harness = pastFirstHeartbeat();
        harness.endInput();
        harness.prepareSnapshotPreBarrier(1);

        assertEquals(List.of(false, true), batches(harness).stream().map(Batch::barrierFollows).toList());
    }

    @Test
    void eventsLeaveBeforeAWatermark() throws Exception {
        var harness = pastFirstHeartbeat();
        send(harness, 2);

        harness.processWatermark(new Watermark(5));

        var output = new ArrayList<>(harness.getOutput());
        assertEquals(new Watermark(5), output.get(output.size() - 1));
        assertEquals(List.of(2), eventCounts(harness));
    }

    @Test
    void theEndOfInputFollowsTheLastEvents() throws Exception {
        var harness = pastFirstHeartbeat();
        send(harness, 2);

        harness.endInput();

        assertEquals(
                List.of(BatchBuilder.HEARTBEAT, BatchBuilder.EVENTS, BatchBuilder.END_OF_INPUT), kinds(harness));
    }

    @Test
    void nothingFollowsTheEndOfInput() throws Exception {
        var harness = pastFirstHeartbeat();
        harness.endInput();
        int before = batches(harness).size();

        harness.setProcessingTime(START + 10 * HEARTBEAT_MS);

        assertEquals(before, batches(harness).size());
    }

    @Test
    void aHeartbeatComesAtTheStart() throws Exception {
        assertEquals(List.of(BatchBuilder.HEARTBEAT), kinds(pastFirstHeartbeat()));
    }

    @Test
    void heartbeatsComeWhileNothingElseDoes() throws Exception {
        var harness = pastFirstHeartbeat();
        for (long ms = 0; ms < 1000; ms++) {
            harness.setProcessingTime(START + ms);
        }

        assertEquals(5, batches(harness).size());
    }

    @Test
    void noHeartbeatComesWhileBatchesDo() throws Exception {
        var harness = pastFirstHeartbeat();
        for (long ms = INTERVAL_MS; ms <= 1000; ms += INTERVAL_MS) {
            harness.setProcessingTime(START + ms);
            send(harness, 1);
        }

        assertEquals(1000 / INTERVAL_MS, eventCounts(harness).size());
        assertEquals(1, kinds(harness).stream().filter(kind -> kind == BatchBuilder.HEARTBEAT).count());
    }

    @Test
    void heartbeatsComeSoonAfterEventsAndThenEverLessOften() throws Exception {
        var harness = pastFirstHeartbeat();
        harness.setProcessingTime(START + 50);
        send(harness, 1);
        List<Long> heartbeats = new ArrayList<>();
        for (long ms = 51; ms <= 1100; ms++) {
            int before = kinds(harness).size();
            harness.setProcessingTime(START + ms);
            if (kinds(harness).size() > before) {
                heartbeats.add(ms - 50);
            }
        }

        assertEquals(List.of(20L, 60L, 140L, 300L, 500L, 700L, 900L), heartbeats);
    }

    @Test
    void theRollIsCalledBeforeTheFirstBatch() throws Exception {
        var harness = open(1, 2);

        send(harness, 1);

        List<Byte> kinds = allKinds(harness);
        int ownKeyGroups = KEY_GROUPS / 2;
        assertEquals(ownKeyGroups - 1, kinds.indexOf(BatchBuilder.EVENTS));
        assertEquals(Set.of(BatchBuilder.ROLL_CALL), new HashSet<>(kinds.subList(0, ownKeyGroups - 1)));
    }

    @Test
    void theRollAndABatchComeBeforeTheFirstBarrier() throws Exception {
        var harness = open(0, 1);

        harness.prepareSnapshotPreBarrier(1);

        List<Byte> kinds = allKinds(harness);
        assertEquals(KEY_GROUPS, kinds.size());
        assertEquals(BatchBuilder.HEARTBEAT, kinds.get(KEY_GROUPS - 1));
    }

    @Test
    void theRollIsCalledOnce() throws Exception {
        var harness = open(0, 1);
        send(harness, 1);
        int before = all(harness).size();

        harness.setProcessingTime(START + 2 * HEARTBEAT_MS);
        harness.prepareSnapshotPreBarrier(1);

        var later = allKinds(harness).subList(before, all(harness).size());
        assertFalse(later.contains(BatchBuilder.ROLL_CALL));
    }

    @Test
    void allSubtasksTogetherReachEveryKeyGroupOnce() throws Exception {
        List<Integer> keyGroups = new ArrayList<>();
        for (int subtask = 0; subtask < 3; subtask++) {
            var harness = open(subtask, 3);
            harness.prepareSnapshotPreBarrier(1);
            for (Batch batch : all(harness)) {
                keyGroups.add(KeyGroupRangeAssignment.assignToKeyGroup(Row.of(batch.key()), KEY_GROUPS));
            }
        }

        assertEquals(KEY_GROUPS, keyGroups.size());
        assertEquals(KEY_GROUPS, new HashSet<>(keyGroups).size());
    }

    @Test
    void aBatchBelongsToTheSubtaskThatSendsIt() throws Exception {
        for (int subtask = 0; subtask < 3; subtask++) {
            var harness = open(subtask, 3);
            send(harness, 1);
            for (Batch batch : all(harness)) {
                assertEquals(
                        subtask,
                        KeyGroupRangeAssignment.assignKeyToParallelOperator(Row.of(batch.key()), KEY_GROUPS, 3));
            }
        }
    }

    @Test
    void aBatchNamesTheShardThatItIsKeyedBy() throws Exception {
        var harness = open(2, 3);
        send(harness, 1);

        for (Batch batch : all(harness)) {
            assertEquals(batch.key(), batch.shard());
        }
    }

    private OneInputStreamOperatorTestHarness<Row, Row> pastFirstHeartbeat() throws Exception {
        var harness = open(0, 1);
        harness.setProcessingTime(START);
        return harness;
    }

    private OneInputStreamOperatorTestHarness<Row, Row> open(
            int subtask, int parallelism) throws Exception {
        var operator = new MicroBatchOperator(MAX_EVENTS, MAX_BYTES, INTERVAL_MS, HEARTBEAT_MS);
        var harness = new OneInputStreamOperatorTestHarness<Row, Row>(operator, KEY_GROUPS, parallelism, subtask);
        harnesses.add(harness);
        harness.setProcessingTime(START - 1);
        harness.setup();
        harness.open();
        return harness;
    }

    private static void send(OneInputStreamOperatorTestHarness<Row, Row> harness, int count) throws Exception {
        send(harness, count, 10);
    }

    /** Sends events whose value and envelope have a size together. */
    private static void send(OneInputStreamOperatorTestHarness<Row, Row> harness, int count, int size)
            throws Exception {
        for (int i = 0; i < count; i++) {
            byte[] envelope = Envelope.encode(Records.record(utf8("k"), 0, i));
            byte[] value = new byte[Math.max(0, size - envelope.length)];
            harness.processElement(new StreamRecord<>(Row.of(envelope, value)));
        }
    }

    /** All but the roll call. */
    private static List<Batch> batches(OneInputStreamOperatorTestHarness<Row, Row> harness) {
        return all(harness).stream().filter(batch -> batch.kind() != BatchBuilder.ROLL_CALL).toList();
    }

    private static List<Batch> all(OneInputStreamOperatorTestHarness<Row, Row> harness) {
        List<Batch> batches = new ArrayList<>();
        for (Object element : harness.getOutput()) {
            if (element instanceof StreamRecord<?> record) {
                Row row = (Row) record.getValue();
                byte[] bytes = (byte[]) ((Row) row.getField(1)).getField(0);
                ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
                batches.add(new Batch((Integer) row.getField(0), buffer.get(1), buffer.getShort(2) == 1, buffer.getInt(4), buffer.getInt(24)));
            }
        }
        return batches;
    }

    private static List<Byte> kinds(OneInputStreamOperatorTestHarness<Row, Row> harness) {
        return batches(harness).stream().map(Batch::kind).toList();
    }

    private static List<Byte> allKinds(OneInputStreamOperatorTestHarness<Row, Row> harness) {
        return all(harness).stream().map(Batch::kind).toList();
    }

    private static List<Integer> eventCounts(OneInputStreamOperatorTestHarness<Row, Row> harness) {
        return batches(harness).stream()
                .filter(batch -> batch.kind() == BatchBuilder.EVENTS)
                .map(Batch::count)
                .toList();
    }
}
