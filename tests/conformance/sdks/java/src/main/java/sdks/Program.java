package sdks;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import sdks.Scenario.Entry;
import sdks.Scenario.ReadRecord;
import sdks.Scenario.Result;
import software.amazon.awssdk.services.kinesis.model.GetRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.GetShardIteratorRequest;
import software.amazon.awssdk.services.kinesis.model.GetShardIteratorResponse;
import software.amazon.awssdk.services.kinesis.model.KinesisException;
import software.amazon.awssdk.services.kinesis.model.PutRecordRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;

/** The steps of README.md by a client of the AWS SDK for Java v2. */
final class Program {
    /** The calls that the scenario makes, whichever client carries them out. */
    interface Kinesis {
        PutRecordResponse putRecord(Consumer<PutRecordRequest.Builder> request);

        PutRecordsResponse putRecords(Consumer<PutRecordsRequest.Builder> request);

        GetShardIteratorResponse getShardIterator(Consumer<GetShardIteratorRequest.Builder> request);

        GetRecordsResponse getRecords(Consumer<GetRecordsRequest.Builder> request);
    }

    /** An error as the steps write it. */
    record Failure(String code, String message) {}

    private static final ObjectMapper JSON = new ObjectMapper()
            .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);

    private final Scenario scenario;
    private final Kinesis kinesis;

    Program(Scenario scenario, Kinesis kinesis) {
        this.scenario = scenario;
        this.kinesis = kinesis;
    }

    static Scenario readScenario(String file) throws Exception {
        return JSON.readValue(new File(file), Scenario.class);
    }

    void run(String sdk, List<String> steps) throws Exception {
        write(Map.of("sdk", sdk));
        for (String step : steps) {
            write(run(step));
        }
    }

    private static void write(Map<String, ?> step) throws Exception {
        System.out.println(JSON.writeValueAsString(step));
    }

    private Map<String, ?> run(String step) {
        try {
            return switch (step) {
                case "put_record" -> Map.of("results", List.of(putRecord(scenario.streamName())));
                case "put_record_by_arn" -> Map.of("results", List.of(putRecordByArn()));
                case "put_record_to_absent_stream" ->
                    Map.of("results", List.of(putRecord(scenario.absentStreamName())));
                case "put_record_to_throttled_stream" ->
                    Map.of("results", List.of(putRecord(scenario.throttledStreamName())));
                case "put_records" -> Map.of("results", putRecords());
                case "read" -> Map.of("records", read());
                default -> throw new IllegalArgumentException("no step " + step);
            };
        } catch (KinesisException refused) {
            String message = refused.awsErrorDetails().errorMessage();
            return Map.of("error", new Failure(refused.getClass().getSimpleName(), message));
        }
    }

    private Result putRecord(String streamName) {
        return put(scenario.record(), request -> request.streamName(streamName));
    }

    private Result putRecordByArn() {
        return put(scenario.recordByArn(), request -> request.streamARN(scenario.streamArn()));
    }

    private Result put(Entry entry, Consumer<PutRecordRequest.Builder> stream) {
        PutRecordResponse answer = kinesis.putRecord(request -> stream.accept(request
                .partitionKey(entry.partitionKey())
                .explicitHashKey(entry.explicitHashKey())
                .data(entry.bytes())));
        return new Result(answer.shardId(), answer.sequenceNumber());
    }

    private List<Result> putRecords() {
        List<PutRecordsRequestEntry> entries = new ArrayList<>();
        for (Entry entry : scenario.entries()) {
            entries.add(PutRecordsRequestEntry.builder()
                    .partitionKey(entry.partitionKey())
                    .explicitHashKey(entry.explicitHashKey())
                    .data(entry.bytes())
                    .build());
        }
        return kinesis.putRecords(request -> request.streamName(scenario.streamName()).records(entries))
                .records()
                .stream()
                .map(entry -> new Result(entry.shardId(), entry.sequenceNumber()))
                .toList();
    }

    private List<ReadRecord> read() {
        List<ReadRecord> records = new ArrayList<>();
        for (String shardId : scenario.shardIds()) {
            String iterator = kinesis.getShardIterator(request -> request
                            .streamName(scenario.streamName())
                            .shardId(shardId)
                            .shardIteratorType(ShardIteratorType.TRIM_HORIZON))
                    .shardIterator();
            GetRecordsResponse page;
            do {
                String from = iterator;
                page = kinesis.getRecords(request -> request.shardIterator(from));
                page.records().forEach(record -> records.add(new ReadRecord(
                        shardId,
                        record.sequenceNumber(),
                        record.partitionKey(),
                        record.data().asByteArray(),
                        record.approximateArrivalTimestamp().toEpochMilli() / 1000.0)));
                iterator = page.nextShardIterator();
            } while (page.millisBehindLatest() > 0);
        }
        return records;
    }
}
