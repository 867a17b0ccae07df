"""The scenario of README.md by boto3."""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions

Step = dict[str, Any]


def _entry(record: dict[str, str]) -> dict[str, Any]:
    entry = {"PartitionKey": record["partition_key"], "Data": b64decode(record["data"])}
    if "explicit_hash_key" in record:
        entry["ExplicitHashKey"] = record["explicit_hash_key"]
    return entry


def _result(answer: dict[str, Any]) -> dict[str, str]:
    return {"shard_id": answer["ShardId"], "sequence_number": answer["SequenceNumber"]}


class Program:
    """The steps, one method each."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self._scenario = scenario
        self._kinesis = boto3.client("kinesis")

    def put_record(self) -> Step:
        """Put the record."""
        return self._put_record("record", StreamName=self._scenario["stream_name"])

    def put_record_by_arn(self) -> Step:
        """Put the other record, naming the stream by its ARN."""
        return self._put_record("record_by_arn", StreamARN=self._scenario["stream_arn"])

    def put_record_to_absent_stream(self) -> Step:
        """Put to a stream that is not there."""
        return self._put_record("record", StreamName=self._scenario["absent_stream_name"])

    def put_record_to_throttled_stream(self) -> Step:
        """Put to a stream that takes nothing."""
        return self._put_record("record", StreamName=self._scenario["throttled_stream_name"])

    def _put_record(self, record: str, **stream: str) -> Step:
        return {"results": [_result(self._kinesis.put_record(**_entry(self._scenario[record]), **stream))]}

    def put_records(self) -> Step:
        """Put all entries at once."""
        entries = [_entry(entry) for entry in self._scenario["entries"]]
        answer = self._kinesis.put_records(StreamName=self._scenario["stream_name"], Records=entries)
        return {"results": [_result(result) for result in answer["Records"]]}

    def read(self) -> Step:
        """Read each shard to its end."""
        return {"records": [record for shard_id in self._scenario["shard_ids"] for record in self._read(shard_id)]}

    def _read(self, shard_id: str) -> list[dict[str, Any]]:
        stream_name = self._scenario["stream_name"]
        iterator = self._kinesis.get_shard_iterator(
            StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records = []
        behind = True
        while behind:
            page = self._kinesis.get_records(ShardIterator=iterator)
            records += [
                {
                    "shard_id": shard_id,
                    "sequence_number": record["SequenceNumber"],
                    "partition_key": record["PartitionKey"],
                    "data": b64encode(record["Data"]).decode(),
                    "arrived_at": record["ApproximateArrivalTimestamp"].timestamp(),
                }
                for record in page["Records"]
            ]
            iterator, behind = page["NextShardIterator"], page["MillisBehindLatest"] > 0
        return records


def _write(step: Step) -> None:
    sys.stdout.write(json.dumps(step) + "\n")


def main() -> None:
    """Run the steps that the command line names."""
    scenario_file, *steps = sys.argv[1:]
    _write({"sdk": f"boto3 {boto3.__version__}"})
    program = Program(json.loads(Path(scenario_file).read_bytes()))
    for step in steps:
        try:
            _write(getattr(program, step)())
        except botocore.exceptions.ClientError as error:
            _write({"error": {"code": type(error).__name__, "message": error.response["Error"]["Message"]}})


if __name__ == "__main__":
    main()
