package sdks;

import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Consumer;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.GetRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.GetShardIteratorRequest;
import software.amazon.awssdk.services.kinesis.model.GetShardIteratorResponse;
import software.amazon.awssdk.services.kinesis.model.KinesisException;
import software.amazon.awssdk.services.kinesis.model.PutRecordRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResponse;

/** The scenario by the asynchronous client with its default HTTP client, which is Netty's. */
final class Async implements Program.Kinesis {
    private final KinesisAsyncClient client;

    private Async(KinesisAsyncClient client) {
        this.client = client;
    }

    public static void main(String[] arguments) throws Exception {
        try (KinesisAsyncClient client = KinesisAsyncClient.create()) {
            new Program(Program.readScenario(arguments[0]), new Async(client))
                    .run("aws-sdk-java " + VersionInfo.SDK_VERSION, Arrays.asList(arguments).subList(1, arguments.length));
        }
    }

    private static <T> T joined(CompletableFuture<T> answer) {
        try {
            return answer.join();
        } catch (CompletionException error) {
            if (error.getCause() instanceof KinesisException refused) {
                throw refused;
            }
            throw error;
        }
    }

    @Override
    public PutRecordResponse putRecord(Consumer<PutRecordRequest.Builder> request) {
        return joined(client.putRecord(request));
    }

    @Override
    public PutRecordsResponse putRecords(Consumer<PutRecordsRequest.Builder> request) {
        return joined(client.putRecords(request));
    }

    @Override
    public GetShardIteratorResponse getShardIterator(Consumer<GetShardIteratorRequest.Builder> request) {
        return joined(client.getShardIterator(request));
    }

    @Override
    public GetRecordsResponse getRecords(Consumer<GetRecordsRequest.Builder> request) {
        return joined(client.getRecords(request));
    }
}
