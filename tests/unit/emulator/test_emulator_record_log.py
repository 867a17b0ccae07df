from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.emulator.record_log import RecordLog, StoredRecord
from proxy.emulator.retention import Retention

DAY_MS = 86_400_000


def record(size_bytes: int = 10, arrived_at_ms: int = 0) -> StoredRecord:
    """Return a record of some size and age."""
    return StoredRecord("", "key", size_bytes, arrived_at_ms)


def test_the_first_record_has_ordinal_one() -> None:
    """Ordinal 0 belongs to the shard's starting sequence number."""
    log = RecordLog()
    assert log.append(record()) == 1
    assert log.append(record()) == 2


def test_reading_from_before_the_oldest_record_starts_with_the_oldest() -> None:
    """What is forgotten is stepped over."""
    log = RecordLog()
    kept = [record(arrived_at_ms=number) for number in range(3)]
    for each in kept:
        log.append(each)
    log.forget_oldest()
    assert log.read(0, 10, 1000) == (2, kept[1:])


def test_a_read_ends_before_the_bytes_run_over() -> None:
    """The limit of bytes is kept from the second record on."""
    log = RecordLog()
    for size_bytes in (60, 40, 1):
        log.append(record(size_bytes))
    assert len(log.read(0, 10, 100)[1]) == 2
    assert len(log.read(0, 10, 99)[1]) == 1
    assert len(log.read(0, 10, 1)[1]) == 1


def test_a_read_returns_at_most_so_many_records() -> None:
    """The limit of records is kept."""
    log = RecordLog()
    for _ in range(5):
        log.append(record())
    assert len(log.read(2, 3, 1000)[1]) == 3


def test_a_moment_leads_to_the_first_record_at_or_after_it() -> None:
    """Forgotten records are not looked at."""
    log = RecordLog()
    for arrived_at_ms in (10, 20, 20, 30):
        log.append(record(arrived_at_ms=arrived_at_ms))
    log.forget_oldest()
    assert [log.ordinal_at(ms) for ms in (5, 20, 21, 30, 31)] == [2, 2, 4, 4, 5]


def test_a_long_run_of_forgotten_records_is_cut_off() -> None:
    """Memory is given back, and ordinals stay with their records."""
    log = RecordLog()
    kept = [record(arrived_at_ms=number) for number in range(3000)]
    for each in kept:
        log.append(each)
    for _ in range(2000):
        log.forget_oldest()
    assert len(log._records) < 2000
    assert (log.first_ordinal, len(log)) == (2001, 1000)
    assert log.read(0, 2, 1000) == (2001, kept[2000:2002])
    assert log.read(2500, 1, 1000) == (2500, kept[2499:2500])


def test_ordinals_go_on_where_no_records_are_kept() -> None:
    """A log that keeps nothing still numbers what passes."""
    retention = Retention(records_max=0, bytes_max=100, age_ms_max=DAY_MS)
    log = RecordLog()
    assert [retention.keep(log, record()) for _ in range(3)] == [1, 2, 3]
    assert log.read(0, 10, 100) == (4, [])
    assert (retention.kept_records, len(log)) == (0, 0)


def test_the_oldest_records_of_all_logs_go_first() -> None:
    """The bound on records is over everything, in order of arrival."""
    retention = Retention(records_max=3, bytes_max=1000, age_ms_max=DAY_MS)
    busy, quiet = RecordLog(), RecordLog()
    for log in (quiet, busy, busy, busy, busy):
        retention.keep(log, record())
        retention.enforce(0)
    assert (len(quiet), len(busy), retention.kept_records) == (0, 3, 3)
    assert busy.first_ordinal == 2


def test_bytes_are_kept_up_to_their_bound() -> None:
    """Records go until what is left fits."""
    retention = Retention(records_max=100, bytes_max=100, age_ms_max=DAY_MS)
    log = RecordLog()
    for size_bytes in (50, 30, 20):
        retention.keep(log, record(size_bytes))
    retention.enforce(0)
    assert len(log) == 3
    retention.keep(log, record(31))
    retention.enforce(0)
    assert (len(log), retention.kept_bytes) == (3, 81)


def test_records_are_kept_for_their_time() -> None:
    """A record goes when its age reaches the limit."""
    retention = Retention(records_max=100, bytes_max=1000, age_ms_max=1000)
    log = RecordLog()
    retention.keep(log, record(arrived_at_ms=5000))
    retention.enforce(5999)
    assert len(log) == 1
    retention.enforce(6000)
    assert len(log) == 0


def test_dropping_a_log_leaves_the_others_in_order() -> None:
    """A deleted stream's records no longer count."""
    retention = Retention(records_max=2, bytes_max=1000, age_ms_max=DAY_MS)
    deleted, kept = RecordLog(), RecordLog()
    retention.keep(deleted, record(10))
    retention.keep(kept, record(7))
    retention.drop({deleted})
    assert (retention.kept_records, retention.kept_bytes, len(deleted), len(kept)) == (1, 7, 0, 1)


@given(st.lists(st.integers(0, 1), max_size=5000), st.integers(1, 3000))
def test_a_log_is_a_list_with_a_moving_start(moves: list[int], ahead: int) -> None:
    """Against a naive list: appending, forgetting and reading agree, also beyond the run in which it is cut."""
    log = RecordLog()
    naive: list[tuple[int, StoredRecord]] = []
    for number in range(ahead):
        each = record(arrived_at_ms=number)
        naive.append((log.append(each), each))
    for move in moves:
        if move and naive:
            assert log.oldest() is naive[0][1]
            log.forget_oldest()
            naive.pop(0)
        else:
            each = record(arrived_at_ms=log.next_ordinal)
            naive.append((log.append(each), each))
    assert len(log) == len(naive)
    first = naive[0][0] if naive else log.next_ordinal
    assert log.first_ordinal == first
    assert log.read(0, 10**6, 10**9) == (first, [each for _, each in naive])
