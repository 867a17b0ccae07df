package sdks;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies.SnakeCaseStrategy;
import com.fasterxml.jackson.databind.annotation.JsonNaming;
import com.google.common.util.concurrent.ListenableFuture;
import java.io.File;
import java.net.URI;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import software.amazon.kinesis.producer.Attempt;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;

/** The steps of README.md that put records, by the Kinesis Producer Library as it is: it aggregates. */
public final class Kpl {
    @JsonNaming(SnakeCaseStrategy.class)
    record Scenario(
            String streamName,
            String streamArn,
            String absentStreamName,
            String throttledStreamName,
            List<String> shardIds,
            Entry record,
            Entry recordByArn,
            List<Entry> entries) {}

    @JsonNaming(SnakeCaseStrategy.class)
    record Entry(String partitionKey, byte[] data, String explicitHashKey) {}

    @JsonNaming(SnakeCaseStrategy.class)
    record Result(String shardId, String sequenceNumber) {}

    record Failure(String code, String message) {}

    private static final ObjectMapper JSON = new ObjectMapper();

    private final Scenario scenario;
    private final KinesisProducer producer;

    private Kpl(Scenario scenario, KinesisProducer producer) {
        this.scenario = scenario;
        this.producer = producer;
    }

    public static void main(String[] arguments) throws Exception {
        String version = KinesisProducer.class.getProtectionDomain().getCodeSource().getLocation().getPath();
        System.out.println(JSON.writeValueAsString(Map.of("sdk", version.replaceAll(".*/|\\.jar$", ""))));
        KinesisProducer producer = new KinesisProducer(configuration());
        try {
            Kpl program = new Kpl(JSON.readValue(new File(arguments[0]), Scenario.class), producer);
            for (String step : Arrays.asList(arguments).subList(1, arguments.length)) {
                System.out.println(JSON.writeValueAsString(program.run(step)));
            }
        } finally {
            producer.destroy();
        }
    }

    private static KinesisProducerConfiguration configuration() {
        URI endpoint = URI.create(System.getenv("AWS_ENDPOINT_URL_KINESIS"));
        return new KinesisProducerConfiguration()
                .setRegion(System.getenv("AWS_REGION"))
                .setKinesisEndpoint(endpoint.getHost())
                .setKinesisPort(endpoint.getPort())
                .setCaCertFile(System.getenv("SSL_CERT_FILE"))
                // CloudWatch is not here.
                .setMetricsLevel("none")
                // A record that meets nothing but errors fails after this time instead of 30 s.
                .setRecordTtl(Long.parseLong(System.getenv("KPL_RECORD_TTL_MS")))
                // Where it unpacks its native half, once.
                .setTempDirectory(System.getenv("KPL_TEMP_DIRECTORY"));
    }

    private Map<String, ?> run(String step) throws Exception {
        try {
            return switch (step) {
                case "put_record" -> Map.of("results", put(scenario.streamName(), List.of(scenario.record())));
                case "put_record_to_absent_stream" ->
                    Map.of("results", put(scenario.absentStreamName(), List.of(scenario.record())));
                case "put_record_to_throttled_stream" ->
                    Map.of("results", put(scenario.throttledStreamName(), List.of(scenario.record())));
                case "put_records" -> Map.of("results", put(scenario.streamName(), scenario.entries()));
                default -> throw new IllegalArgumentException("no step " + step);
            };
        } catch (ExecutionException error) {
            if (error.getCause() instanceof UserRecordFailedException failed) {
                // The last attempt is the library's own word that the record has expired.
                Attempt first = failed.getResult().getAttempts().get(0);
                return Map.of("error", new Failure(first.getErrorCode(), first.getErrorMessage()));
            }
            throw error;
        }
    }

    private List<Result> put(String streamName, List<Entry> entries) throws Exception {
        List<ListenableFuture<UserRecordResult>> answers = new ArrayList<>();
        for (Entry entry : entries) {
            answers.add(producer.addUserRecord(
                    streamName, entry.partitionKey(), entry.explicitHashKey(), ByteBuffer.wrap(entry.data())));
        }
        List<Result> results = new ArrayList<>();
        for (ListenableFuture<UserRecordResult> answer : answers) {
            results.add(new Result(answer.get().getShardId(), answer.get().getSequenceNumber()));
        }
        return results;
    }
}
