# frozen_string_literal: true

# Kinesis for the core of the AWS SDK for Ruby v3. The core is a package of its own and does all that reaches the network:
# serialising, signing, sending, retrying, parsing. The gem aws-sdk-kinesis adds the service's shapes, generated; these
# are those of the four operations that the scenario calls.

require "aws-sdk-core"
require "aws-sdk-core/plugins/protocols/json_rpc"
require "aws-sdk-core/plugins/signature_v4"

module Aws
  module Kinesis
    module Errors
      extend Aws::Errors::DynamicErrors
    end

    include Seahorse::Model

    TEXT = Shapes::StringShape.new(name: "String")
    NUMBER = Shapes::IntegerShape.new(name: "Long")
    DATA = Shapes::BlobShape.new(name: "Data")
    TIME = Shapes::TimestampShape.new(name: "Timestamp")

    def self.underscore(name)
      name.gsub(/([a-z])([A-Z])/, '\1_\2').downcase.to_sym
    end

    def self.structure(name, members)
      shape = Shapes::StructureShape.new(name: name)
      members.each do |member, kind|
        shape.add_member(underscore(member), Shapes::ShapeRef.new(shape: kind, location_name: member))
      end
      shape.struct_class = Struct.new(*shape.member_names)
      shape
    end

    def self.list(name, structure)
      Shapes::ListShape.new(name: name).tap { |shape| shape.member = Shapes::ShapeRef.new(shape: structure) }
    end

    STREAM = { "StreamName" => TEXT, "StreamARN" => TEXT }.freeze
    ENTRY = { "Data" => DATA, "PartitionKey" => TEXT, "ExplicitHashKey" => TEXT }.freeze
    RESULT = { "ShardId" => TEXT, "SequenceNumber" => TEXT }.freeze
    ENTRIES = list("PutRecordsRequestEntryList", structure("PutRecordsRequestEntry", ENTRY))
    RESULTS = list(
      "PutRecordsResultEntryList",
      structure("PutRecordsResultEntry", RESULT.merge("ErrorCode" => TEXT, "ErrorMessage" => TEXT))
    )
    RECORDS = list(
      "RecordList",
      structure("Record", "SequenceNumber" => TEXT, "ApproximateArrivalTimestamp" => TIME, "Data" => DATA,
                          "PartitionKey" => TEXT)
    )
    OPERATIONS = {
      "PutRecord" => [STREAM.merge(ENTRY), RESULT],
      "PutRecords" => [STREAM.merge("Records" => ENTRIES), { "Records" => RESULTS, "FailedRecordCount" => NUMBER }],
      "GetShardIterator" => [
        STREAM.merge("ShardId" => TEXT, "ShardIteratorType" => TEXT),
        { "ShardIterator" => TEXT }
      ],
      "GetRecords" => [
        { "ShardIterator" => TEXT },
        { "Records" => RECORDS, "NextShardIterator" => TEXT, "MillisBehindLatest" => NUMBER }
      ]
    }.freeze

    API = Api.new.tap do |api|
      api.version = "2013-12-02"
      api.metadata = {
        "apiVersion" => "2013-12-02", "endpointPrefix" => "kinesis", "jsonVersion" => "1.1", "protocol" => "json",
        "serviceId" => "Kinesis", "signatureVersion" => "v4", "targetPrefix" => "Kinesis_20131202"
      }
      OPERATIONS.each do |name, (input, output)|
        operation = Operation.new
        operation.name = name
        operation.http_method = "POST"
        operation.http_request_uri = "/"
        operation.input = Shapes::ShapeRef.new(shape: structure("#{name}Input", input))
        operation.output = Shapes::ShapeRef.new(shape: structure("#{name}Output", output))
        api.add_operation(underscore(name), operation)
      end
    end

    # The plugins of every client with this protocol.
    class Client < Seahorse::Client::Base
      include Aws::ClientStubs

      @identifier = :kinesis
      set_api(API)

      add_plugin(Seahorse::Client::Plugins::ContentLength)
      add_plugin(Aws::Plugins::CredentialsConfiguration)
      add_plugin(Aws::Plugins::ParamConverter)
      add_plugin(Aws::Plugins::ParamValidator)
      add_plugin(Aws::Plugins::UserAgent)
      add_plugin(Aws::Plugins::HelpfulSocketErrors)
      add_plugin(Aws::Plugins::RetryErrors)
      add_plugin(Aws::Plugins::RegionalEndpoint)
      add_plugin(Aws::Plugins::StubResponses)
      add_plugin(Aws::Plugins::TransferEncoding)
      add_plugin(Aws::Plugins::DefaultsMode)
      add_plugin(Aws::Plugins::SignatureV4)
      add_plugin(Aws::Plugins::Protocols::JsonRpc)

      def self.errors_module
        Errors
      end
    end
  end
end
