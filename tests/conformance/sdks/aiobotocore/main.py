"""The scenario of README.md by aiobotocore."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import aiobotocore
import botocore.exceptions
from aiobotocore.session import get_session

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

    def __init__(self, scenario: dict[str, Any], kinesis: Any) -> None:  # noqa: ANN401 - the client has no type
        self._scenario = scenario
        self._kinesis = kinesis

    async def put_record(self) -> Step:
        """Put the record."""
        return await self._put_record("record", StreamName=self._scenario["stream_name"])

    async def put_record_by_arn(self) -> Step:
        """Put the other record, naming the stream by its ARN."""
        return await self._put_record("record_by_arn", StreamARN=self._scenario["stream_arn"])

    async def put_record_to_absent_stream(self) -> Step:
        """Put to a stream that is not there."""
        return await self._put_record("record", StreamName=self._scenario["absent_stream_name"])

    async def put_record_to_throttled_stream(self) -> Step:
        """Put to a stream that takes nothing."""
        return await self._put_record("record", StreamName=self._scenario["throttled_stream_name"])

    async def _put_record(self, record: str, **stream: str) -> Step:
        return {"results": [_result(await self._kinesis.put_record(**_entry(self._scenario[record]), **stream))]}

    async def put_records(self) -> Step:
        """Put all entries at once."""
        entries = [_entry(entry) for entry in self._scenario["entries"]]
        answer = await self._kinesis.put_records(StreamName=self._scenario["stream_name"], Records=entries)
        return {"results": [_result(result) for result in answer["Records"]]}

    async def read(self) -> Step:
        """Read each shard to its end, all shards at once."""
        shards = await asyncio.gather(*(self._read(shard_id) for shard_id in self._scenario["shard_ids"]))
        return {"records": [record for records in shards for record in records]}

    async def _read(self, shard_id: str) -> list[dict[str, Any]]:
        answer = await self._kinesis.get_shard_iterator(
            StreamName=self._scenario["stream_name"], ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
        )
        iterator = answer["ShardIterator"]
        records = []
        behind = True
        while behind:
            page = await self._kinesis.get_records(ShardIterator=iterator)
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


async def main(scenario: dict[str, Any], steps: list[str]) -> None:
    """Run the steps that the command line names."""
    _write({"sdk": f"aiobotocore {aiobotocore.__version__}"})
    # Unlike boto3 it needs the region at hand.
    async with get_session().create_client("kinesis", region_name=os.environ["AWS_REGION"]) as kinesis:
        program = Program(scenario, kinesis)
        for step in steps:
            try:
                _write(await getattr(program, step)())
            except botocore.exceptions.ClientError as error:
                _write({"error": {"code": type(error).__name__, "message": error.response["Error"]["Message"]}})


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2:]))
