package io.modelstream.flink;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * Splits an outcome batch, {@code Row(BYTES)}, into {@code Row(BYTE kind, BYTES envelope, BYTES value,
 * BYTES details)}, one an outcome. The layout is documented in {@code udfs/batches.py}.
 */
public final class OutcomeSplitter implements FlatMapFunction<Row, Row>, ResultTypeQueryable<Row> {
    private static final long serialVersionUID = 1L;
    private static final byte LAYOUT_VERSION = 2;
    private static final int COUNT_AT = 4;
    private static final int HEADER_BYTES = 8;

    /** Type of the rows. */
    public static final RowTypeInfo TYPE =
            new RowTypeInfo(
                    new TypeInformation<?>[] {
                        Types.BYTE,
                        PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO,
                        PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO,
                        PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO
                    },
                    new String[] {"kind", "envelope", "value", "details"});

    @Override
    public void flatMap(Row row, Collector<Row> out) {
        byte[] blob = (byte[]) row.getField(0);
        ByteBuffer buffer = ByteBuffer.wrap(blob).order(ByteOrder.LITTLE_ENDIAN);
        if (buffer.get(0) != LAYOUT_VERSION) {
            throw new IllegalStateException(
                    "outcome batch layout " + buffer.get(0) + ", expected " + LAYOUT_VERSION + ": jar and code differ");
        }
        int count = buffer.getInt(COUNT_AT);
        int kindsAt = HEADER_BYTES + 3 * 4 * count;
        Section values = new Section(buffer, HEADER_BYTES, count, kindsAt + count);
        Section envelopes = new Section(buffer, HEADER_BYTES + 4 * count, count, values.end());
        Section details = new Section(buffer, HEADER_BYTES + 8 * count, count, envelopes.end());
        for (int i = 0; i < count; i++) {
            out.collect(Row.of(blob[kindsAt + i], envelopes.get(i), values.get(i), details.get(i)));
        }
    }

    @Override
    public TypeInformation<Row> getProducedType() {
        return TYPE;
    }

    /** Parts one after another, and where each ends. */
    private record Section(ByteBuffer buffer, int endsAt, int count, int start) {
        int end() {
            return endOf(count - 1);
        }

        byte[] get(int index) {
            return Arrays.copyOfRange(buffer.array(), endOf(index - 1), endOf(index));
        }

        private int endOf(int index) {
            return start + (index < 0 ? 0 : buffer.getInt(endsAt + 4 * index));
        }
    }
}
