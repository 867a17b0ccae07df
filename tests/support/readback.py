"""Reads a whole stream back and holds it against what its producers sent and were told.

`read_stream` is the only part that talks to a server; `verify` is pure. What is promised, and so verified:

- every acknowledged sending is in the stream, once at least, under the shard id and sequence number that its producer
  was told, with its key and its bytes;
- the first occurrences of each key's sendings are in the order in which they were sent, a parent shard's records
  coming before its children's;
- nothing is in the stream that was never sent, and nothing lies in a shard that does not own its key;
- sequence numbers increase within a shard as they are read, and none is there twice.

Repetitions of a sending are counted: a retry after a lost answer may write twice, nothing else may.

Must never know: what stands between the producers and the stream.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.core.hashing import hash_key_of
from tests.support.producers import Ledger, Sending, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.kinesis_client import KinesisClient

PROBLEMS_SHOWN_MAX = 20
GET_RECORDS_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as GetRecords returns it."""

    sequence_number: str
    partition_key: str
    data: bytes


@dataclass(slots=True)
class StoredShard:
    """One shard, open or closed, with all its records in the order in which they were read."""

    shard_id: str
    starting_hash_key: int
    ending_hash_key: int
    parent_shard_ids: tuple[str, ...] = ()
    records: list[StoredRecord] = field(default_factory=list)


@dataclass(slots=True)
class Verdict:
    """What was found; `problems` is empty when every promise was kept.

    Args:
        acknowledged: sendings that their producers were told are in the stream.
        stored: records in the stream.
        duplicates: occurrences of a sending after its first.
        late_duplicates: those that come after a later sending of their key; with one record of a key in flight at a
            time there is none.
        unacknowledged: sendings in the stream of which their producers were not told so.
        lost: acknowledged sendings that are not in the stream under the place that was told.
        inversions: first occurrences that come after a later sending of their key.
        foreign: records that nobody sent, or not so.
        misrouted: records in a shard that does not own their key.
        regressions: sequence numbers that do not exceed the one before in their shard.
        examples: the first few broken promises, in words.
    """

    acknowledged: int = 0
    stored: int = 0
    duplicates: int = 0
    late_duplicates: int = 0
    unacknowledged: int = 0
    lost: int = 0
    inversions: int = 0
    foreign: int = 0
    misrouted: int = 0
    regressions: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, int]:
        """Broken promises by kind, those that were found alone."""
        kinds = ("lost", "inversions", "foreign", "misrouted", "regressions")
        return {kind: count for kind in kinds if (count := getattr(self, kind))}

    def note(self, example: str) -> None:
        """Keep an example of what went wrong, the first few alone."""
        if len(self.examples) < PROBLEMS_SHOWN_MAX:
            self.examples.append(example)


async def read_stream(client: KinesisClient, stream_name: str) -> list[StoredShard]:
    """Read every shard from its oldest record to its end; parents stand before their children."""
    shards = parents_first(await _list_shards(client, stream_name))
    for shard in shards:
        await _read_shard(client, stream_name, shard)
    return shards


async def _list_shards(client: KinesisClient, stream_name: str) -> list[StoredShard]:
    shards: list[StoredShard] = []
    request: dict[str, Any] = {"StreamName": stream_name}
    while True:
        output = await client.call("ListShards", request)
        for shard in output["Shards"]:
            parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
            shards.append(
                StoredShard(
                    shard["ShardId"],
                    int(shard["HashKeyRange"]["StartingHashKey"]),
                    int(shard["HashKeyRange"]["EndingHashKey"]),
                    tuple(parent for parent in parents if parent is not None),
                )
            )
        if not output.get("NextToken"):
            return shards
        request = {"NextToken": output["NextToken"]}


async def _read_shard(client: KinesisClient, stream_name: str, shard: StoredShard) -> None:
    start = {"StreamName": stream_name, "ShardId": shard.shard_id, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = (await client.call("GetShardIterator", start))["ShardIterator"]
    while iterator is not None:
        output = await client.call("GetRecords", {"ShardIterator": iterator, "Limit": GET_RECORDS_LIMIT})
        shard.records += [
            StoredRecord(record["SequenceNumber"], record["PartitionKey"], base64.b64decode(record["Data"]))
            for record in output["Records"]
        ]
        iterator = output.get("NextShardIterator")
        # An open shard has no last iterator: its end is where nothing more is behind.
        if not output["Records"] and not output.get("MillisBehindLatest"):
            return


def parents_first(shards: list[StoredShard]) -> list[StoredShard]:
    """Return the shards so that none stands before a parent of its own; a parent that is gone counts as read."""
    listed = {shard.shard_id for shard in shards}
    waiting, ordered, done = list(shards), [], set[str]()
    while waiting:
        ready = [shard for shard in waiting if all(p in done or p not in listed for p in shard.parent_shard_ids)]
        assert ready, "shards cannot be each other's parents"
        ordered += ready
        done.update(shard.shard_id for shard in ready)
        waiting = [shard for shard in waiting if shard.shard_id not in done]
    return ordered


def verify(ledger: Ledger, shards: Iterable[StoredShard]) -> Verdict:
    """Hold what is in the stream against what was sent and acknowledged.

    Args:
        ledger: every sending.
        shards: as `read_stream` returns them.
    """
    verdict = Verdict(acknowledged=ledger.acknowledged())
    found: set[tuple[str, int]] = set()
    places: dict[tuple[str, str], Sending] = {}
    newest: dict[str, int] = {}
    for shard in shards:
        last = -1
        for record in shard.records:
            verdict.stored += 1
            sequence = int(record.sequence_number)
            if sequence <= last:
                verdict.regressions += 1
                verdict.note(f"{shard.shard_id}: {sequence} follows {last}")
            last = sequence
            sending = sending_of(ledger, record)
            if sending is None:
                verdict.foreign += 1
                verdict.note(f"{shard.shard_id}: {record} was never sent")
                continue
            if not shard.starting_hash_key <= hash_key_of(record.partition_key) <= shard.ending_hash_key:
                verdict.misrouted += 1
                verdict.note(f"{shard.shard_id} does not own {record.partition_key}")
            places[shard.shard_id, record.sequence_number] = sending
            name = (sending.partition_key, sending.ordinal)
            if name in found:
                verdict.duplicates += 1
                verdict.late_duplicates += sending.ordinal < newest[sending.partition_key]
                continue
            found.add(name)
            if sending.sequence_number is None:
                verdict.unacknowledged += 1
            if sending.ordinal < newest.get(sending.partition_key, -1):
                verdict.inversions += 1
                verdict.note(f"{name} first occurs after ordinal {newest[sending.partition_key]}")
            else:
                newest[sending.partition_key] = sending.ordinal
    _look_for_acknowledged(ledger, places, verdict)
    return verdict


def sending_of(ledger: Ledger, record: StoredRecord) -> Sending | None:
    """Return the sending that a record repeats byte by byte, or None."""
    name = name_of(record.data)
    if name is None:
        return None
    sendings = ledger.by_key.get(name[0], [])
    if name[1] >= len(sendings):
        return None
    sending = sendings[name[1]]
    same = sending.data == record.data and sending.partition_key == record.partition_key
    return sending if same else None


def _look_for_acknowledged(ledger: Ledger, places: dict[tuple[str, str], Sending], verdict: Verdict) -> None:
    for sendings in ledger.by_key.values():
        for sending in sendings:
            if sending.sequence_number is None:
                continue
            assert sending.shard_id is not None, "an acknowledgement names its shard"
            if places.get((sending.shard_id, sending.sequence_number)) is not sending:
                verdict.lost += 1
                verdict.note(f"{sending} is not where it was acknowledged")
