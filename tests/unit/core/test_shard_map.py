from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.shard_map import Shard, ShardMap
from tests.unit.core.builders import shard_id_of, shards_of


def test_both_ends_of_a_range_belong_to_its_shard() -> None:
    """Starting and ending hash keys are inclusive."""
    shard_map = ShardMap([Shard(0, 99, "low"), Shard(100, 200, "high")])
    assert [shard_map.shard_id_of(hash_key) for hash_key in (0, 99, 100, 200)] == ["low", "low", "high", "high"]


def test_shards_come_in_any_order() -> None:
    """ListShards pages by shard id, which after a split is not the order of the ranges."""
    shard_map = ShardMap([Shard(100, 200, "high"), Shard(0, 99, "low")])
    assert shard_map.shard_ids == ["low", "high"]
    assert shard_map.shard_id_of(99) == "low"


def test_a_gap_has_no_shard() -> None:
    """Before, between and after the shards nothing is predicted."""
    shard_map = ShardMap([Shard(10, 19, "low"), Shard(30, 39, "high")])
    assert [shard_map.shard_id_of(hash_key) for hash_key in (9, 20, 29, 40)] == [None] * 4


def test_an_empty_map_predicts_nothing() -> None:
    """A stream that is being made has no open shard yet."""
    assert ShardMap([]).shard_id_of(0) is None


def test_an_overlap_belongs_to_the_shard_that_starts_last() -> None:
    """The upper child wins over its parent."""
    shard_map = ShardMap([Shard(0, 99, "parent"), Shard(50, 99, "child")])
    assert shard_map.shard_id_of(49) == "parent"
    assert shard_map.shard_id_of(50) == "child"


def test_a_child_that_starts_where_its_parent_does_wins_over_it() -> None:
    """The lower child is as much a child as the upper one."""
    shard_map = ShardMap([Shard(0, 99, "parent"), Shard(0, 49, "low"), Shard(50, 99, "high")])
    assert [shard_map.shard_id_of(hash_key) for hash_key in (0, 49, 50, 99)] == ["low", "low", "high", "high"]


@given(st.integers(1, 200), st.integers(0, HASH_KEY_MAX))
def test_every_hash_key_of_a_whole_map_has_exactly_its_shard(count: int, hash_key: int) -> None:
    """The prediction agrees with a search through all ranges."""
    shards = shards_of(count)
    owners = [shard.shard_id for shard in shards if shard.starting_hash_key <= hash_key <= shard.ending_hash_key]
    assert [ShardMap(shards).shard_id_of(hash_key)] == owners


def test_the_last_hash_key_belongs_to_the_last_shard() -> None:
    """2**128 - 1 is a hash key like any other."""
    assert ShardMap(shards_of(4)).shard_id_of(HASH_KEY_MAX) == shard_id_of(3)
