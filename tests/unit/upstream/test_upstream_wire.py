import json

import pytest

from proxy.core.batch import Batch
from proxy.core.record import Record
from proxy.upstream import wire

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"


def record(
    partition_key: str,
    data: str = "aGVsbG8=",
    explicit_hash_key: str | None = None,
    sequence_number_for_ordering: str | None = None,
) -> Record:
    """Return a record as the core hands it over."""
    return Record(partition_key, data, 8, 1, 0, explicit_hash_key, sequence_number_for_ordering)


def test_put_records_body_has_one_entry_for_each_record_in_order() -> None:
    """Entries stand in the order of the batch, addressed by stream name."""
    batch = Batch("orders", None, [record("b"), record("a", "d29ybGQ=", explicit_hash_key="170")])
    assert wire.encode_put_records(batch) == (
        b'{"Records":[{"Data":"aGVsbG8=","PartitionKey":"b"},'
        b'{"Data":"d29ybGQ=","PartitionKey":"a","ExplicitHashKey":"170"}],"StreamName":"orders"}'
    )


def test_stream_arn_takes_the_place_of_the_name() -> None:
    """A stream addressed by ARN is sent by ARN alone: the service refuses names that do not match it."""
    body = json.loads(wire.encode_put_records(Batch("orders", ARN, [record("a")])))
    assert body == {"Records": [{"Data": "aGVsbG8=", "PartitionKey": "a"}], "StreamARN": ARN}


def test_partition_keys_of_any_text_survive() -> None:
    """Quotes, control characters and characters beyond the BMP are escaped or encoded as JSON demands."""
    key = 'ключ "\\\n\x00\U0001f511'
    body = json.loads(wire.encode_put_records(Batch("orders", None, [record(key)])))
    assert body["Records"][0]["PartitionKey"] == key


def test_put_record_body_carries_the_sequence_number_for_ordering() -> None:
    """The ordered record travels with all its members."""
    ordered = record("a", explicit_hash_key="170", sequence_number_for_ordering="4960")
    assert wire.encode_put_record(Batch("orders", None, [ordered], ordered=True)) == (
        b'{"Data":"aGVsbG8=","PartitionKey":"a","ExplicitHashKey":"170","SequenceNumberForOrdering":"4960",'
        b'"StreamName":"orders"}'
    )


def test_put_record_takes_exactly_one_record() -> None:
    """A second record could not be sent, and must not be dropped in silence."""
    with pytest.raises(ValueError, match="too many values"):
        wire.encode_put_record(Batch("orders", None, [record("a"), record("b")], ordered=True))


def test_put_records_results_keep_the_order_of_the_response() -> None:
    """Successes and failures are told apart by their members."""
    answer = wire.decode_put_records(
        b'{"EncryptionType":"KMS","FailedRecordCount":1,"Records":[{"SequenceNumber":"4960","ShardId":"shardId-0"},'
        b'{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"}],"New":[{}]}'
    )
    assert answer is not None
    assert answer.encryption_type == "KMS"
    assert [(r.shard_id, r.sequence_number, r.error_code, r.error_message) for r in answer.results] == [
        ("shardId-0", "4960", None, None),
        (None, None, "ProvisionedThroughputExceededException", "Rate exceeded"),
    ]


def test_put_record_result_is_one_success() -> None:
    """PutRecord's response has the members of one result."""
    answer = wire.decode_put_record(b'{"SequenceNumber":"4960","ShardId":"shardId-0"}')
    assert answer is not None
    assert [(r.shard_id, r.sequence_number, r.error_code) for r in answer.results] == [("shardId-0", "4960", None)]
    assert answer.encryption_type is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"Records":null}',
        b'{"Records":[{"ShardId":1}]}',
        b'{"Records":[{"ShardId":"\xff"}]}',
        b'{"Records":[{"ShardId":"shardId-0"',
        b"\x1f\x8b\x08\x00",
        b"<html>",
    ],
)
def test_what_is_no_put_records_response_is_none(body: bytes) -> None:
    """A body that cannot be decoded is no success."""
    assert wire.decode_put_records(body) is None


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"ShardId":"shardId-0"}', b'{"SequenceNumber":"1"}', b'{"ShardId":1,"SequenceNumber":"1"}']
)
def test_what_is_no_put_record_response_is_none(body: bytes) -> None:
    """A 200 without shard id and sequence number is no success."""
    assert wire.decode_put_record(body) is None
