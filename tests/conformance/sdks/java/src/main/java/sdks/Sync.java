package sdks;

import java.util.Arrays;
import java.util.function.Consumer;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.GetRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.GetShardIteratorRequest;
import software.amazon.awssdk.services.kinesis.model.GetShardIteratorResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResponse;

/** The scenario by the synchronous client with its default HTTP client. */
final class Sync implements Program.Kinesis {
    private final KinesisClient client;

    private Sync(KinesisClient client) {
        this.client = client;
    }

    public static void main(String[] arguments) throws Exception {
        try (KinesisClient client = KinesisClient.create()) {
            new Program(Program.readScenario(arguments[0]), new Sync(client))
                    .run("aws-sdk-java " + VersionInfo.SDK_VERSION, Arrays.asList(arguments).subList(1, arguments.length));
        }
    }

    @Override
    public PutRecordResponse putRecord(Consumer<PutRecordRequest.Builder> request) {
        return client.putRecord(request);
    }

    @Override
    public PutRecordsResponse putRecords(Consumer<PutRecordsRequest.Builder> request) {
        return client.putRecords(request);
    }

    @Override
    public GetShardIteratorResponse getShardIterator(Consumer<GetShardIteratorRequest.Builder> request) {
        return client.getShardIterator(request);
    }

    @Override
    public GetRecordsResponse getRecords(Consumer<GetRecordsRequest.Builder> request) {
        return client.getRecords(request);
    }
}
