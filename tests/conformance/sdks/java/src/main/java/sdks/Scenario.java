package sdks;

import com.fasterxml.jackson.databind.PropertyNamingStrategies.SnakeCaseStrategy;
import com.fasterxml.jackson.databind.annotation.JsonNaming;
import java.util.List;
import software.amazon.awssdk.core.SdkBytes;

/** The scenario of README.md, as Jackson reads it: a byte[] is base64. */
@JsonNaming(SnakeCaseStrategy.class)
record Scenario(
        String streamName,
        String streamArn,
        String absentStreamName,
        String throttledStreamName,
        List<String> shardIds,
        Entry record,
        Entry recordByArn,
        List<Entry> entries) {

    @JsonNaming(SnakeCaseStrategy.class)
    record Entry(String partitionKey, byte[] data, String explicitHashKey) {
        SdkBytes bytes() {
            return SdkBytes.fromByteArray(data);
        }
    }

    /** Where a record was put. */
    @JsonNaming(SnakeCaseStrategy.class)
    record Result(String shardId, String sequenceNumber) {}

    /** A record as it was read. */
    @JsonNaming(SnakeCaseStrategy.class)
    record ReadRecord(String shardId, String sequenceNumber, String partitionKey, byte[] data, double arrivedAt) {}
}
