// The scenario of README.md by the AWS SDK for Go v2.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

// In JSON a []byte is base64, both ways.
type record struct {
	PartitionKey    string  `json:"partition_key"`
	Data            []byte  `json:"data"`
	ExplicitHashKey *string `json:"explicit_hash_key"`
}

type scenario struct {
	StreamName          string   `json:"stream_name"`
	StreamARN           string   `json:"stream_arn"`
	AbsentStreamName    string   `json:"absent_stream_name"`
	ThrottledStreamName string   `json:"throttled_stream_name"`
	ShardIDs            []string `json:"shard_ids"`
	Record              record   `json:"record"`
	RecordByARN         record   `json:"record_by_arn"`
	Entries             []record `json:"entries"`
}

type result struct {
	ShardID        string `json:"shard_id"`
	SequenceNumber string `json:"sequence_number"`
}

type readRecord struct {
	result
	PartitionKey string  `json:"partition_key"`
	Data         []byte  `json:"data"`
	ArrivedAt    float64 `json:"arrived_at"`
}

type program struct {
	scenario
	client *kinesis.Client
}

func (p program) run(ctx context.Context, step string) (map[string]any, error) {
	switch step {
	case "put_record":
		return p.putRecord(ctx, p.Record, &p.StreamName, nil)
	case "put_record_by_arn":
		return p.putRecord(ctx, p.RecordByARN, nil, &p.StreamARN)
	case "put_record_to_absent_stream":
		return p.putRecord(ctx, p.Record, &p.AbsentStreamName, nil)
	case "put_record_to_throttled_stream":
		return p.putRecord(ctx, p.Record, &p.ThrottledStreamName, nil)
	case "put_records":
		return p.putRecords(ctx)
	case "read":
		return p.read(ctx)
	}
	return nil, fmt.Errorf("no step %q", step)
}

func (p program) putRecord(ctx context.Context, record record, name, arn *string) (map[string]any, error) {
	answer, err := p.client.PutRecord(ctx, &kinesis.PutRecordInput{
		StreamName: name, StreamARN: arn,
		PartitionKey: &record.PartitionKey, Data: record.Data, ExplicitHashKey: record.ExplicitHashKey,
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"results": []result{{*answer.ShardId, *answer.SequenceNumber}}}, nil
}

func (p program) putRecords(ctx context.Context) (map[string]any, error) {
	call := &kinesis.PutRecordsInput{StreamName: &p.StreamName}
	for _, entry := range p.Entries {
		call.Records = append(call.Records, types.PutRecordsRequestEntry{
			PartitionKey: aws.String(entry.PartitionKey), Data: entry.Data, ExplicitHashKey: entry.ExplicitHashKey,
		})
	}
	answer, err := p.client.PutRecords(ctx, call)
	if err != nil {
		return nil, err
	}
	var results []result
	for _, entry := range answer.Records {
		results = append(results, result{aws.ToString(entry.ShardId), aws.ToString(entry.SequenceNumber)})
	}
	return map[string]any{"results": results}, nil
}

func (p program) read(ctx context.Context) (map[string]any, error) {
	var records []readRecord
	for _, shardID := range p.ShardIDs {
		start, err := p.client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
			StreamName: &p.StreamName, ShardId: &shardID, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
		})
		if err != nil {
			return nil, err
		}
		for iterator, behind := start.ShardIterator, true; behind; {
			page, err := p.client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: iterator})
			if err != nil {
				return nil, err
			}
			for _, record := range page.Records {
				records = append(records, readRecord{
					result{shardID, *record.SequenceNumber}, *record.PartitionKey, record.Data,
					float64(record.ApproximateArrivalTimestamp.UnixNano()) / float64(time.Second),
				})
			}
			iterator, behind = page.NextShardIterator, *page.MillisBehindLatest > 0
		}
	}
	return map[string]any{"records": records}, nil
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var p program
	if err := json.Unmarshal(text, &p.scenario); err != nil {
		return err
	}
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	p.client = kinesis.NewFromConfig(settings)
	output := json.NewEncoder(os.Stdout)
	if err := output.Encode(map[string]any{"sdk": "aws-sdk-go-v2 " + aws.SDKVersion}); err != nil {
		return err
	}
	for _, step := range os.Args[2:] {
		answer, err := p.run(ctx, step)
		var refused smithy.APIError
		if errors.As(err, &refused) {
			// The class that the SDK made of the answer: *types.ResourceNotFoundException.
			_, class, _ := strings.Cut(fmt.Sprintf("%T", refused), ".")
			answer = map[string]any{"error": map[string]string{"code": class, "message": refused.ErrorMessage()}}
		} else if err != nil {
			return err
		}
		if err := output.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}
