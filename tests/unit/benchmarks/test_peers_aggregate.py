from __future__ import annotations

import hashlib

from proxy.core.hashing import HASH_KEY_MAX
from tests.benchmarks.peers.aggregate import unpack
from tests.support.readback import StoredRecord, StoredShard

# As PyPI aws-kinesis-agg 1.2.3 packs a: a/0/, b: b/0/, a: a/1/.
PACKED = (
    b"\xf3\x89\x9a\xc2\n\x01a\n\x01b\x1a\x08\x08\x00\x1a\x04a/0/\x1a\x08\x08\x01\x1a\x04b/0/"
    b"\x1a\x08\x08\x00\x1a\x04a/1/\xeb_\xbbED\xe8O\x12\xae9\xd7\xf8\x0c\x8bmT"
)


def unpacked(*records: StoredRecord) -> list[StoredRecord]:
    """Unpack the records of one shard."""
    (shard,) = unpack([StoredShard("shardId-000000000000", 0, HASH_KEY_MAX, records=list(records))])
    return shard.records


def test_an_aggregate_becomes_its_records_in_their_order() -> None:
    """Each has its own key and the aggregate's sequence number."""
    assert unpacked(StoredRecord("7", "a", PACKED)) == [
        StoredRecord("7", "a", b"a/0/"),
        StoredRecord("7", "b", b"b/0/"),
        StoredRecord("7", "a", b"a/1/"),
    ]


def test_other_records_stay_as_they_are() -> None:
    """Also one that begins like an aggregate and has another digest."""
    plain, broken = StoredRecord("1", "k", b"k/0/"), StoredRecord("2", "k", PACKED[:-1] + b"x")
    assert unpacked(plain, broken) == [plain, broken]


def test_long_lengths_and_tags_are_understood() -> None:
    """A length past 127 takes two bytes; tags of a record are skipped."""
    data = b"x" * 300
    record = b"\x08\x00\x1a\xac\x02" + data + b"\x22\x05\x0a\x03tag"
    body = b"\x0a\x03key\x1a" + bytes([len(record) & 0x7F | 0x80, len(record) >> 7]) + record
    packed = b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body, usedforsecurity=False).digest()
    assert unpacked(StoredRecord("1", "a", packed)) == [StoredRecord("1", "key", data)]
