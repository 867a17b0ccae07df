from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.backoff import Backoff
from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.lanes import Lanes
from proxy.core.limits import StreamLimits
from proxy.core.rate_control import FixedRate
from proxy.core.shard_map import Shard, ShardMap
from tests.unit.core.builders import MS, SECOND, shard_id_of, shards_of, unlimited

HALF_A_SECOND = Backoff(SECOND, SECOND, lambda: 0.5)


def lanes_of() -> Lanes:
    """Return the lanes of a stream that nothing is known of, with the default limits."""
    return Lanes(StreamLimits(), 0)


def test_an_unknown_stream_has_one_careful_lane_with_the_capacity_of_one_shard() -> None:
    """Whatever the hash key: as if the stream had no more than the least that it can have."""
    lanes = lanes_of()
    lane = lanes.lane_of(0)
    assert lanes.lane_of(HASH_KEY_MAX) is lane
    assert lanes.known == [lane]
    assert lane.shard_id is None
    assert (lane.limit.records.rate_per_second, lane.limit.bytes.rate_per_second) == (1000, 1024 * 1024)
    assert lanes.open_shard_count == 0


def test_a_known_stream_has_a_lane_a_shard() -> None:
    """Each with a shard's capacity, in the order of the hash keys."""
    lanes = lanes_of()
    lanes.learn(shards_of(4), 0, auto_shards=0)
    assert [lane.shard_id for lane in lanes.known] == [shard_id_of(index) for index in range(4)]
    assert lanes.lane_of(0) is lanes.known[0]
    assert lanes.lane_of(HASH_KEY_MAX) is lanes.known[3]
    assert {lane.limit.records.rate_per_second for lane in lanes.known} == {1000}
    assert lanes.open_shard_count == 4


def test_a_new_lane_starts_without_tokens() -> None:
    """Its shard may have been used to the last drop by others."""
    lanes = lanes_of()
    lanes.learn(shards_of(1), SECOND, auto_shards=0)
    assert lanes.known[0].ready_at_ns(10) == SECOND + MS


def test_a_lane_outlives_a_new_map_if_its_shard_is_still_open() -> None:
    """Tokens, debts and backoff stay true; the lanes of new shards are new."""
    lanes = lanes_of()
    low, high = shards_of(2)
    lanes.learn([low, high], 0, auto_shards=0)
    kept = lanes.lane_of(0)
    kept.limit.take(3 * 1024 * 1024, 100 * MS)
    kept.back_off(0, 0, HALF_A_SECOND)
    middle = high.starting_hash_key + 10
    children = [Shard(high.starting_hash_key, middle, "left"), Shard(middle + 1, HASH_KEY_MAX, "right")]
    lanes.learn([low, *children], SECOND, auto_shards=0)
    assert lanes.lane_of(0) is kept
    assert kept.limit.bytes.level(900 * MS) < 0
    assert kept.backoff_until_ns == 500 * MS
    assert [lane.shard_id for lane in lanes.known] == [low.shard_id, "left", "right"]


def test_the_lane_of_a_closed_shard_serves_no_key_any_more() -> None:
    """Every hash key goes to a shard that is open."""
    lanes = lanes_of()
    lanes.learn(shards_of(1), 0, auto_shards=0)
    closed = lanes.lane_of(0)
    left, right = Shard(0, 99, "left"), Shard(100, HASH_KEY_MAX, "right")
    lanes.learn([left, right], 0, auto_shards=0)
    assert closed not in {lanes.lane_of(0), lanes.lane_of(HASH_KEY_MAX), *lanes.known}


def test_a_hash_key_in_a_gap_of_the_map_uses_the_careful_lane() -> None:
    """A map caught in the middle of a resharding strands nothing."""
    lanes = lanes_of()
    careful = lanes.lane_of(0)
    lanes.learn([Shard(0, 99, "low"), Shard(200, HASH_KEY_MAX, "high")], 0, auto_shards=0)
    assert lanes.lane_of(150) is careful
    assert lanes.lane_of(99).shard_id == "low"


def test_a_stream_that_ignores_keys_is_one_lane_with_the_capacity_of_all_its_shards() -> None:
    """There is nothing to predict, and the service spreads the records itself."""
    lanes = lanes_of()
    lanes.learn(shards_of(4), 0, auto_shards=4)
    lane = lanes.lane_of(0)
    assert lanes.lane_of(HASH_KEY_MAX) is lane
    assert lanes.known == [lane]
    assert lane.shard_id is None
    assert (lane.limit.records.rate_per_second, lane.limit.bytes.rate_per_second) == (4000, 4 * 1024 * 1024)
    assert lanes.open_shard_count == 4


def test_a_stream_that_stops_ignoring_keys_has_a_lane_a_shard_again() -> None:
    """The strategy of a stream can be changed."""
    lanes = lanes_of()
    lanes.learn(shards_of(2), 0, auto_shards=2)
    lanes.learn(shards_of(2), 0, auto_shards=0)
    assert [lane.shard_id for lane in lanes.known] == [shard_id_of(0), shard_id_of(1)]


def test_the_careful_lane_has_the_capacity_of_one_shard_again_when_keys_count_again() -> None:
    """It then serves the gaps of the map, each of which is one shard at the least."""
    lanes = lanes_of()
    lanes.learn(shards_of(4), 0, auto_shards=4)
    lanes.learn([Shard(100, HASH_KEY_MAX, "high")], 0, auto_shards=0)
    assert lanes.lane_of(0).limit.records.rate_per_second == 1000


def test_what_all_shards_together_owe_is_not_for_one_of_them_to_pay_when_keys_count_again() -> None:
    """Else the one that stands for a hundred would be closed for as many seconds."""
    lanes = lanes_of()
    lanes.learn((), 0, auto_shards=100)
    for _ in range(50_000):
        lanes.lane_of(0).limit.take(10, SECOND)
    lanes.learn((), SECOND, auto_shards=0)
    assert lanes.lane_of(0).ready_at_ns(10) == SECOND + MS


def test_the_lane_of_a_stream_that_ignores_keys_keeps_its_backoff_over_a_new_map() -> None:
    """Debts and backoff stay true as for any lane that goes on serving."""
    lanes = lanes_of()
    lanes.learn(shards_of(2), 0, auto_shards=2)
    lanes.lane_of(0).back_off(0, 0, HALF_A_SECOND)
    lanes.learn(shards_of(2), 100 * MS, auto_shards=2)
    assert lanes.lane_of(0).backoff_until_ns == 500 * MS


def test_the_careful_lane_of_an_auto_stream_keeps_its_debt_and_its_share_when_shards_are_added() -> None:
    """Only what flows in from now on is more."""
    lanes = lanes_of()
    lanes.learn(shards_of(2), 0, auto_shards=2)
    lane = lanes.lane_of(0)
    lane.limit.take(3 * 1024 * 1024, 100 * MS)
    lane.limit.scale(0.5, 100 * MS)
    debt_bytes = lane.limit.bytes.level(100 * MS)
    assert debt_bytes < 0
    lanes.learn(shards_of(4), 100 * MS, auto_shards=4)
    assert lane.limit.records.rate_per_second == 2000
    assert abs(lane.limit.bytes.level(100 * MS) - debt_bytes) < 1


def test_a_lane_without_limits_has_no_share_to_find() -> None:
    """Its throttles say nothing about a rate: there is none."""
    lanes = Lanes(unlimited(), 0)
    lane = lanes.lane_of(0)
    lane.throttled(10)
    lane.back_off(0, 0, HALF_A_SECOND)
    assert not lane.probing
    assert lane.rate_ratio == 1.0


def test_the_law_of_the_limits_is_that_of_every_lane() -> None:
    """A fixed one and a half times the limit, for example."""
    lanes = Lanes(StreamLimits(rate_control=lambda _now_ns: FixedRate(1.5)), 0)
    lanes.learn(shards_of(2), 0, auto_shards=0)
    assert {lane.limit.records.rate_per_second for lane in lanes.known} == {1500}


BYTE = 1 << 120
EDGES = st.builds(
    lambda first_byte, offset: min(max(0, first_byte * BYTE + offset), HASH_KEY_MAX),
    st.integers(0, 256),
    st.sampled_from((-1, 0, 1, BYTE // 2)),
)


@given(st.lists(st.tuples(EDGES, EDGES), max_size=6), st.lists(EDGES, max_size=4))
def test_the_lane_of_a_hash_key_is_that_of_its_shard_in_the_map(
    ranges: list[tuple[int, int]], hash_keys: list[int]
) -> None:
    """Wherever shards begin and end, with gaps and overlaps, and at each of their edges."""
    shards = [Shard(min(edges), max(edges), f"shard-{number}") for number, edges in enumerate(ranges)]
    lanes, shard_map = lanes_of(), ShardMap(shards)
    lanes.learn(shards, 0, auto_shards=0)
    near = [edge + offset for edges in ranges for edge in edges for offset in (-1, 0, 1)]
    for hash_key in (*hash_keys, *near):
        if 0 <= hash_key <= HASH_KEY_MAX:
            assert lanes.lane_of(hash_key).shard_id == shard_map.shard_id_of(hash_key)


@pytest.mark.parametrize("shards", [1, 2, 3, 255, 256, 257, 1000])
def test_every_shard_of_a_uniform_stream_is_found_at_both_of_its_ends(shards: int) -> None:
    """However many there are."""
    lanes = lanes_of()
    lanes.learn(shards_of(shards), 0, auto_shards=0)
    for shard in shards_of(shards):
        assert lanes.lane_of(shard.starting_hash_key).shard_id == shard.shard_id
        assert lanes.lane_of(shard.ending_hash_key).shard_id == shard.shard_id
