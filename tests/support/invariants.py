"""What must be true of a stream's core at any moment, recounted from nothing but the records themselves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from proxy.core.lane import Place
from proxy.core.limits import MILLISECOND_NS
from proxy.core.record import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.core.key_queue import KeyQueue
    from proxy.core.lane import Lane
    from proxy.core.record import Record
    from proxy.core.stream import Stream


def check_stream(stream: Stream, in_flight: Iterable[Record]) -> None:
    """Recount a stream's books; `in_flight` are the records of the batches that `poll` handed out, unanswered.

    Raises:
        AssertionError: with the rule that is broken.
    """
    split = (record for records in stream._settlement.splits for record in records)
    flying = Counter(id(record.key_queue) for record in dict.fromkeys((*in_flight, *split)))
    if not stream._limits.ordering.runs:
        assert all(count == 1 for count in flying.values()), "a key has two records in flight"
    _check_keys(stream, flying)
    _check_lanes(stream)
    ledger, counters = stream._ledger, stream.counters
    settled = counters.acknowledged_records + counters.refused_records + counters.expired_records
    settled += counters.withdrawn_records
    opened = ledger.queued_records + ledger.in_flight_records
    assert counters.received_records == settled + opened, (
        "received = acknowledged + refused + expired + withdrawn + open"
    )


def _check_keys(stream: Stream, flying: Counter[int]) -> None:
    queued_records = queued_bytes = 0
    listed = {id(key) for lane in _all_lanes(stream) for key in lane.ready}
    for key_queue in stream._queues._keys.values():
        waiting = _waiting(key_queue)
        queued_records += len(waiting)
        queued_bytes += sum(record.size_bytes for record in waiting)
        assert all(record.state is State.QUEUED for record in waiting), "a waiting record is QUEUED"
        assert waiting == sorted(waiting, key=lambda record: record.received_at_ns), "a key's records wait in order"
        assert key_queue.in_flight == flying[id(key_queue)], "a key counts what it has in flight"
        assert (key_queue.records, key_queue.bytes) == (len(waiting), sum(record.size_bytes for record in waiting))
        assert bool(waiting) or key_queue.muted, "a key without records is forgotten"
        assert (id(key_queue) in listed) == (not key_queue.muted), "a key is listed exactly while it is unmuted"
    assert queued_records == stream.queued_records, "the records that wait are counted"
    assert queued_bytes == stream.queued_bytes, "the bytes that wait are counted"


def _check_lanes(stream: Stream) -> None:
    schedule, lanes = stream._queues.schedule, stream._queues.lanes
    turns = list(schedule._turns)
    waiting = [lane for _, ordinal, lane in schedule._waiting if _is_valid(lane, ordinal)]
    assert len(set(map(id, turns + waiting))) == len(turns) + len(waiting), "a lane is in one place"
    assert all(lane.place is Place.TURNS for lane in turns), "a lane in the turns knows it"
    assert all(lane.place is Place.WAITING for lane in waiting), "a waiting lane knows it"
    assert schedule.ready_alone == sum(lane.ready_alone for lane in _all_lanes(stream)), "what travels alone is counted"
    assert schedule.ready_keys == sum(len(lane.ready) for lane in turns), "ready keys are counted"
    for lane in _all_lanes(stream):
        assert lane.ready_records == sum(key_queue.listed_records for key_queue in lane.ready), "listed records"
        assert lane.ready_bytes == sum(key_queue.listed_bytes for key_queue in lane.ready), "listed bytes"
        assert lane.ready_alone == sum(key_queue.listed_alone for key_queue in lane.ready), "listed that travel alone"
        assert not lane.ready or lane.place is not Place.IDLE, "a lane with ready keys has a place"
        for key_queue in lane.ready:
            assert key_queue.lane is lane, "a key knows its lane"
            runs = stream._limits.ordering.runs
            may_go = _waiting(key_queue) if runs else [key_queue.first]
            alone = key_queue.first.sequence_number_for_ordering is not None
            listed = (len(may_go), sum(record.size_bytes for record in may_go), alone)
            told = (key_queue.listed_records, key_queue.listed_bytes, key_queue.listed_alone)
            assert told == listed, "a key is listed with what may go"
            assert lanes.lane_of(key_queue.first.hash_key) is lane, "a key is in the lane of its oldest record"


def check_after_poll(stream: Stream, now_ns: int, linger_ns: int) -> None:
    """Nothing waits while it may go: what is left after a poll has a reason to wait, and a time to go on."""
    gate, schedule = stream._gate, stream._queues.schedule
    if schedule.anything_ready and gate.may_start(now_ns):
        assert not gate.may_go(now_ns, schedule.ready_keys), "a batch that may go has gone"
    assert not (stream._settlement.splits and gate.may_start(now_ns)), "a split that may go has gone"
    grid_ns = max(linger_ns, MILLISECOND_NS)
    for wake_at_ns, ordinal, lane in schedule._waiting:
        if lane.ready and _is_valid(lane, ordinal):
            head = next(iter(lane.ready)).first
            latest_ns = max(lane.ready_at_ns(head.size_bytes), now_ns) + grid_ns
            assert wake_at_ns <= latest_ns, "a lane waits no longer than its tokens and the grid ask"
    wake_at_ns_or_none = stream.next_wake_ns()
    if stream.open_records and not stream.in_flight_requests:
        assert wake_at_ns_or_none is not None, "open records without anything in flight have a time to go on"
    oldest = stream._ledger.oldest
    if oldest is not None:
        assert oldest.deadline_at_ns > now_ns, "nothing overdue is left"


def _is_valid(lane: Lane, ordinal: int) -> bool:
    """Whether an entry of the waiting heap still counts: the lane may have been given its turn meanwhile."""
    return lane.place is Place.WAITING and lane.wake_ordinal == ordinal


def _waiting(key_queue: KeyQueue) -> list[Record]:
    records: list[Record] = []
    record = key_queue.head
    while record is not None:
        assert record.previous is (records[-1] if records else None), "the list of a key can be walked both ways"
        records.append(record)
        assert record.next is not None or record is key_queue.tail, "the list of a key ends in its tail"
        record = record.next
    assert key_queue.calls == len({record.call_ordinal for record in records}), "the calls of a key are counted"
    alone = sum(record.sequence_number_for_ordering is not None for record in records)
    assert key_queue.alone == alone, "what takes a request for itself is counted"
    return records


def _all_lanes(stream: Stream) -> list[Lane]:
    schedule = stream._queues.schedule
    lanes = {id(lane): lane for lane in (*stream._queues.lanes._by_shard_id.values(), stream._queues.lanes._careful)}
    lanes.update((id(lane), lane) for lane in schedule._turns)
    lanes.update((id(lane), lane) for _, _, lane in schedule._waiting)
    return list(lanes.values())
