"""How a stream learns its shards, and what serves meanwhile."""

from __future__ import annotations

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.limits import StreamLimits
from proxy.core.record import State
from proxy.core.shard_map import Shard, StreamSummary
from tests.unit.core.builders import (
    MS,
    SECOND,
    THROTTLED,
    Bench,
    PutResult,
    failed,
    keys_of,
    shard_id_of,
    shards_of,
    taken,
    unlimited,
)

AUTO = StreamSummary("arn", 4, auto_distribution=True)


def lane_ids(bench: Bench) -> list[str | None]:
    """Return the shards that the stream has lanes for."""
    return [lane.shard_id for lane in bench.stream.lanes]


def test_the_map_is_fetched_on_the_first_record_and_not_before() -> None:
    """No control-plane call at start."""
    bench = Bench()
    bench.poll()
    assert bench.map_fetches == 0
    bench.put("a")
    bench.poll()
    assert bench.map_fetches == 1


def test_the_map_is_fetched_once_for_many_records() -> None:
    """However long the fetch takes."""
    bench = Bench()
    for second in range(5):
        bench.now_ns = second * SECOND
        bench.put(f"k{second}")
        bench.poll()
    assert bench.map_fetches == 1
    bench.learn(2)
    bench.put("later")
    bench.poll(10 * SECOND)
    assert bench.map_fetches == 1


def test_records_go_before_any_map_is_known() -> None:
    """Through one careful lane, as if the stream had one shard."""
    bench = Bench(StreamLimits())
    bench.put(*(f"k{number}" for number in range(50)))
    bench.poll()
    batch = bench.poll_one(20 * MS)
    assert len(batch.records) == 20
    bench.answer(batch, *(taken(number, shard=number % 4) for number in range(20)))
    assert {record.state for record in batch.records} == {State.ACKNOWLEDGED}
    assert lane_ids(bench) == [None]


def test_a_map_that_cannot_be_fetched_is_asked_for_again_while_records_go_on() -> None:
    """A denied call costs speed, not records."""
    bench = Bench()
    bench.put("a")
    bench.answer(bench.poll_one())
    bench.stream.map_failed(0)
    bench.put("b")
    assert keys_of(bench.poll_one()) == ["b"]
    assert bench.map_fetches == 1
    bench.poll(1499 * MS)
    assert bench.map_fetches == 1
    bench.poll(1500 * MS)
    assert bench.map_fetches == 2


def test_a_quiet_stream_asks_for_nothing() -> None:
    """Without an open record nobody needs to know."""
    bench = Bench()
    bench.put("a")
    bench.answer(bench.poll_one())
    bench.stream.map_failed(0)
    bench.poll(100 * SECOND)
    assert bench.map_fetches == 1
    assert bench.stream.next_wake_ns() is None
    bench.put("b")
    bench.poll()
    assert bench.map_fetches == 2


def test_a_stream_that_is_being_made_has_its_map_fetched_again() -> None:
    """No open shard is no map."""
    bench = Bench()
    bench.put("a")
    bench.poll()
    bench.learn([])
    assert bench.stream.open_shard_count == 0
    assert lane_ids(bench) == [None]
    bench.poll(1500 * MS)
    assert bench.map_fetches == 2


def test_waiting_records_move_to_the_lanes_of_their_shards() -> None:
    """A record that waited in the careful lane goes as soon as its own shard may be sent it."""
    bench = Bench(StreamLimits(shard_records_per_second=10))
    low, high = shards_of(2)
    bench.put("low", "low2", hash_key=0)
    bench.put("high", hash_key=HASH_KEY_MAX)
    bench.poll()
    bench.learn([low, high])
    assert keys_of(bench.poll_one(100 * MS)) == ["low", "high"]


def test_old_map_serves_while_a_new_one_is_fetched() -> None:
    """A map that is cleared while it is refreshed would send everything to one lane."""
    bench = Bench(random=0)
    bench.learn(2)
    bench.now_ns = 5 * SECOND
    bench.put("a", hash_key=0)
    bench.answer(bench.poll_one(), taken(1, shard=7))
    bench.put("b", hash_key=0)
    batch = bench.poll_one()
    assert bench.map_fetches == 1
    assert lane_ids(bench) == [shard_id_of(0), shard_id_of(1)]
    bench.stream.map_failed(bench.now_ns)
    bench.answer(batch, taken(2, shard=0))
    assert lane_ids(bench) == [shard_id_of(0), shard_id_of(1)]


def test_a_map_in_doubt_is_fetched_after_a_spread() -> None:
    """Many proxies find out about a resharding in the same moment."""
    bench = Bench(unlimited(fetch_backoff_base_ns=SECOND), random=0.5)
    bench.learn(2)
    bench.now_ns = 5 * SECOND
    bench.put("a", hash_key=0)
    bench.answer(bench.poll_one(), taken(1, shard=7))
    bench.put("b", hash_key=0)
    bench.poll(5500 * MS - 1)
    assert bench.map_fetches == 0
    bench.poll(5500 * MS)
    assert bench.map_fetches == 1


def test_mispredicted_record_is_accepted_and_doubts_the_map() -> None:
    """It is in the stream: to send it again would be a duplicate."""
    bench = Bench(random=0)
    bench.learn(2)
    bench.now_ns = 5 * SECOND
    (record,) = bench.put("a", hash_key=0)
    bench.answer(bench.poll_one(), taken(1, shard=7))
    assert record.state is State.ACKNOWLEDGED
    assert record.shard_id == shard_id_of(7)
    assert bench.stream.counters.mispredicted_records == 1
    assert bench.stream.counters.retried_records == 0
    bench.put("b")
    bench.poll()
    assert bench.map_fetches == 1


def test_a_rightly_predicted_record_doubts_nothing() -> None:
    """The map is as good as new."""
    bench = Bench()
    bench.learn(2)
    bench.now_ns = 5 * SECOND
    bench.put("a", hash_key=0)
    bench.answer(bench.poll_one(), taken(1, shard=0))
    bench.put("b")
    bench.poll()
    assert (bench.map_fetches, bench.stream.counters.mispredicted_records) == (0, 0)


def test_news_older_than_the_map_is_ignored() -> None:
    """The request was sent by the map before."""
    bench = Bench()
    bench.learn(1)
    bench.now_ns = 5 * SECOND
    bench.put("a")
    batch = bench.poll_one()
    bench.now_ns = 6 * SECOND
    bench.learn([Shard(0, 99, "left"), Shard(100, HASH_KEY_MAX, "right")])
    bench.answer(batch, taken(1, shard=9))
    bench.put("b")
    bench.poll(20 * SECOND)
    assert bench.map_fetches == 0


def test_a_record_sent_before_the_map_was_known_is_no_misprediction() -> None:
    """Nothing was predicted."""
    bench = Bench()
    bench.put("a")
    batch = bench.poll_one()
    bench.now_ns = MS
    bench.learn(2)
    bench.answer(batch, taken(1, shard=1))
    assert bench.stream.counters.mispredicted_records == 0


def test_a_result_from_a_gap_of_the_map_doubts_it() -> None:
    """The map lacks the shard that took the record."""
    bench = Bench(random=0)
    bench.learn([Shard(0, 99, shard_id_of(0)), Shard(200, HASH_KEY_MAX, shard_id_of(2))])
    bench.now_ns = 5 * SECOND
    bench.put("a", hash_key=150)
    bench.answer(bench.poll_one(), taken(1, shard=1))
    bench.put("b")
    bench.poll()
    assert bench.map_fetches == 1


def test_a_stream_that_was_not_found_doubts_its_map() -> None:
    """It may be made anew with other shards."""
    bench = Bench(random=0)
    bench.learn(2)
    bench.now_ns = 5 * SECOND
    bench.put("a")
    bench.fail(bench.poll_one(), "ResourceNotFoundException", status=400)
    bench.put("b")
    bench.poll()
    assert bench.map_fetches == 1


def test_the_lanes_of_a_new_map_serve_the_keys_of_a_closed_shard() -> None:
    """Queued, retried and new records alike, without a record lost or doubled."""
    bench = Bench()
    bench.learn(1)
    flying, queued = bench.put("a", "a", hash_key=HASH_KEY_MAX)
    batch = bench.poll_one()
    bench.learn([Shard(0, 99, "left"), Shard(100, HASH_KEY_MAX, "right")])
    bench.answer(batch, failed(THROTTLED))
    retry = bench.poll_one(SECOND)
    assert retry.records == [flying]
    bench.answer(retry)
    assert flying.shard_id == "right"
    last = bench.poll_one()
    assert last.records == [queued]
    bench.answer(last)
    assert bench.identity_holds()
    assert bench.stream.counters.map_refreshes == 2


def test_a_shard_that_stays_open_gets_no_new_tokens_by_a_new_map() -> None:
    """What was sent stays sent."""
    bench = Bench(StreamLimits())
    bench.learn(1)
    bench.put(*(f"k{number}" for number in range(300)))
    bench.poll()
    bench.answer(bench.poll_one(50 * MS))
    bench.learn(1)
    assert bench.poll() == []
    assert len(bench.poll_one(55 * MS).records) == 5


def test_the_summary_is_fetched_a_while_after_the_first_record() -> None:
    """Few calls a second are allowed for a whole account, and fleets start together."""
    bench = Bench()
    bench.put("a")
    bench.poll()
    assert bench.summary_fetches == 0
    bench.poll(500 * MS - 1)
    assert bench.summary_fetches == 0
    bench.poll(500 * MS)
    bench.poll(600 * MS)
    assert bench.summary_fetches == 1


def test_a_summary_that_cannot_be_fetched_is_asked_for_again() -> None:
    """After a backoff, for as long as it takes; the map has nothing to do with it."""
    bench = Bench()
    bench.put("a")
    bench.poll(500 * MS)
    bench.learn(1)
    bench.stream.summary_failed(500 * MS)
    bench.poll(2 * SECOND - 1)
    assert bench.summary_fetches == 1
    bench.poll(2 * SECOND)
    assert (bench.summary_fetches, bench.map_fetches) == (2, 1)


def test_a_known_summary_is_not_fetched_again() -> None:
    """It says what the stream is."""
    bench = Bench()
    bench.put("a")
    bench.poll(500 * MS)
    bench.stream.learn_summary(AUTO, bench.now_ns)
    bench.put("b")
    bench.poll(1000 * MS)
    assert bench.summary_fetches == 1
    assert bench.stream.summary is AUTO


def test_a_stream_that_ignores_keys_uses_all_its_shards_through_one_lane() -> None:
    """Whichever shard takes a record: there was nothing to predict."""
    bench = Bench(StreamLimits())
    bench.learn(4)
    bench.stream.learn_summary(AUTO, 0)
    bench.put(*(f"k{number}" for number in range(100)), hash_key=0)
    bench.poll()
    batch = bench.poll_one(10 * MS)
    assert 31 <= len(batch.records) <= 40
    bench.answer(batch, *(taken(number, shard=number % 4) for number in range(len(batch.records))))
    assert bench.stream.counters.mispredicted_records == 0
    bench.poll(20 * MS)
    assert bench.map_fetches == 0


def test_a_stream_that_ignores_keys_and_grows_has_its_map_fetched() -> None:
    """A record in a shard that the map does not know says so."""
    bench = Bench(random=0)
    bench.learn(4)
    bench.stream.learn_summary(AUTO, 0)
    bench.now_ns = 5 * SECOND
    bench.put("a")
    bench.answer(bench.poll_one(), taken(1, shard=4))
    bench.put("b")
    bench.poll()
    assert bench.map_fetches == 1
    bench.learn(8)
    assert bench.stream.open_shard_count == 8
    assert lane_ids(bench) == [None]


def test_a_summary_that_says_nothing_new_about_keys_moves_nothing() -> None:
    """The lanes stay those of the map."""
    bench = Bench()
    bench.learn(2)
    lanes = bench.stream.lanes
    bench.stream.learn_summary(StreamSummary("arn", 2), 0)
    assert bench.stream.lanes == lanes


def throttled(shard: int) -> PutResult:
    """Return what the service answers for a record of a busy shard."""
    return failed(THROTTLED, f"Rate exceeded for shard {shard_id_of(shard)} in stream s under account 123456789012.")


def test_without_the_right_to_list_shards_answers_teach_them() -> None:
    """Accepted records by their shard id, throttled ones by the shard that the message names."""
    bench = Bench(unlimited(fetch_backoff_base_ns=100 * SECOND, fetch_backoff_max_ns=100 * SECOND))
    bench.put("low", hash_key=5)
    bench.put("high", hash_key=HASH_KEY_MAX - 5)
    batch = bench.poll_one()
    bench.stream.map_failed(0)
    bench.now_ns = SECOND
    bench.answer(batch, taken(1, shard=0), throttled(1))
    assert lane_ids(bench) == [shard_id_of(0), shard_id_of(1)]
    assert bench.stream.open_shard_count == 2


def test_what_answers_teach_is_taken_over_once_a_second() -> None:
    """Each time every ready key moves to its lane anew."""
    bench = Bench(unlimited(fetch_backoff_base_ns=100 * SECOND, fetch_backoff_max_ns=100 * SECOND))
    bench.put("a", hash_key=5)
    batch = bench.poll_one()
    bench.stream.map_failed(0)
    bench.now_ns = SECOND - 1
    bench.answer(batch, taken(1, shard=0))
    assert lane_ids(bench) == [None]
    bench.put("b", hash_key=9)
    batch = bench.poll_one()
    bench.now_ns = SECOND
    bench.answer(batch, taken(2, shard=0))
    assert lane_ids(bench) == [shard_id_of(0)]


def test_a_map_that_can_no_more_be_fetched_is_corrected_by_answers() -> None:
    """The old one serves, less the shards that are shown to be closed."""
    bench = Bench(random=0)
    bench.learn(2)
    bench.now_ns = 5 * SECOND
    bench.put("a", hash_key=0)
    bench.answer(bench.poll_one(), taken(1, shard=2))
    bench.put("b", hash_key=7)
    batch = bench.poll_one()
    bench.stream.map_failed(bench.now_ns)
    bench.now_ns = 6 * SECOND
    bench.answer(batch, taken(2, shard=2))
    assert lane_ids(bench) == [shard_id_of(2), shard_id_of(1)]


def test_a_fetched_map_counts_more_than_what_answers_taught() -> None:
    """It is whole."""
    bench = Bench()
    bench.put("a", hash_key=5)
    batch = bench.poll_one()
    bench.stream.map_failed(0)
    bench.now_ns = SECOND
    bench.answer(batch, taken(1, shard=0))
    bench.learn(4)
    bench.now_ns = 10 * SECOND
    bench.put("a", hash_key=5)
    bench.answer(bench.poll_one(), taken(2, shard=0))
    assert lane_ids(bench) == [shard_id_of(number) for number in range(4)]


def test_a_stream_that_ignores_keys_teaches_no_shards() -> None:
    """Where its records land says nothing about their keys."""
    bench = Bench(unlimited(fetch_backoff_base_ns=100 * SECOND, fetch_backoff_max_ns=100 * SECOND))
    bench.stream.learn_summary(AUTO, 0)
    bench.put("a", hash_key=5)
    batch = bench.poll_one()
    bench.stream.map_failed(0)
    bench.now_ns = SECOND
    bench.answer(batch, taken(1, shard=3))
    assert lane_ids(bench) == [None]


def test_a_new_map_puts_the_summary_in_doubt() -> None:
    """The stream has grown, or is another one of that name."""
    bench = Bench(random=0)
    bench.put("a")
    bench.poll_one()
    bench.stream.learn_summary(StreamSummary("arn", 2), 0)
    bench.learn(2)
    fetches = bench.summary_fetches
    bench.now_ns = 10 * SECOND
    bench.learn(4)
    bench.poll()
    assert bench.summary_fetches == fetches + 1


def test_a_request_refused_for_a_record_puts_the_summary_in_doubt() -> None:
    """The stream may take less than it did; but its summary is not asked for twice in five seconds."""
    bench = Bench(random=0)
    bench.stream.learn_summary(StreamSummary("arn", 1), 0)
    bench.now_ns = 5 * SECOND
    bench.put("a", "b")
    bench.fail(bench.poll_one(), "InvalidArgumentException")
    halves = bench.poll()
    assert bench.summary_fetches == 0
    bench.now_ns += 1
    for half in halves:
        bench.fail(half, "InvalidArgumentException")
    bench.poll()
    assert bench.summary_fetches == 1


def test_a_refused_sequence_number_says_nothing_of_the_stream() -> None:
    """It is its caller's own."""
    bench = Bench(random=0)
    bench.stream.learn_summary(StreamSummary("arn", 1), 0)
    bench.now_ns = 10 * SECOND
    bench.put("a", sequence_number_for_ordering="1")
    bench.fail(bench.poll_one(), "InvalidArgumentException")
    bench.poll()
    assert bench.summary_fetches == 0


def test_a_stream_that_was_made_again_with_keys_keeps_their_order_within_two_minutes() -> None:
    """As many shards of the same names as the one before, which ignored keys: no answer tells that it is another."""
    bench = Bench(unlimited(), random=0.0)
    bench.put("a")
    bench.answer(bench.poll_one())
    bench.learn(4)
    bench.stream.learn_summary(AUTO, 0)
    for second in range(1, 120):
        bench.now_ns = second * SECOND
        fetches = bench.summary_fetches
        bench.put("a", "a")
        (batch,) = bench.poll()
        bench.answer(batch)
        if bench.summary_fetches > fetches:
            bench.stream.learn_summary(StreamSummary("arn", 4), bench.now_ns)
            break
    assert second == 60
    bench.put("a", "a")
    assert len(bench.poll_one().records) == 1
    bench.poll(62 * SECOND)
    assert bench.map_fetches == 2  # its shards may be others of the same names


def test_a_stream_that_ignores_keys_has_the_capacity_that_the_summary_tells_while_there_is_no_map() -> None:
    """ListShards may be denied for ever."""
    bench = Bench(StreamLimits())
    bench.stream.learn_summary(AUTO, 0)
    (lane,) = bench.stream.lanes
    assert lane.limit.records.rate_per_second == 4000
    bench.stream.learn_summary(StreamSummary("arn", 6, auto_distribution=True), SECOND)
    assert lane.limit.records.rate_per_second == 6000
