from __future__ import annotations

from proxy.admin.shards import SHARDS_SHOWN_MAX, SPAN_NS, STREAMS_MAX, UNWATCHED_NS, ShardWatch, survey
from proxy.core.lane import Lane
from proxy.core.shard_limit import ShardLimit

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000


def lane(shard_id: str | None, *, sent: int = 0, ratio: float = 1.0, backoff_until_ns: int = 0) -> Lane:
    """Return the lane of a shard with the service's limits, which has sent so many records of a hundred bytes."""
    limit = ShardLimit(1000, 1_048_576, 100 * MILLISECOND_NS, 0)
    limit.scale(ratio, 0)
    lane = Lane(shard_id, limit)
    lane.sent_records, lane.sent_bytes = sent, 100 * sent
    lane.backoff_until_ns = backoff_until_ns
    return lane


def used(lane: Lane, ratio: float, now_ns: int) -> Lane:
    """Say how much of its limit a lane has used."""
    lane._utilization = (now_ns, ratio)
    return lane


def test_rates_are_measured_from_a_mark_some_seconds_back() -> None:
    """The first look has none yet; later ones are over five to ten seconds."""
    watch, one = ShardWatch(), lane("shardId-000000000000", sent=100)
    (first,) = watch.describe("orders", [one], 0)["shards"]
    assert (first["records_per_second"], first["throttled_per_second"]) == (None, None)
    one.sent_records, one.sent_bytes, one.throttled_records = 700, 70_000, 30
    (later,) = watch.describe("orders", [one], 6 * SECOND_NS)["shards"]
    assert (later["records_per_second"], later["bytes_per_second"], later["throttled_per_second"]) == (
        100.0,
        10_000,
        5.0,
    )
    watch.describe("orders", [one], 6 * SECOND_NS + SPAN_NS)
    (calm,) = watch.describe("orders", [one], 6 * SECOND_NS + 2 * SPAN_NS)["shards"]
    assert calm["records_per_second"] == 0.0


def test_a_shard_that_opens_while_it_is_watched_grew_from_zero() -> None:
    """A resharding shows its new shards at work at once."""
    watch = ShardWatch()
    watch.describe("orders", [lane("parent", sent=9000)], 0)
    (child,) = watch.describe("orders", [lane("child", sent=200)], 2 * SECOND_NS)["shards"]
    assert child["records_per_second"] == 100.0


def test_a_limit_is_shown_whole_and_what_the_proxy_allows_itself_as_a_share() -> None:
    """An adapted rate does not make the shard's limit look smaller."""
    (shard,) = ShardWatch().describe("orders", [lane("shardId-000000000000", ratio=0.25)], 0)["shards"]
    assert (shard["limit_records_per_second"], shard["limit_bytes_per_second"]) == (1000, 1_048_576)
    assert shard["rate_ratio"] == 0.25


def test_a_shard_is_named_by_the_worst_that_is_true_of_it() -> None:
    """Backing off, throttled, at its limit, flowing, idle."""
    now_ns = 10 * SECOND_NS
    lanes = [
        used(lane("backing off", backoff_until_ns=now_ns + 40 * MILLISECOND_NS), 1.0, now_ns),
        used(lane("at limit", ratio=0.5), 0.46, now_ns),
        used(lane("flowing"), 0.46, now_ns),
        lane("idle"),
    ]
    shards = ShardWatch().describe("orders", lanes, now_ns)
    assert [shard["state"] for shard in shards["shards"]] == [shard["shard_id"] for shard in shards["shards"]]
    assert shards["shards"][0]["backoff_ms"] == 40
    assert shards["shards_by_state"] == {"backing off": 1, "throttled": 0, "at limit": 1, "flowing": 1, "idle": 1}


def test_of_a_thousand_shards_the_most_pressed_are_shown_and_all_are_counted() -> None:
    """A page of fixed size tells where it hurts."""
    now_ns = 10 * SECOND_NS
    lanes = [lane(f"shardId-{place:012d}") for place in range(1000)]
    used(lanes[500], 0.4, now_ns)
    used(lanes[700], 0.99, now_ns)
    lanes[900].backoff_until_ns = now_ns + SECOND_NS
    described = ShardWatch().describe("orders", lanes, now_ns)
    assert len(described["shards"]) == SHARDS_SHOWN_MAX
    first = [shard["shard_id"] for shard in described["shards"][:3]]
    assert first == ["shardId-000000000900", "shardId-000000000700", "shardId-000000000500"]
    assert (described["shards_known"], described["shards_by_state"]["idle"]) == (1000, 997)


def test_few_shards_stay_in_their_order() -> None:
    """Rows do not jump while a person reads them."""
    now_ns = SECOND_NS
    lanes = [lane("a"), used(lane("b"), 1.0, now_ns), lane("c", backoff_until_ns=2 * now_ns)]
    shards = ShardWatch().describe("orders", lanes, now_ns)["shards"]
    assert [shard["shard_id"] for shard in shards] == ["a", "b", "c"]


def test_what_is_measured_is_bounded_and_forgotten_when_nobody_looks() -> None:
    """Marks of a few streams are kept, and only while they are asked for."""
    watch = ShardWatch()
    for place in range(2 * STREAMS_MAX):
        watch.describe(f"stream-{place}", [lane("a")], place)
    assert len(watch._measured) == STREAMS_MAX
    watch.describe("stream-15", [lane("a")], UNWATCHED_NS)
    watch.forget_unwatched(UNWATCHED_NS + 20)
    assert list(watch._measured) == ["stream-15"]


def test_a_survey_adds_the_shards_up() -> None:
    """The list of streams shows one line of each."""
    now_ns = SECOND_NS
    lanes = [
        used(lane("a", ratio=0.5), 0.5, now_ns),
        used(lane("b"), 0.7, now_ns),
        lane(None, backoff_until_ns=2 * now_ns),
    ]
    assert survey(lanes, now_ns) == {
        "known": 2,
        "hottest": "b",
        "hottest_utilization_ratio": 0.7,
        "limit_per_second": 3000,
        "allowed_per_second": 2500,
        "backing_off": 1,
        "at_limit": 1,
    }


def test_a_shard_without_a_limit_is_never_at_it() -> None:
    """Zero stands for unlimited."""
    unlimited = Lane("a", ShardLimit(0, 0, SECOND_NS, 0))
    assert survey([unlimited], 0)["at_limit"] == 0
    (shard,) = ShardWatch().describe("orders", [unlimited], 0)["shards"]
    assert (shard["state"], shard["limit_records_per_second"]) == ("idle", 0)
