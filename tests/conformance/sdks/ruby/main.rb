# frozen_string_literal: true

# The scenario of README.md by the AWS SDK for Ruby: version 1, or, with --v3 as the first argument, the core of version 3.
# Neither knows the variable for the endpoint, nor, as they come, AWS_MAX_ATTEMPTS.

require "json"
require "uri"

V3 = ARGV.first == "--v3"
ARGV.shift if V3
ENDPOINT = URI(ENV.fetch("AWS_ENDPOINT_URL_KINESIS"))
RETRIES = Integer(ENV.fetch("AWS_MAX_ATTEMPTS")) - 1

if V3
  require_relative "kinesis"
  SDK = "aws-sdk-core #{Aws::CORE_GEM_VERSION}"
  ERROR = Aws::Kinesis::Errors::ServiceError
  KINESIS = Aws::Kinesis::Client.new(endpoint: ENDPOINT.to_s, retry_limit: RETRIES)
else
  require "aws-sdk-v1"
  SDK = "aws-sdk #{AWS::VERSION}"
  ERROR = AWS::Errors::Base
  KINESIS = AWS::Kinesis::Client.new(
    kinesis_endpoint: ENDPOINT.host,
    kinesis_port: ENDPOINT.port,
    use_ssl: ENDPOINT.scheme == "https",
    max_retries: RETRIES
  )
end

SCENARIO = JSON.parse(File.read(ARGV.shift, encoding: "UTF-8"))

def entry_of(record)
  entry = { partition_key: record["partition_key"], data: record["data"].unpack1("m") }
  entry[:explicit_hash_key] = record["explicit_hash_key"] if record["explicit_hash_key"]
  entry
end

def result_of(answer)
  { shard_id: answer[:shard_id], sequence_number: answer[:sequence_number] }
end

def put_record(record, stream)
  { results: [result_of(KINESIS.put_record(entry_of(SCENARIO[record]).merge(stream)))] }
end

def read(shard_id)
  start = { stream_name: SCENARIO["stream_name"], shard_id: shard_id, shard_iterator_type: "TRIM_HORIZON" }
  iterator = KINESIS.get_shard_iterator(start)[:shard_iterator]
  records = []
  loop do
    page = KINESIS.get_records(shard_iterator: iterator)
    page[:records].each do |record|
      records << {
        shard_id: shard_id,
        sequence_number: record[:sequence_number],
        partition_key: record[:partition_key],
        data: [record[:data]].pack("m0"),
        # Version 1 is older than the member.
        arrived_at: V3 ? record[:approximate_arrival_timestamp].to_f : nil
      }
    end
    iterator = page[:next_shard_iterator]
    return records if page[:records].empty?
  end
end

STEPS = {
  "put_record" => -> { put_record("record", { stream_name: SCENARIO["stream_name"] }) },
  "put_record_by_arn" => -> { put_record("record_by_arn", { stream_arn: SCENARIO["stream_arn"] }) },
  "put_record_to_absent_stream" => -> { put_record("record", { stream_name: SCENARIO["absent_stream_name"] }) },
  "put_record_to_throttled_stream" => -> { put_record("record", { stream_name: SCENARIO["throttled_stream_name"] }) },
  "put_records" => lambda {
    answer = KINESIS.put_records(stream_name: SCENARIO["stream_name"], records: SCENARIO["entries"].map { |e| entry_of(e) })
    { results: answer[:records].map { |result| result_of(result) } }
  },
  "read" => -> { { records: SCENARIO["shard_ids"].flat_map { |shard_id| read(shard_id) } } }
}.freeze

$stdout.sync = true
puts JSON.generate({ sdk: SDK })
ARGV.each do |step|
  puts JSON.generate(STEPS.fetch(step).call)
rescue ERROR => e
  puts JSON.generate({ error: { code: e.class.name.split("::").last, message: e.message } })
end
