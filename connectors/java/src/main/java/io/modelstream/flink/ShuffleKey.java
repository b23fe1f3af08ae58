package io.modelstream.flink;

import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.types.Row;

/**
 * What decides the subtask of a row of {@link RecordDeserializer}. Records with the same key go the same
 * way; records without a key are spread evenly, by their place, which is the same when they are read
 * again.
 */
public final class ShuffleKey implements KeySelector<Row, Integer>, ResultTypeQueryable<Integer> {
    private static final long serialVersionUID = 1L;

    @Override
    public Integer getKey(Row row) {
        return Envelope.shuffleKeyOf((byte[]) row.getField(0));
    }

    @Override
    public TypeInformation<Integer> getProducedType() {
        return Types.INT;
    }
}
