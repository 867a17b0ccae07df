"""When a batch goes and what is in it: Nagle's rule, the limits of a request and of the shards."""

from __future__ import annotations

import pytest

from proxy.core.limits import StreamLimits
from tests.unit.core.builders import MS, SECOND, THROTTLED, Bench, failed, keys_of, record_of, shards_of, unlimited


def keys(count: int, prefix: str = "k") -> list[str]:
    """Return so many partition keys."""
    return [f"{prefix}{number}" for number in range(count)]


def test_a_quiet_stream_pays_no_waiting() -> None:
    """What is ready goes at once when nothing is in flight."""
    bench = Bench()
    bench.put("a")
    assert keys_of(bench.poll_one()) == ["a"]


def test_records_that_arrive_together_travel_together() -> None:
    """One request for all that is there."""
    bench = Bench()
    bench.put("a", "b")
    bench.put("c")
    assert keys_of(bench.poll_one()) == ["a", "b", "c"]


def test_a_busy_stream_gathers_company_for_the_linger() -> None:
    """Five milliseconds from the request before."""
    bench = Bench(unlimited(linger_ns=5 * MS))
    bench.now_ns = 10 * MS
    bench.put("a")
    bench.poll_one()
    bench.now_ns = 11 * MS
    bench.put("b")
    assert bench.poll() == []
    assert bench.stream.next_wake_ns() == 15 * MS
    bench.now_ns = 13 * MS
    bench.put("c")
    assert bench.poll() == []
    assert bench.poll(15 * MS - 1) == []
    assert keys_of(bench.poll_one(15 * MS)) == ["b", "c"]


def test_a_record_that_comes_after_a_pause_goes_at_once() -> None:
    """Although a request is in flight: at that pace there is no company to come."""
    bench = Bench(unlimited(linger_ns=5 * MS))
    bench.put("a")
    bench.poll_one()
    bench.now_ns = 5 * MS
    bench.put("b")
    assert keys_of(bench.poll_one()) == ["b"]


def test_what_gathered_goes_when_the_last_request_returns() -> None:
    """Nothing is in flight any more, so nothing is to be waited for."""
    bench = Bench()
    bench.put("a")
    batch = bench.poll_one()
    bench.put("b")
    assert bench.poll(MS) == []
    bench.answer(batch)
    assert keys_of(bench.poll_one(2 * MS)) == ["b"]


def test_a_full_batch_does_not_linger() -> None:
    """Nobody else fits in."""
    bench = Bench(unlimited(batch_records_max=3))
    bench.put("a")
    bench.poll_one()
    bench.put("b", "c")
    assert bench.poll() == []
    bench.put("d")
    assert keys_of(bench.poll_one()) == ["b", "c", "d"]


def test_501_ready_records_make_two_batches() -> None:
    """The service takes 500."""
    bench = Bench()
    bench.put(*keys(501))
    first = bench.poll_one()
    (second,) = bench.poll(5 * MS)
    assert (len(first.records), len(second.records)) == (500, 1)


def test_a_thousand_ready_records_make_two_full_batches_at_once() -> None:
    """A full batch waits for nothing but its turn."""
    bench = Bench()
    bench.put(*keys(1000))
    assert [len(batch.records) for batch in bench.poll()] == [500, 500]


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    """However much is ready; one that returns lets one go."""
    bench = Bench(unlimited(batch_records_max=1, in_flight_max=3))
    bench.put(*keys(5))
    batches = bench.poll()
    assert len(batches) == 3
    assert bench.poll(SECOND) == []
    assert bench.stream.in_flight_requests == 3
    bench.answer(batches[1])
    assert len(bench.poll()) == 1


def test_partition_keys_count_towards_the_bytes_of_a_batch() -> None:
    """The size of a record is its data and its key, as the service counts."""
    bench = Bench(unlimited(batch_bytes_max=100))
    bench.put("a", "b", size_bytes=50)
    bench.put("c", size_bytes=1)
    assert keys_of(bench.poll_one()) == ["a", "b"]


def test_a_record_larger_than_a_batch_still_goes() -> None:
    """Alone: the limit of a request is no limit of a record."""
    bench = Bench(unlimited(batch_bytes_max=100))
    bench.put("huge", size_bytes=5000)
    bench.put("a")
    assert keys_of(bench.poll_one()) == ["huge"]
    assert keys_of(bench.poll_one(5 * MS)) == ["a"]


def test_a_batch_knows_its_size_and_when_it_went() -> None:
    """For the metrics, and to tell old news from new."""
    bench = Bench()
    bench.put("a", "b", size_bytes=70)
    batch = bench.poll_one(9 * MS)
    assert (batch.size_bytes, batch.sent_at_ns) == (140, 9 * MS)
    assert (batch.stream_name, batch.stream_arn, batch.ordered) == ("orders", None, False)
    assert bench.stream.counters.batch_records.sum == 2
    assert bench.stream.counters.batch_bytes.sum == 140


def test_at_most_a_slice_of_one_shard_goes_into_one_request() -> None:
    """So that no shard is burst."""
    bench = Bench(unlimited(shard_slice_bytes_max=20))
    low, high = shards_of(2)
    bench.learn([low, high])
    bench.put(*keys(4, "low"), hash_key=0)
    bench.put(*keys(1, "high"), hash_key=high.starting_hash_key)
    assert keys_of(bench.poll_one()) == ["low0", "low1", "high0"]


def test_a_shard_is_sent_no_more_than_its_records_a_second() -> None:
    """A thousand a second: from an empty bucket a hundred in the first tenth of one, and never a burst beyond that."""
    bench = Bench(StreamLimits())
    bench.put(*keys(400))
    assert bench.poll() == []
    sent_by: dict[int, int] = {}
    sent = 0
    for now_ns in range(0, 300 * MS + 1, 5 * MS):
        for batch in bench.poll(now_ns):
            sent += len(batch.records)
            bench.answer(batch)
        sent_by[now_ns // MS] = sent
    assert (sent_by[50], sent_by[100], sent_by[300]) == (50, 100, 300)


def test_a_shard_is_sent_no_more_than_its_bytes_a_second() -> None:
    """Partition keys counted: ten records of 10 KiB are a tenth of a second's worth."""
    bench = Bench(StreamLimits(shard_bytes_per_second=1000 * 1024))
    bench.put(*keys(30), size_bytes=10 * 1024)
    sent = 0
    for now_ns in range(0, 100 * MS + 1, 5 * MS):
        for batch in bench.poll(now_ns):
            sent += len(batch.records)
            bench.answer(batch)
    assert sent == 10


def test_a_record_larger_than_the_burst_still_passes() -> None:
    """When its shard's bucket is full; what follows waits until the average is right again."""
    bench = Bench(unlimited(shard_records_per_second=1000, shard_bytes_per_second=1024 * 1024))
    bench.put("huge", size_bytes=1024 * 1024)
    bench.put("a")
    assert bench.poll() == []
    assert bench.stream.next_wake_ns() == 100 * MS
    assert bench.poll(100 * MS - 1) == []
    assert keys_of(bench.poll_one(100 * MS)) == ["huge"]
    assert bench.poll(1000 * MS) == []
    assert keys_of(bench.poll_one(1005 * MS)) == ["a"]


def test_buckets_do_not_start_full() -> None:
    """A restart gives no shard a second portion."""
    bench = Bench(StreamLimits())
    bench.put(*keys(100))
    assert bench.poll() == []
    assert [len(batch.records) for batch in bench.poll(5 * MS)] == [5]


def test_a_throttled_shard_never_holds_up_another() -> None:
    """Neither its backoff nor its backlog is the others'."""
    bench = Bench(unlimited(backoff_base_ns=SECOND, backoff_max_ns=SECOND))
    low, high = shards_of(2)
    bench.learn([low, high])
    bench.put("low", "low", hash_key=0)
    bench.answer(bench.poll_one(), failed(THROTTLED))
    for now_ns in (10 * MS, 20 * MS, 30 * MS):
        bench.now_ns = now_ns
        bench.put("high", hash_key=high.starting_hash_key)
        batch = bench.poll_one()
        assert keys_of(batch) == ["high"]
        bench.answer(batch)
    assert keys_of(bench.poll_one(500 * MS)) == ["low"]


def test_the_backlog_of_a_shard_does_not_take_the_company_from_the_others() -> None:
    """Bytes that may not go cannot fill a batch."""
    bench = Bench(unlimited(batch_bytes_max=1000, shard_bytes_per_second=1000))
    low, high = shards_of(2)
    bench.learn([low, high])
    bench.put(*keys(50, "low"), size_bytes=100, hash_key=0)
    bench.put("high", size_bytes=1, hash_key=high.starting_hash_key)
    assert keys_of(bench.poll_one(50 * MS)) == ["high"]
    bench.put("late", size_bytes=1, hash_key=high.starting_hash_key)
    assert bench.poll() == []


def test_lanes_that_wait_for_tokens_share_a_request() -> None:
    """Four shards, one request every five milliseconds, five records of each."""
    bench = Bench(StreamLimits(linger_ns=5 * MS))
    shards = shards_of(4)
    bench.learn(shards)
    for shard in shards:
        bench.put(*keys(50, shard.shard_id), hash_key=shard.starting_hash_key)
    assert bench.poll() == []
    for now_ns in (5 * MS, 10 * MS, 15 * MS):
        assert bench.stream.next_wake_ns() == now_ns
        batch = bench.poll_one(now_ns)
        assert len(batch.records) == 20
        bench.answer(batch)


@pytest.mark.parametrize("in_flight", [False, True])
def test_what_waited_for_tokens_does_not_linger_as_well(*, in_flight: bool) -> None:
    """Its waiting was company enough."""
    bench = Bench(StreamLimits(shard_records_per_second=100))
    bench.put("a", "b")
    if in_flight:
        bench.poll_one(10 * MS)
        assert keys_of(bench.poll_one(20 * MS)) == ["b"]
    else:
        assert keys_of(bench.poll_one(20 * MS)) == ["a", "b"]


def test_an_ordered_record_does_not_wait_for_company_that_it_cannot_have() -> None:
    """It lingers like any other while something is in flight, and goes at once when nothing is."""
    bench = Bench()
    assert bench.append(record_of("a", sequence_number_for_ordering="7"), record_of("b")) == 0
    assert keys_of(bench.poll_one()) == ["a"]
    assert keys_of(bench.poll_one(5 * MS)) == ["b"]
