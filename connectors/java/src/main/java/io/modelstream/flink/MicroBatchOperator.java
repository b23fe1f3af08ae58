package io.modelstream.flink;

import org.apache.flink.api.common.TaskInfo;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.runtime.state.KeyGroupRange;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;

/**
 * Turns rows of {@link RecordDeserializer} into micro-batches: {@code Row(INT shard, Row(BYTES batch))}.
 *
 * <p>A batch leaves when it is full, in events or in bytes; when it is not full, as soon as the last one
 * left an interval ago. So at a low rate an event waits for nothing, at a high rate batches fill, and
 * Python gets no more batches a second than it can take. One also leaves before each checkpoint barrier,
 * at watermarks and at the end of input: the operator holds no state, and nothing can be lost in it.
 * While nothing comes, an empty batch leaves now and then: Python can act in a callback alone. The first
 * leaves soon after the last events, when what Python began for them beside the stream may be done; the
 * next ones ever less often, down to one a heartbeat.
 *
 * <p>The shard is a key of the subtask's own key groups, so that the stream can be taken as keyed by it
 * without another shuffle. Keyed state that was written under another parallelism may lie under another
 * shard: a roll call goes ahead of the first batch, one empty batch for each key group of this subtask but
 * its own shard's. The first batch leaves before the first checkpoint barrier.
 */
public final class MicroBatchOperator extends AbstractStreamOperator<Row>
        implements OneInputStreamOperator<Row, Row>, BoundedOneInput {
    private static final long serialVersionUID = 1L;

    /** Type of the rows. */
    public static final RowTypeInfo TYPE =
            new RowTypeInfo(
                    new TypeInformation<?>[] {
                        Types.INT, Types.ROW(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO)
                    },
                    new String[] {"shard", "batch"});

    private static final long SHORTEST_PAUSE_MS = 5;

    private final int maxEvents;
    private final long maxBytes;
    private final long intervalMs;
    private final long heartbeatMs;

    private transient BatchBuilder batch;
    private transient int shard;
    private transient long lastLeft;
    private transient long pauseMs;
    private transient long heartbeatDue;
    private transient boolean flushTimerSet;
    private transient boolean rollCallDue;
    private transient boolean ended;

    /**
     * @param maxEvents most events of a batch
     * @param maxBytes most bytes of a batch; a larger event is a batch of its own
     * @param intervalMs least time between two batches that are not full, in milliseconds
     * @param heartbeatMs longest time without a batch after which an empty one leaves, in milliseconds
     */
    public MicroBatchOperator(int maxEvents, long maxBytes, long intervalMs, long heartbeatMs) {
        this.maxEvents = maxEvents;
        this.maxBytes = maxBytes;
        this.intervalMs = intervalMs;
        this.heartbeatMs = heartbeatMs;
    }

    @Override
    public void open() throws Exception {
        super.open();
        batch = new BatchBuilder();
        shard = smallestShardIn(ownKeyGroups());
        // At every start: Flink does not tell a vertex that has no state that others were restored.
        rollCallDue = true;
        // So the first batch, or heartbeat, leaves at once.
        lastLeft = now() - Math.max(intervalMs, heartbeatMs);
        pauseMs = heartbeatMs;
        setHeartbeatTimer(now());
    }

    @Override
    public void processElement(StreamRecord<Row> element) {
        byte[] envelope = (byte[]) element.getValue().getField(0);
        byte[] value = (byte[]) element.getValue().getField(1);
        if (batch.size() + envelope.length + value.length > maxBytes) {
            flush();
        }
        batch.add(envelope, value);
        if (batch.count() >= maxEvents || batch.size() >= maxBytes) {
            flush();
        } else if (batch.count() == 1) {
            flushWhenDue();
        }
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpointId) throws Exception {
        if (!ended) { // also without events: Python has state to write
            emit(batch.count() > 0 ? BatchBuilder.EVENTS : BatchBuilder.HEARTBEAT, true);
        }
        super.prepareSnapshotPreBarrier(checkpointId);
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        flush();
        super.processWatermark(mark);
    }

    @Override
    public void endInput() {
        flush();
        emit(BatchBuilder.END_OF_INPUT, true);
        ended = true;
    }

    private void flushWhenDue() {
        long due = lastLeft + intervalMs;
        if (now() >= due) {
            flush();
        } else if (!flushTimerSet) {
            flushTimerSet = true;
            getProcessingTimeService().registerTimer(due, this::onFlushTimer);
        }
    }

    private void onFlushTimer(long time) {
        flushTimerSet = false;
        if (batch.count() > 0) {
            flushWhenDue();
        }
    }

    private void onHeartbeatTimer(long time) {
        if (ended || time != heartbeatDue) { // else another timer has taken its place
            return;
        }
        if (now() - lastLeft >= pauseMs) {
            pauseMs = Math.min(heartbeatMs, 2 * pauseMs);
            emit(batch.count() > 0 ? BatchBuilder.EVENTS : BatchBuilder.HEARTBEAT);
        }
        setHeartbeatTimer(lastLeft + pauseMs);
    }

    private void setHeartbeatTimer(long due) {
        heartbeatDue = due;
        getProcessingTimeService().registerTimer(due, this::onHeartbeatTimer);
    }

    private void flush() {
        if (batch.count() > 0) {
            emit(BatchBuilder.EVENTS);
        }
    }

    private void emit(byte kind) {
        emit(kind, false);
    }

    private void emit(byte kind, boolean barrierFollows) {
        if (rollCallDue) {
            rollCallDue = false;
            callRoll();
        }
        lastLeft = now();
        if (kind == BatchBuilder.EVENTS) {
            pauseMs = Math.min(heartbeatMs, Math.max(2 * intervalMs, SHORTEST_PAUSE_MS));
            if (heartbeatDue > lastLeft + pauseMs) {
                setHeartbeatTimer(lastLeft + pauseMs);
            }
        }
        collect(shard, batch.build(kind, shard, barrierFollows));
    }

    private void callRoll() {
        for (int keyGroup : ownKeyGroups()) {
            int representative = smallestShardIn(KeyGroupRange.of(keyGroup, keyGroup));
            if (representative != shard) {
                collect(representative, BatchBuilder.empty(BatchBuilder.ROLL_CALL, representative));
            }
        }
    }

    private void collect(int key, byte[] bytes) {
        output.collect(new StreamRecord<>(Row.of(key, Row.of(bytes))));
    }

    private long now() {
        return getProcessingTimeService().getCurrentProcessingTime();
    }

    private KeyGroupRange ownKeyGroups() {
        TaskInfo task = getRuntimeContext().getTaskInfo();
        return KeyGroupRangeAssignment.computeKeyGroupRangeForOperatorIndex(
                task.getMaxNumberOfParallelSubtasks(),
                task.getNumberOfParallelSubtasks(),
                task.getIndexOfThisSubtask());
    }

    /** Keys are rows here because PyFlink's are. */
    private int smallestShardIn(KeyGroupRange keyGroups) {
        int count = getRuntimeContext().getTaskInfo().getMaxNumberOfParallelSubtasks();
        int candidate = 0;
        while (!keyGroups.contains(KeyGroupRangeAssignment.assignToKeyGroup(Row.of(candidate), count))) {
            candidate++;
        }
        return candidate;
    }
}
