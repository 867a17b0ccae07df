from __future__ import annotations

import base64
import hashlib

import pytest

from proxy.emulator import sequence_number
from proxy.emulator.put_result import PutResult
from proxy.kinesis import errors
from tests.unit.emulator.emulator_driver import START_SECONDS, Emulator, entry, shard_id

MIB = 1024 * 1024
RING = 2**128
# md5("a"), as the service hashes it: in the first of 20 shards' range, and in the lowest eighth of the ring.
HASH_OF_A = 16955237001963240173058271559858726497


def test_a_key_goes_to_the_shard_that_owns_its_md5() -> None:
    """Routing is by the MD5 of the key's UTF-8 bytes."""
    assert int(hashlib.md5(b"a").hexdigest(), 16) == HASH_OF_A  # noqa: S324 - the service's hash, not a secret's
    emulator = Emulator()
    emulator.create(shards=7)
    for key in ["a", "b", "κλειδί", "鍵", "x" * 256]:
        hash_key = int(hashlib.md5(key.encode()).hexdigest(), 16)  # noqa: S324 - as above
        assert emulator.put(key).shard_id == shard_id(min(hash_key // (RING // 7), 6))


def test_an_explicit_hash_key_overrides_the_partition_key() -> None:
    """Also at both ends of each range."""
    emulator = Emulator()
    emulator.create(shards=2)
    half = RING // 2
    shards = [emulator.put("a", ExplicitHashKey=str(key)).shard_id for key in (0, half - 1, half, RING - 1)]
    assert shards == [shard_id(0), shard_id(0), shard_id(1), shard_id(1)]


def test_an_explicit_hash_key_beyond_the_ring_is_an_invalid_argument() -> None:
    """2^128 has the right form and no shard."""
    emulator = Emulator()
    emulator.create()
    with pytest.raises(errors.InvalidArgumentException, match=r"must be in the range: \[0, 2\^128-1\]"):
        emulator.put("a", ExplicitHashKey=str(RING))
    with pytest.raises(errors.InvalidArgumentException, match=f"Specified value was {RING}"):
        emulator.put_many([entry("a"), entry("b", explicit_hash_key=str(RING))])
    assert emulator.read_shard() == []


def test_sequence_numbers_tell_shard_and_time() -> None:
    """They are in the service's layout: created two seconds before the stream, put now."""
    emulator = Emulator()
    emulator.create(shards=20)
    emulator.advance(60_000)
    for ordinal, index in [(1, 17), (1, 3), (2, 17)]:
        result = emulator.put("a", ExplicitHashKey=str(RING // 20 * index))
        assert sequence_number.parse(result.sequence_number or "") == (
            2,
            START_SECONDS - 2,
            index,
            ordinal,
            START_SECONDS + 60,
        )


def test_sequence_numbers_increase_within_a_shard() -> None:
    """Whether put alone or together, in one second or another."""
    emulator = Emulator()
    emulator.create()
    numbers = []
    for _ in range(3):
        numbers.append(emulator.put("a").sequence_number)
        numbers += [result.sequence_number for result in emulator.put_many([entry("b"), entry("a"), entry("b")])]
        emulator.advance(700)
    as_integers = [int(number or 0) for number in numbers]
    assert as_integers == sorted(set(as_integers))


def test_results_are_in_request_order() -> None:
    """Each result names the shard of its own record."""
    emulator = Emulator()
    emulator.create(shards=2)
    high = str(RING - 1)
    results = emulator.put_many([entry("a", explicit_hash_key=key) for key in ("0", high, high, "0")])
    assert [result.shard_id for result in results] == [shard_id(0), shard_id(1), shard_id(1), shard_id(0)]


def test_put_records_fails_record_by_record_at_the_shards_limit() -> None:
    """The 1001st record of a second is throttled in the service's words; its neighbours are not."""
    emulator = Emulator()
    emulator.create(shards=2)
    low = [entry("a", explicit_hash_key="0") for _ in range(500)]
    assert all(result.error_code is None for result in [*emulator.put_many(low), *emulator.put_many(low)])
    throttled, passed = emulator.put_many([low[0], entry("b", explicit_hash_key=str(RING - 1))])
    assert throttled == PutResult(
        error_code="ProvisionedThroughputExceededException",
        error_message="Rate exceeded for shard shardId-000000000000 in stream orders under account 000000000000.",
    )
    assert passed.shard_id == shard_id(1)
    assert emulator.model.counters.throttled_records == 1
    assert emulator.model.counters.accepted_records == 1001


def test_put_record_fails_whole_at_the_shards_limit() -> None:
    """Nothing is written, and a millisecond later there is room again."""
    emulator = Emulator()
    emulator.create()
    for _ in range(1000):
        emulator.put("a")
    with pytest.raises(errors.ProvisionedThroughputExceededException, match="Rate exceeded for shard shardId-0000"):
        emulator.put("a")
    assert len(emulator.read_shard()) == 1000
    emulator.advance(1)
    emulator.put("a")


def test_the_bytes_of_the_partition_key_count() -> None:
    """In UTF-8: a key of three bytes and data of 1 MiB - 3 fill the second to the byte."""
    emulator = Emulator()
    emulator.create()
    emulator.put("鍵", b"x" * (MIB - 3))
    with pytest.raises(errors.ProvisionedThroughputExceededException):
        emulator.put("a", b"")


def test_limits_can_be_set_and_switched_off() -> None:
    """Zero is no limit."""
    emulator = Emulator(shard_records_per_second=2, shard_bytes_per_second=0)
    emulator.create()
    codes = [result.error_code for result in emulator.put_many([entry("a")] * 3)]
    assert codes == [None, None, "ProvisionedThroughputExceededException"]
    unlimited = Emulator(shard_records_per_second=0, shard_bytes_per_second=0)
    unlimited.create()
    for _ in range(10):
        assert not any(result.error_code for result in unlimited.put_many([entry("a", b"x" * 10_000)] * 500))


def test_a_record_above_the_streams_limit_is_refused_with_its_request() -> None:
    """By default 1 MiB: for data alone in the words of validation, for data and key as an invalid argument."""
    emulator = Emulator()
    emulator.create()
    emulator.put("a", b"x" * (MIB - 1))
    emulator.advance(1000)
    with pytest.raises(errors.InvalidArgumentException, match="1048576 bytes"):
        emulator.put("a", b"x" * MIB)
    with pytest.raises(errors.ValidationException, match=r"at 'data' .* less than or equal to 1048576"):
        emulator.put("a", b"x" * (MIB + 1))
    with pytest.raises(errors.ValidationException, match=r"lim=1048577 cap=1048577\]' at 'records.2.member.data'"):
        emulator.put_many([entry("a"), entry("a", b"x" * (MIB + 1))])
    assert len(emulator.read_shard()) == 1


def test_a_stream_of_large_records_takes_ten_mebibytes() -> None:
    """MaxRecordSizeInKiB is honoured to the byte."""
    emulator = Emulator()
    emulator.create(MaxRecordSizeInKiB=10240)
    with pytest.raises(errors.InvalidArgumentException):
        emulator.put("a", b"x" * (10 * MIB))
    emulator.put("a", b"x" * (10 * MIB - 1))


def test_a_request_above_its_limit_is_refused() -> None:
    """Data and keys together, to the byte."""
    emulator = Emulator(request_bytes_max=5 * MIB, shard_bytes_per_second=0)
    emulator.create()
    full = [entry("a", b"x" * (MIB - 1))] * 5
    with pytest.raises(errors.InvalidArgumentException, match="Records size exceeds 5 MB limit"):
        emulator.put_many([*full, entry("a", b"")])
    assert emulator.read_shard() == []
    assert len(emulator.put_many(full)) == 5


def test_a_key_is_asked_for_where_keys_matter() -> None:
    """As when the model still required it; nothing is written."""
    emulator = Emulator()
    emulator.create()
    with pytest.raises(errors.ValidationException, match=r"Value null at 'records\.2\.member\.partitionKey'"):
        emulator.put_many([entry("a"), entry(None)])
    assert emulator.read_shard() == []


def test_a_stream_of_automatic_distribution_ignores_keys() -> None:
    """Records of one key, or of none, take turns over all open shards."""
    emulator = Emulator()
    emulator.create(shards=4, RecordDistributionStrategy="AUTO")
    results = emulator.put_many([entry("a", explicit_hash_key="0")] * 4 + [entry(None)] * 4)
    assert sorted(result.shard_id or "" for result in results) == sorted([shard_id(index) for index in range(4)] * 2)


def test_automatic_distribution_uses_the_room_of_all_shards() -> None:
    """A record is throttled only when no shard has room."""
    emulator = Emulator(shard_records_per_second=10)
    emulator.create(shards=3, RecordDistributionStrategy="AUTO")
    codes = [result.error_code for result in emulator.put_many([entry("a")] * 31)]
    assert codes == [None] * 30 + ["ProvisionedThroughputExceededException"]
    emulator.call("SplitShard", StreamName="orders", ShardToSplit=shard_id(0), NewStartingHashKey="1000")
    codes = [result.error_code for result in emulator.put_many([entry("a")] * 21)]
    assert codes == [None] * 20 + ["ProvisionedThroughputExceededException"]


def test_a_dry_run_writes_nothing() -> None:
    """It fails with its own exception when the request would have succeeded, and with the other error when not."""
    emulator = Emulator()
    emulator.create()
    text = "The request was rejected because the DryRun parameter was specified."
    with pytest.raises(errors.DryRunOperationException, match=text):
        emulator.put("a", DryRun=True)
    with pytest.raises(errors.DryRunOperationException, match=text):
        emulator.put_many([entry("a")], DryRun=True)
    with pytest.raises(errors.ResourceNotFoundException):
        emulator.put("a", stream="missing", DryRun=True)
    assert emulator.read_shard() == []


def test_a_put_into_no_stream_names_it() -> None:
    """In the service's words."""
    with pytest.raises(errors.ResourceNotFoundException) as caught:
        Emulator(account_id="123456789012").put("a", stream="missing")
    assert caught.value.message == "Stream missing under account 123456789012 not found."


def test_a_sequence_number_for_ordering_must_be_one_that_was_issued_by_now() -> None:
    """The number of the last record passes; one of the next second, or nonsense, does not."""
    emulator = Emulator()
    emulator.create()
    last = emulator.put("a").sequence_number
    assert int(emulator.put("a", SequenceNumberForOrdering=last).sequence_number or 0) > int(last or 0)
    emulator.put("a", SequenceNumberForOrdering="0")
    base = sequence_number.base_of(START_SECONDS, 0)
    for invalid in (sequence_number.compose(base, 1, START_SECONDS + 1), str(2**129)):
        with pytest.raises(errors.InvalidArgumentException) as caught:
            emulator.put("a", SequenceNumberForOrdering=invalid)
        assert caught.value.message == (
            f"ExclusiveMinimumSequenceNumber {invalid} used in PutRecord on stream orders "
            "under account 000000000000 is invalid."
        )


def test_a_stream_is_made_on_first_use_where_that_is_asked_for() -> None:
    """With the shards that the settings say; deleting does not make one."""
    emulator = Emulator(create_on_first_use_shards=3)
    assert emulator.put("a", stream="new").shard_id is not None
    assert len(emulator.shards("new")) == 3
    with pytest.raises(errors.ResourceNotFoundException):
        emulator.call("DeleteStream", StreamName="other")


def test_retention_none_keeps_no_record_and_numbers_them_all_the_same() -> None:
    """For load tests: memory stays as it is."""
    emulator = Emulator(retention_records_max=0)
    emulator.create()
    numbers = [int(emulator.put("a").sequence_number or 0) for _ in range(3)]
    assert numbers == sorted(set(numbers))
    assert emulator.read_shard() == []
    assert emulator.model.retention.kept_records == 0


def test_what_is_kept_is_bounded_over_all_streams() -> None:
    """The oldest records go first, whichever stream they are in."""
    emulator = Emulator(retention_records_max=4, shard_bytes_per_second=0)
    emulator.create("first")
    emulator.create("second")
    for number in range(3):
        emulator.put("a", b"%d" % number, stream="first")
        emulator.put("a", b"%d" % number, stream="second")
    assert emulator.model.retention.kept_records == 4
    assert emulator.read_shard(stream="first") == [b"1", b"2"]
    assert emulator.read_shard(stream="second") == [b"1", b"2"]


def test_data_is_kept_as_it_came() -> None:
    """Base64 in, the same base64 out."""
    emulator = Emulator()
    emulator.create()
    data = bytes(range(256))
    emulator.put("a", data)
    assert [record.data for record in emulator.read(emulator.iterator())] == [base64.b64encode(data).decode()]
