"""Careful producers: what they sent, in which order, and what they were told.

Theory of operation: each partition key belongs to one producer, which has at most one call outstanding. Every single
sending of a record is a `Sending` with an ordinal of its own within its key, also when it repeats the content of one
that failed. So the order in which the server received the sendings of a key is known to be their ordinals, each of
them is one received record to the server, and a repetition that the server made can be told from one that a producer
made. Within one PutRecords call a key's sendings stand in the order of their ordinals.

Must never know: what stands between it and the stream.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.kinesis_client import KinesisClient, NoAnswer, ServiceError

if TYPE_CHECKING:
    import random

# What an SDK retries; anything else is a mistake of the producer or of the server, and ends the run.
RETRIED_CODES = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "InternalFailure",
        "InternalFailureException",
        "ServiceUnavailable",
    }
)
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 1.0
SERVER_FAULT = 500


@dataclass(slots=True, eq=False)
class Sending:
    """One sending of one record: its content and what came of it.

    Acknowledged when `sequence_number` is set; refused with an error when `error_code` is; neither when no answer came.
    """

    partition_key: str
    ordinal: int
    data: bytes
    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None


@dataclass(slots=True)
class Ledger:
    """Every sending of a run, by partition key in the order of their ordinals."""

    by_key: dict[str, list[Sending]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    def send(self, partition_key: str, data_bytes: int) -> Sending:
        """Enter the next sending of a key."""
        sendings = self.by_key.setdefault(partition_key, [])
        ordinal = len(sendings)
        sending = Sending(partition_key, ordinal, payload_of(partition_key, ordinal, data_bytes))
        sendings.append(sending)
        return sending

    def sent(self) -> int:
        """Count all sendings."""
        return sum(len(sendings) for sendings in self.by_key.values())

    def acknowledged(self) -> int:
        """Count the sendings that were acknowledged."""
        return sum(sending.sequence_number is not None for sendings in self.by_key.values() for sending in sendings)


def payload_of(partition_key: str, ordinal: int, data_bytes: int) -> bytes:
    """Return content that names its key and ordinal and is at least `data_bytes` long, not two alike."""
    head = f"{partition_key}/{ordinal}/".encode()
    missing = max(0, data_bytes - len(head))
    block = hashlib.md5(head, usedforsecurity=False).hexdigest().encode()
    return head + (block * (missing // len(block) + 1))[:missing]


def name_of(data: bytes) -> tuple[str, int] | None:
    """Return the key and ordinal that a payload names, or None where it names none."""
    parts = data.split(b"/", 2)
    if len(parts) != 3 or not parts[1].isdigit():
        return None
    return parts[0].decode(errors="replace"), int(parts[1])


@dataclass(frozen=True, slots=True)
class Habits:
    """How a producer calls.

    Args:
        records_per_call: 1 calls PutRecord; more calls PutRecords with that many entries.
        run_of_key: so many entries of one PutRecords call in a row have the same key.
        data_bytes: size of a payload.
    """

    records_per_call: int = 1
    run_of_key: int = 1
    data_bytes: int = 100


class Quota:
    """How many records are still to be sent, by all producers that share it.

    Args:
        records: that are to be acknowledged in all.
    """

    def __init__(self, records: int) -> None:
        self._left = records

    def take(self, count_max: int) -> int:
        """Return how many of the wanted records to send now; 0 when all are sent."""
        count = max(0, min(self._left, count_max))
        self._left -= count
        return count

    def give_back(self, count: int) -> None:
        """Let records that failed be sent again, unless it is closed."""
        if self._left >= 0:
            self._left += count

    def close(self) -> None:
        """End every producer after the call that is out."""
        self._left = -1


class Producer:
    """Sends records of its own keys, one call at a time, until enough of them are acknowledged.

    Args:
        client: shared connections.
        stream_name: where to.
        partition_keys: this producer's alone, at least one; without a slash.
        ledger: where every sending is entered.
        habits: how it calls.
        random: chooses keys and jitter.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream_name: str,
        partition_keys: list[str],
        ledger: Ledger,
        habits: Habits,
        random: random.Random,
    ) -> None:
        self._client = client
        self._stream_name = stream_name
        self._partition_keys = partition_keys
        self._ledger = ledger
        self._habits = habits
        self._random = random
        self._attempt = 0

    async def run(self, quota: Quota) -> None:
        """Send until the quota is used up; what fails is sent again."""
        while count := quota.take(self._habits.records_per_call):
            acknowledged = await self.put(self._next_sendings(count))
            quota.give_back(count - acknowledged)
            if acknowledged == count:
                self._attempt = 0
                continue
            ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2**self._attempt)
            self._attempt += 1
            await asyncio.sleep(ceiling * self._random.random())

    async def put(self, sendings: list[Sending]) -> int:
        """Make one call, enter what came of it, and return how many records were acknowledged."""
        return await (self._put_one(sendings[0]) if len(sendings) == 1 else self._put_many(sendings))

    def _next_sendings(self, count: int) -> list[Sending]:
        sendings: list[Sending] = []
        while len(sendings) < count:
            partition_key = self._random.choice(self._partition_keys)
            run = min(self._habits.run_of_key, count - len(sendings))
            sendings += [self._ledger.send(partition_key, self._habits.data_bytes) for _ in range(run)]
        return sendings

    async def _put_one(self, sending: Sending) -> int:
        body = f'{{"StreamName":"{self._stream_name}",{_entry(sending)[1:]}'
        output = await self._call("PutRecord", body.encode(), [sending])
        return 0 if output is None else self._enter(sending, output)

    async def _put_many(self, sendings: list[Sending]) -> int:
        entries = ",".join(map(_entry, sendings))
        body = f'{{"StreamName":"{self._stream_name}","Records":[{entries}]}}'
        output = await self._call("PutRecords", body.encode(), sendings)
        if output is None:
            return 0
        results = output["Records"]
        assert len(results) == len(sendings), "a PutRecords answer has one result for each entry"
        acknowledged = sum(map(self._enter, sendings, results))
        assert output["FailedRecordCount"] == len(sendings) - acknowledged, "FailedRecordCount counts the failures"
        return acknowledged

    async def _call(self, operation: str, body: bytes, sendings: list[Sending]) -> dict[str, Any] | None:
        try:
            return await self._client.call(operation, body)
        except NoAnswer:
            self._ledger.failures["no answer"] += len(sendings)
        except ServiceError as error:
            if error.code not in RETRIED_CODES and error.status < SERVER_FAULT:
                raise
            for sending in sendings:
                sending.error_code = error.code
            self._ledger.failures[error.code] += len(sendings)
        return None

    def _enter(self, sending: Sending, result: dict[str, Any]) -> int:
        """Enter one result; return 1 where it acknowledges the record."""
        if "ErrorCode" in result and result["ErrorCode"] is not None:
            sending.error_code = result["ErrorCode"]
            self._ledger.failures[result["ErrorCode"]] += 1
            assert sending.error_code in RETRIED_CODES, f"PutRecords may not answer {result}"
            return 0
        sending.shard_id = result["ShardId"]
        sending.sequence_number = result["SequenceNumber"]
        return 1


def _entry(sending: Sending) -> str:
    # Keys are plain ASCII by construction, so no JSON escapes are needed.
    data = base64.b64encode(sending.data).decode()
    return f'{{"Data":"{data}","PartitionKey":"{sending.partition_key}"}}'
