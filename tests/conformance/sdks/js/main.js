// The scenario of README.md by the AWS SDK for JavaScript v3: with its default handler, or, with --http1 as the first
// argument, with the handler for HTTP/1.1 that the SDK offers.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import {
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  KinesisServiceException,
  PutRecordCommand,
  PutRecordsCommand,
} from "@aws-sdk/client-kinesis";
import { NodeHttpHandler } from "@smithy/node-http-handler";

const http1 = process.argv[2] === "--http1";
const [scenarioFile, ...stepNames] = process.argv.slice(http1 ? 3 : 2);
const scenario = JSON.parse(readFileSync(scenarioFile, "utf8"));
const kinesis = new KinesisClient(http1 ? { requestHandler: new NodeHttpHandler() } : {});

const write = (step) => process.stdout.write(JSON.stringify(step) + "\n");

const entryOf = (record) => ({
  PartitionKey: record.partition_key,
  Data: Buffer.from(record.data, "base64"),
  ExplicitHashKey: record.explicit_hash_key,
});

const resultOf = (answer) => ({ shard_id: answer.ShardId, sequence_number: answer.SequenceNumber });

const putRecord = async (record, stream) => ({
  results: [resultOf(await kinesis.send(new PutRecordCommand({ ...entryOf(record), ...stream })))],
});

async function readShard(shardId) {
  const start = { StreamName: scenario.stream_name, ShardId: shardId, ShardIteratorType: "TRIM_HORIZON" };
  let iterator = (await kinesis.send(new GetShardIteratorCommand(start))).ShardIterator;
  const records = [];
  for (let behind = true; behind; ) {
    const page = await kinesis.send(new GetRecordsCommand({ ShardIterator: iterator }));
    for (const record of page.Records) {
      records.push({
        shard_id: shardId,
        sequence_number: record.SequenceNumber,
        partition_key: record.PartitionKey,
        data: Buffer.from(record.Data).toString("base64"),
        arrived_at: record.ApproximateArrivalTimestamp.getTime() / 1000,
      });
    }
    iterator = page.NextShardIterator;
    behind = page.MillisBehindLatest > 0;
  }
  return records;
}

const steps = {
  put_record: () => putRecord(scenario.record, { StreamName: scenario.stream_name }),
  put_record_by_arn: () => putRecord(scenario.record_by_arn, { StreamARN: scenario.stream_arn }),
  put_record_to_absent_stream: () => putRecord(scenario.record, { StreamName: scenario.absent_stream_name }),
  put_record_to_throttled_stream: () => putRecord(scenario.record, { StreamName: scenario.throttled_stream_name }),
  async put_records() {
    const call = { StreamName: scenario.stream_name, Records: scenario.entries.map(entryOf) };
    return { results: (await kinesis.send(new PutRecordsCommand(call))).Records.map(resultOf) };
  },
  read: async () => ({ records: (await Promise.all(scenario.shard_ids.map(readShard))).flat() }),
};

const { version } = createRequire(import.meta.url)("@aws-sdk/client-kinesis/package.json");
write({ sdk: `@aws-sdk/client-kinesis ${version}` });
for (const name of stepNames) {
  try {
    write(await steps[name]());
  } catch (error) {
    if (!(error instanceof KinesisServiceException)) throw error;
    write({ error: { code: error.constructor.name, message: error.message } });
  }
}
kinesis.destroy();
