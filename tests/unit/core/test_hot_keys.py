from __future__ import annotations

from itertools import cycle, islice

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.hot_keys import HALF_LIFE_NS, KEYS_MAX, TROUBLES_MIN, HotKeys
from tests.unit.core.builders import MS, SECOND, THROTTLED, Bench, failed, record_of, taken, unlimited


def noted(hash_keys: list[int]) -> HotKeys:
    """Return a sketch that has been told of these, all in one moment."""
    sketch = HotKeys(0)
    for hash_key in hash_keys:
        sketch.note(hash_key, 0)
    return sketch


def test_the_hottest_keys_come_first_with_their_share() -> None:
    """Whoever reads it knows where to look first, and how much there is to win."""
    top = noted([1] * 60 + [2] * 30 + [3] * 10).top(2, 0)
    assert [(key.hash_key, key.records, key.share) for key in top] == [(1, 60, 0.6), (2, 30, 0.3)]


def test_a_hot_key_is_found_among_more_keys_than_there_is_room_for() -> None:
    """One key in ten among thousands that come once is the answer, and the thousands are not."""
    cold = iter(range(10, 10_000))
    top = noted([1 if place % 10 == 0 else next(cold) for place in range(5_000)]).top(5, 0)
    assert [key.hash_key for key in top] == [1]
    assert 0.08 < top[0].share <= 0.1


def test_a_key_that_becomes_hot_finds_a_place_among_those_that_were_there_before() -> None:
    """However many were a little warm, the hot one is named."""
    warm = [key for key in range(10, 10 + KEYS_MAX) for _ in range(3)]
    assert [key.hash_key for key in noted([*warm, *[1] * 500]).top(5, 0)] == [1]


def test_where_trouble_is_even_no_key_stands_out() -> None:
    """A hot shard is no hot key."""
    assert noted(list(islice(cycle(range(1_000)), 20_000))).top(5, 0) == []


def test_too_few_troubles_tell_nothing() -> None:
    """A key is not accused of a handful of throttles."""
    sketch = noted([1] * (TROUBLES_MIN - 1))
    assert sketch.top(5, 0) == []
    sketch.note(1, 0)
    assert [key.records for key in sketch.top(5, 0)] == [TROUBLES_MIN]


@given(st.lists(st.integers(0, 2 * KEYS_MAX), max_size=2_000))
def test_no_key_is_shown_with_more_than_it_met(hash_keys: list[int]) -> None:
    """The count that is shown is proven, whatever had to be forgotten meanwhile; and places are bounded."""
    sketch = noted(hash_keys)
    assert len(sketch._counts) <= KEYS_MAX
    for key in sketch.top(KEYS_MAX, 0):
        assert key.records <= hash_keys.count(key.hash_key)


@given(st.lists(st.integers(0, 2 * KEYS_MAX), min_size=TROUBLES_MIN, max_size=2_000))
def test_a_key_with_more_than_its_part_is_never_forgotten(hash_keys: list[int]) -> None:
    """Whatever meets more than one in KEYS_MAX of the troubles is remembered."""
    sketch = noted(hash_keys)
    for hash_key in set(hash_keys):
        if hash_keys.count(hash_key) > len(hash_keys) / KEYS_MAX:
            assert hash_key in sketch._counts


def test_old_heat_fades() -> None:
    """What was hot a minute ago counts half; what was hot an hour ago is gone."""
    sketch = noted([1] * 400)
    assert [key.records for key in sketch.top(5, HALF_LIFE_NS)] == [200]
    sketch.note(2, 2 * HALF_LIFE_NS)
    assert (sketch.total, sketch._counts[1]) == (101, 100)
    assert sketch.top(5, 100 * HALF_LIFE_NS) == []
    assert (sketch.total, sketch._counts) == (0, {})


def test_there_is_news_each_time_enough_has_been_noted() -> None:
    """The log is not asked about for every throttle."""
    sketch = HotKeys(0)
    asked_at = []
    for count in range(1, 3 * TROUBLES_MIN):
        sketch.note(1, 0)
        if sketch.has_news:
            sketch.top(1, 0)
            asked_at.append(count)
    assert asked_at == [TROUBLES_MIN, 2 * TROUBLES_MIN]


def test_a_stream_notes_the_keys_of_throttled_records_and_of_no_others() -> None:
    """What goes through costs nothing and accuses nobody."""
    bench = Bench(unlimited())
    bench.learn(1)
    bench.put("hot", "cold")
    bench.answer(bench.poll_one(), failed(), taken())
    bench.answer(bench.poll_one(SECOND), failed("InternalFailure"))
    bench.fail(bench.poll_one(2 * SECOND), THROTTLED)
    assert bench.stream.hot_keys._counts == {record_of("hot").hash_key: 2}


def test_a_stream_notes_the_keys_of_records_refused_at_the_door() -> None:
    """A shard that is kept within its rate throttles nobody: the queue before it tells who wants more."""
    bench = Bench(unlimited(shard_records_per_second=10, admission_wait_ns=100 * MS, stream_buffer_ratio=1))
    bench.learn(1)
    for _ in range(5):
        bench.append(record_of("hot"))
    assert bench.stream.hot_keys.total > 0
    assert set(bench.stream.hot_keys._counts) == {record_of("hot").hash_key}
