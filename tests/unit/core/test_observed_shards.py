"""What answers teach of a stream's shards while its map cannot be had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.observed_shards import ObservedShards, shard_id_of_message
from proxy.core.shard_map import Shard, ShardMap
from tests.unit.core.builders import shard_id_of, shards_of


def test_a_shards_span_is_what_has_been_seen_in_it() -> None:
    """From the least to the greatest hash key."""
    observed = ObservedShards()
    for hash_key in (50, 20, 80, 60):
        observed.observe(hash_key, "a")
    assert observed.shards == [Shard(20, 80, "a")]


def test_what_is_known_changes_nothing() -> None:
    """Nobody need take it over again."""
    observed = ObservedShards([Shard(0, 99, "a")])
    observed.observe(40, "a")
    assert not observed.changed
    observed.observe(100, "b")
    assert observed.changed


def test_a_split_shard_is_forgotten_when_a_child_answers_for_its_range() -> None:
    """Open shards never overlap."""
    observed = ObservedShards([Shard(0, 99, "parent"), Shard(100, 199, "other")])
    observed.observe(30, "left")
    assert observed.shards == [Shard(30, 30, "left"), Shard(100, 199, "other")]


def test_merged_shards_are_forgotten_as_their_child_spreads_over_them() -> None:
    """Its span grows over both."""
    observed = ObservedShards([Shard(0, 99, "a"), Shard(100, 199, "b"), Shard(200, 299, "c")])
    observed.observe(10, "child")
    observed.observe(190, "child")
    assert observed.shards == [Shard(10, 190, "child"), Shard(200, 299, "c")]


@given(st.integers(1, 12), st.lists(st.integers(0, HASH_KEY_MAX), min_size=1, max_size=60))
def test_every_hash_key_that_was_seen_is_predicted_rightly(count: int, hash_keys: list[int]) -> None:
    """And no span reaches into a neighbour's range."""
    truth = ShardMap(shards_of(count))
    observed = ObservedShards()
    for hash_key in hash_keys:
        observed.observe(hash_key, truth.shard_id_of(hash_key) or "")
    prediction = ShardMap(observed.shards)
    assert all(prediction.shard_id_of(hash_key) == truth.shard_id_of(hash_key) for hash_key in hash_keys)
    for shard in observed.shards:
        assert truth.shard_id_of(shard.starting_hash_key) == truth.shard_id_of(shard.ending_hash_key) == shard.shard_id


@given(st.integers(1, 6), st.integers(1, 6), st.randoms(use_true_random=False))
def test_after_a_resharding_the_old_shards_go_as_the_new_ones_come(before: int, after: int, random: object) -> None:
    """Whatever was known, what is seen from now on is predicted rightly."""
    old = [
        Shard(shard.starting_hash_key, shard.ending_hash_key, f"old-{shard.shard_id}") for shard in shards_of(before)
    ]
    observed, truth = ObservedShards(old), ShardMap(shards_of(after))
    hash_keys = [random.randint(0, HASH_KEY_MAX) for _ in range(40)]  # type: ignore[attr-defined]
    for hash_key in hash_keys:
        observed.observe(hash_key, truth.shard_id_of(hash_key) or "")
    prediction = ShardMap(observed.shards)
    assert all(prediction.shard_id_of(hash_key) == truth.shard_id_of(hash_key) for hash_key in hash_keys)


@pytest.mark.parametrize(
    ("message", "shard_id"),
    [
        ("Rate exceeded for shard shardId-000000000003 in stream s under account 123456789012.", shard_id_of(3)),
        ("Rate exceeded for shard shardId-000000000003", shard_id_of(3)),
        ("Rate exceeded for stream s under account 123456789012.", None),
        ("Rate exceeded for shard my shard", None),
        ("", None),
        (None, None),
    ],
)
def test_a_throttle_message_names_its_shard(message: str | None, shard_id: str | None) -> None:
    """In the service's words; others name none."""
    assert shard_id_of_message(message) == shard_id
