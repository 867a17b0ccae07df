from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.emulator.scaling import Merge, Split, plan, uniform_starts

RING = 2**128


def carried_out(starts: list[int], shard_count: int) -> list[int]:
    """Return the starts after every step of the plan, each of which must be possible."""
    current = sorted(starts)
    for step in plan(starts, shard_count):
        if isinstance(step, Split):
            assert step.new_starting_hash_key not in current
            current = sorted([*current, step.new_starting_hash_key])
        else:
            assert current.index(step.starting_hash_key) > 0
            current.remove(step.starting_hash_key)
    return current


def test_a_new_stream_is_divided_as_the_service_divides() -> None:
    """Ranges have the width of 2^128 // n; the last takes the rest."""
    assert uniform_starts(3) == [0, RING // 3, RING // 3 * 2]


def test_doubling_splits_each_shard_once() -> None:
    """Nothing is merged, and each split lies in a shard of its own."""
    steps = plan(uniform_starts(4), 8)
    assert len(steps) == 4
    assert all(isinstance(step, Split) for step in steps)


def test_halving_merges_each_pair_once() -> None:
    """Nothing is split."""
    steps = plan(uniform_starts(8), 4)
    assert len(steps) == 4
    assert all(isinstance(step, Merge) for step in steps)


def test_ranges_that_round_differently_need_no_shard_of_one_key() -> None:
    """A third of the ring starts one key apart from two sixths; the boundary that exists serves."""
    assert uniform_starts(3)[1] != uniform_starts(6)[2]
    assert len(plan(uniform_starts(3), 6)) == 3
    assert len(plan(uniform_starts(6), 3)) == 3


def test_the_present_count_needs_no_step() -> None:
    """A uniform stream stays as it is."""
    assert plan(uniform_starts(7), 7) == []


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6))
def test_every_plan_ends_in_equal_shards(counts: list[int]) -> None:
    """From any sequence of counts; widths differ by no more than what rounding and near boundaries allow."""
    starts = uniform_starts(counts[0])
    for count in counts[1:]:
        starts = carried_out(starts, count)
        assert len(starts) == count
        assert starts[0] == 0
        widths = [end - start for start, end in zip(starts, [*starts[1:], RING], strict=True)]
        assert all(abs(width - RING // count) <= 2**66 for width in widths)


@given(st.sets(st.integers(1, RING - 1), max_size=10), st.integers(1, 20))
def test_uneven_shards_become_equal_ones(inner: set[int], count: int) -> None:
    """Wherever splits have put the boundaries before."""
    assert len(carried_out([0, *sorted(inner)], count)) == count
