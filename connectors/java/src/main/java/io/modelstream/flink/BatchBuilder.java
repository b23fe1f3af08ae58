package io.modelstream.flink;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/** Collects records into one event batch; the layout is documented in {@code udfs/batches.py}. */
final class BatchBuilder {
    static final byte EVENTS = 0;
    static final byte HEARTBEAT = 1;
    static final byte ROLL_CALL = 2;
    static final byte END_OF_INPUT = 3;

    private static final byte LAYOUT_VERSION = 2;
    private static final short BARRIER_FOLLOWS = 1;
    private static final int HEADER_BYTES = 32;

    private final Section values = new Section();
    private final Section envelopes = new Section();
    private int count;
    private long earliest;
    private long latest;

    void add(byte[] envelope, byte[] value) {
        long timestamp = Envelope.timestampOf(envelope);
        earliest = count == 0 ? timestamp : Math.min(earliest, timestamp);
        latest = count == 0 ? timestamp : Math.max(latest, timestamp);
        values.add(value);
        envelopes.add(envelope);
        count++;
    }

    int count() {
        return count;
    }

    /** Bytes of values and envelopes. */
    long size() {
        return (long) values.size + envelopes.size;
    }

    /**
     * The batch as bytes; the builder is empty afterwards.
     *
     * @param barrierFollows whether a checkpoint's barrier comes before the next batch
     */
    byte[] build(byte kind, int shard, boolean barrierFollows) {
        ByteBuffer buffer = withHeader(kind, barrierFollows, shard, count, earliest, latest, 8L * count + size());
        values.writeEnds(buffer);
        envelopes.writeEnds(buffer);
        values.moveBytes(buffer);
        envelopes.moveBytes(buffer);
        count = 0;
        earliest = 0;
        latest = 0;
        return buffer.array();
    }

    /** A batch without records as bytes. */
    static byte[] empty(byte kind, int shard) {
        return withHeader(kind, false, shard, 0, 0, 0, 0).array();
    }

    private static ByteBuffer withHeader(
            byte kind, boolean barrierFollows, int shard, int count, long earliest, long latest, long bodyBytes) {
        int size = Math.toIntExact(HEADER_BYTES + bodyBytes);
        ByteBuffer buffer = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        buffer.put(LAYOUT_VERSION).put(kind).putShort(barrierFollows ? BARRIER_FOLLOWS : 0).putInt(count);
        return buffer.putLong(earliest).putLong(latest).putInt(shard).putInt(0);
    }

    /** Parts one after another, and where each ends. */
    private static final class Section {
        private static final int LARGEST_ARRAY = Integer.MAX_VALUE - 8;

        private byte[] bytes = new byte[64 * 1024];
        private int[] ends = new int[1024];
        private int count;
        private int size;

        void add(byte[] part) {
            int end = Math.addExact(size, part.length);
            if (end > bytes.length) {
                bytes = Arrays.copyOf(bytes, (int) Math.min(LARGEST_ARRAY, Math.max(end, 2L * bytes.length)));
            }
            if (count == ends.length) {
                ends = Arrays.copyOf(ends, 2 * count);
            }
            System.arraycopy(part, 0, bytes, size, part.length);
            ends[count++] = end;
            size = end;
        }

        void writeEnds(ByteBuffer buffer) {
            buffer.asIntBuffer().put(ends, 0, count);
            buffer.position(buffer.position() + 4 * count);
        }

        void moveBytes(ByteBuffer buffer) {
            buffer.put(bytes, 0, size);
            count = 0;
            size = 0;
        }
    }
}
