"""The scenario of README.md by the AWS command line, which the first argument names: one command a call."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

Step = dict[str, Any]
# As the command line reports an error of the service, on standard error.
_ERROR = re.compile(
    r"An error occurred \((\w+)\) when calling the \w+ operation(?: \(reached max retries: \d+\))?: (.*)", re.DOTALL
)


class CallError(Exception):
    """The command line reported an error of the service."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _aws(*arguments: str) -> str:
    command = [sys.argv[1], *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - the arguments are ours
    if done.returncode == 0:
        return done.stdout
    reported = _ERROR.search(done.stderr)
    if reported is None:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    raise CallError(reported[1], reported[2].strip())


def _kinesis(operation: str, **members: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    # The variable for the endpoint is known to newer versions only; blobs are base64 on both sides.
    endpoint = ("--endpoint-url", os.environ["AWS_ENDPOINT_URL_KINESIS"])
    if len(json.dumps(members)) < 100_000:
        return json.loads(_aws("kinesis", operation, *endpoint, "--cli-input-json", json.dumps(members)))
    # Too much for a command line.
    file = Path(os.environ["TMPDIR"]) / f"{operation}.json"
    file.write_text(json.dumps(members), encoding="utf-8")
    return json.loads(_aws("kinesis", operation, *endpoint, "--cli-input-json", f"file://{file}"))


def _entry(record: dict[str, str]) -> dict[str, str]:
    names = {"partition_key": "PartitionKey", "data": "Data", "explicit_hash_key": "ExplicitHashKey"}
    return {names[name]: value for name, value in record.items()}


def _result(answer: dict[str, Any]) -> dict[str, str]:
    return {"shard_id": answer["ShardId"], "sequence_number": answer["SequenceNumber"]}


class Program:
    """The steps, one method each."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self._scenario = scenario

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
        return {"results": [_result(_kinesis("put-record", **_entry(self._scenario[record]), **stream))]}

    def put_records(self) -> Step:
        """Put all entries at once."""
        entries = [_entry(entry) for entry in self._scenario["entries"]]
        answer = _kinesis("put-records", StreamName=self._scenario["stream_name"], Records=entries)
        return {"results": [_result(result) for result in answer["Records"]]}

    def read(self) -> Step:
        """Read each shard to its end."""
        return {"records": [record for shard_id in self._scenario["shard_ids"] for record in self._read(shard_id)]}

    def _read(self, shard_id: str) -> list[dict[str, Any]]:
        iterator = _kinesis(
            "get-shard-iterator",
            StreamName=self._scenario["stream_name"],
            ShardId=shard_id,
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        records = []
        behind = True
        while behind:
            page = _kinesis("get-records", ShardIterator=iterator)
            records += [
                {
                    "shard_id": shard_id,
                    "sequence_number": record["SequenceNumber"],
                    "partition_key": record["PartitionKey"],
                    "data": record["Data"],
                    "arrived_at": datetime.fromisoformat(record["ApproximateArrivalTimestamp"]).timestamp(),
                }
                for record in page["Records"]
            ]
            iterator, behind = page["NextShardIterator"], page["MillisBehindLatest"] > 0
        return records


def _write(step: Step) -> None:
    sys.stdout.write(json.dumps(step) + "\n")


def main() -> None:
    """Run the steps that the command line names."""
    scenario_file, *steps = sys.argv[2:]
    _write({"sdk": _aws("--version").split()[0].replace("/", " ")})
    program = Program(json.loads(Path(scenario_file).read_bytes()))
    for step in steps:
        try:
            _write(getattr(program, step)())
        except CallError as error:
            _write({"error": {"code": error.code, "message": str(error)}})


if __name__ == "__main__":
    main()
