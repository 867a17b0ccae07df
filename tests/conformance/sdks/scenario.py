"""What every SDK is asked to do, and what must come of it whichever SDK it was.

The records hold what the codecs on the way could break: every byte value, no bytes at all, keys beyond ASCII and beyond
the basic plane, explicit hash keys at both ends of the range, more data than the first window of an HTTP/2 stream.
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import dataclass
from hashlib import md5
from typing import Any, NamedTuple

SHARD_IDS = ("shardId-000000000000", "shardId-000000000001")
STREAM_SHARDS = len(SHARD_IDS)
ABSENT_STREAM_NAME = "no-such-stream"
THROTTLED_STREAM_NAME = "throttled"
ACCOUNT_ID = "000000000000"
REGION = "us-east-1"
HASH_KEYS = 2**128
# A clock that is read as milliseconds, or as text, is further off than this.
CLOCK_SLACK_SECONDS = 3600

Step = dict[str, Any]


class Located(NamedTuple):
    """A record and where it is."""

    shard_id: str
    sequence_number: int
    partition_key: str
    data: bytes


@dataclass(frozen=True)
class Entry:
    """A record to put."""

    partition_key: str
    data: bytes
    explicit_hash_key: int | None = None

    @property
    def shard_id(self) -> str:
        """The shard that the service's rule chooses."""
        hash_key = self.explicit_hash_key
        if hash_key is None:
            hash_key = int.from_bytes(md5(self.partition_key.encode(), usedforsecurity=False).digest())
        return SHARD_IDS[hash_key * STREAM_SHARDS // HASH_KEYS]

    def as_json(self) -> dict[str, str]:
        """Return the record as README.md has it."""
        members = {"partition_key": self.partition_key, "data": b64encode(self.data).decode()}
        if self.explicit_hash_key is not None:
            members["explicit_hash_key"] = str(self.explicit_hash_key)
        return members


RECORD = Entry("größe-☃-𝄞", bytes(range(256)) * 3900)
RECORD_BY_ARN = Entry("customer-1", b"")
ENTRIES = tuple(
    Entry(
        f"customer-{n % 40}" if n % 7 else f"kunde-{n % 40}-€",
        bytes(m % 256 for m in range(n, n + n % 300)),
        None if n % 10 else (HASH_KEYS - 1) * n // 490,
    )
    for n in range(500)
)


def scenario(stream_name: str) -> dict[str, Any]:
    """Return the scenario on one stream, as README.md has it."""
    return {
        "stream_name": stream_name,
        "stream_arn": f"arn:aws:kinesis:{REGION}:{ACCOUNT_ID}:stream/{stream_name}",
        "absent_stream_name": ABSENT_STREAM_NAME,
        "throttled_stream_name": THROTTLED_STREAM_NAME,
        "shard_ids": SHARD_IDS,
        "record": RECORD.as_json(),
        "record_by_arn": RECORD_BY_ARN.as_json(),
        "entries": [entry.as_json() for entry in ENTRIES],
    }


PUT_BY = {"put_record": (RECORD,), "put_record_by_arn": (RECORD_BY_ARN,), "put_records": ENTRIES}


def located(step: str, answer: Step) -> list[Located]:
    """Return where the step's records are, by the answer; each must be on the shard of its hash key."""
    assert "results" in answer, answer
    entries, results = PUT_BY[step], answer["results"]
    assert len(results) == len(entries)
    assert [result["shard_id"] for result in results] == [entry.shard_id for entry in entries]
    return [
        Located(result["shard_id"], int(result["sequence_number"]), entry.partition_key, entry.data)
        for entry, result in zip(entries, results, strict=True)
    ]


def read_records(answer: Step) -> list[Located]:
    """Return the records that a `read` found; each arrived just now, if the SDK can say when."""
    assert "records" in answer, answer
    now = time.time()
    for record in answer["records"]:
        assert record["arrived_at"] is None or abs(record["arrived_at"] - now) < CLOCK_SLACK_SECONDS
    return [
        Located(record["shard_id"], int(record["sequence_number"]), record["partition_key"], b64decode(record["data"]))
        for record in answer["records"]
    ]


def check_read_back(put: list[Located], read: list[Located]) -> None:
    """Each record that was put is read where its answer said that it is, byte for byte, once, and nothing else is."""
    assert Counter(read) == Counter(put)


def check_order(put: list[Located]) -> None:
    """Records of one key, in the order in which they were put, have increasing sequence numbers on each shard."""
    last: dict[tuple[str, str], int] = {}
    for record in put:
        queue = (record.partition_key, record.shard_id)
        assert record.sequence_number > last.get(queue, -1), record.partition_key
        last[queue] = record.sequence_number


def check_absent(answer: Step) -> None:
    """The SDK raised its own class of the error, with the service's text."""
    assert answer == {
        "error": {
            "code": "ResourceNotFoundException",
            "message": f"Stream {ABSENT_STREAM_NAME} under account {ACCOUNT_ID} not found.",
        }
    }


def check_throttled(answer: Step) -> None:
    """The SDK raised its own class of the error, with the service's text, which names the shard."""
    assert answer["error"]["code"] == "ProvisionedThroughputExceededException"
    rate_exceeded = (
        f"Rate exceeded for shard {SHARD_IDS[0]} in stream {THROTTLED_STREAM_NAME} under account {ACCOUNT_ID}."
    )
    assert answer["error"]["message"].startswith(rate_exceeded)
