"""Whether there is room for a record: by what is held, and by the wait that its place in the queue implies.

A record that cannot be sent in time is refused at once: its caller then knows, and tries again when there is room,
instead of holding a place until its deadline.

Theory of operation: in a lane each ready key gives one record a turn. So a round of all keys takes what the shard's
rate makes of the records that the lane lists, but at least a round trip for a key that waits for its own answers:

    a key that waits for nothing        its turn comes within one round
    a key with n records before this    each of them takes a round, or a round trip

Records with SequenceNumberForOrdering take a request each, of which only so many go in a round trip: where a lane lists
more of them than its rate allows for, they are what a round takes.

Where a run of a key may travel together, a lane lists all that waits instead, and the key's own queue counts at the
shard's rate, and a round trip for each request that it takes. Either way who queues much waits long: a busy key is
refused first, and a quiet one finds its turn within a round. Where a call finds others waiting in a lane, its own
records count twice, so that it takes no more than half of the room that they leave.

Must never know: what is in flight where, or what was refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.core import verdicts
from proxy.core.limits import MILLISECOND_NS, SECOND_NS
from proxy.core.ordering import Ordering
from proxy.core.record import Record  # noqa: TC001 - a compiled tuple looks at its fields' types

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.buffer import Buffer
    from proxy.core.gate import Gate
    from proxy.core.key_queue import KeyQueue
    from proxy.core.lane import Lane
    from proxy.core.ledger import Ledger
    from proxy.core.limits import StreamLimits
    from proxy.core.queues import Queues

# Nothing tells when a full buffer has room again; callers wait between the half and the whole of this.
FULL_BUFFER_RETRY_MS: Final = 1000
# Of a record's life: what is estimated to take longer would too often not be delivered in time.
IN_TIME_RATIO: Final = 0.8


class HeldBack(NamedTuple):
    """A partition key whose records wait for their own order.

    Args:
        record: one of them.
        waiting: how many wait behind it.
    """

    record: Record
    waiting: int


class Refusal(NamedTuple):
    """Why a record is not taken.

    Args:
        code: the error code for its caller.
        message: what is full.
        retry_after_ms: when there may be room, jittered; 0 where that cannot be said.
        held_back: the record's key, if that is what is full.
    """

    code: str
    message: str
    retry_after_ms: int = 0
    held_back: HeldBack | None = None


class Admission:
    """The bounds of one stream.

    Args:
        limits: see `StreamLimits`.
        buffer: the bound that all streams share.
        ledger: what the stream holds.
        queues: what waits before a new record.
        gate: how long a round trip takes.
        random: uniform in [0, 1).
    """

    __slots__ = ("_buffer", "_bytes_max", "_gate", "_ledger", "_limits", "_queues", "_random", "_records_max")

    def __init__(
        self,
        limits: StreamLimits,
        buffer: Buffer,
        ledger: Ledger,
        queues: Queues,
        gate: Gate,
        random: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._buffer = buffer
        self._ledger = ledger
        self._queues = queues
        self._gate = gate
        self._random = random
        self._records_max = max(1, int(buffer.records_max * limits.stream_buffer_ratio))
        self._bytes_max = max(1, int(buffer.bytes_max * limits.stream_buffer_ratio))

    def refusal(
        self, record: Record, key_queue: KeyQueue | None, lane: Lane, now_ns: int, share: Share | None = None
    ) -> Refusal | None:
        """Return why a record is not taken; None if it is, and will be queued.

        Args:
            record: the youngest of its key.
            key_queue: those that wait or are in flight before it.
            lane: in which it would wait.
            now_ns: the present.
            share: what its call has put into that lane so far; a call of one record has none.
        """
        buffer, ledger, held_bytes = self._buffer, self._ledger, record.held_bytes
        if (
            buffer.records >= buffer.records_max
            or buffer.bytes + held_bytes > buffer.bytes_max
            or ledger.queued_records + ledger.in_flight_records >= self._records_max
            or ledger.held_bytes + held_bytes > self._bytes_max
        ):
            retry_after_ms = self._jittered(FULL_BUFFER_RETRY_MS)
            text = f"The proxy's {self._what_is_full(record)} is full."
            return Refusal(verdicts.THROUGHPUT_EXCEEDED, text, retry_after_ms)
        if self._queues.lanes.provisional:
            return None
        round_ns = self._requests_ns(lane) if lane.ready_alone else 0
        if round_ns or not lane.limit.unlimited or now_ns < lane.backoff_until_ns:
            if lane.ready_records:
                round_ns = max(round_ns, _transfer_ns(lane, lane.ready_records, lane.ready_bytes))
            wait_ns = max(0, lane.ready_at_ns(record.size_bytes) - now_ns) + round_ns
            if share is not None:
                wait_ns += share.weight_ns(lane)
            if wait_ns > self._limits.admission_wait_ns:
                return self._rate_exceeded(f"shard {lane.shard_id}" if lane.shard_id else "the stream", wait_ns)
        if key_queue is not None:
            wait_ns, bound_ns = self._wait_of_key_ns(key_queue, lane, round_ns)
            if wait_ns > bound_ns:
                refusal = self._rate_exceeded("the partition key", wait_ns)
                return refusal._replace(held_back=HeldBack(record, key_queue.records))
        return None

    def _requests_ns(self, lane: Lane) -> int:
        """Return how long the requests take that records with SequenceNumberForOrdering want for themselves."""
        requests = self._queues.schedule.requests_before(lane)
        return requests * self._gate.round_trip_ns // self._limits.in_flight_max

    def _what_is_full(self, record: Record) -> str:
        full = self._buffer.lacks_room_for(record)
        if full is None and self._ledger.open_records >= self._records_max:
            full = f"buffer of {self._records_max} records for one stream"
        return full or f"buffer of {self._bytes_max} bytes for one stream"

    def _wait_of_key_ns(self, key_queue: KeyQueue, lane: Lane, round_ns: int) -> tuple[int, int]:
        """Return how long a record waits for those before it in its key, and how long it may.

        What it waits for round trips of its own key is nobody else's wait: that only has to end in time for the record
        to be delivered.
        """
        limits, round_trip_ns = self._limits, self._gate.round_trip_ns
        if limits.ordering.runs:
            transfer_ns = _transfer_ns(lane, key_queue.records, key_queue.bytes)
            wait_ns = transfer_ns + (round_trip_ns if key_queue.in_flight else 0)
            if wait_ns > limits.admission_wait_ns:
                return wait_ns, limits.admission_wait_ns
            wait_ns = (self._requests_before(key_queue) + 1) * round_trip_ns
        else:
            before = key_queue.records + key_queue.in_flight
            wait_ns = before * max(round_ns, round_trip_ns) + round_trip_ns
        return wait_ns, int(limits.delivery_timeout_ns * IN_TIME_RATIO)

    def _requests_before(self, key_queue: KeyQueue) -> int:
        """Return how many requests it takes, one after the other, to send what waits in a key, and is in flight."""
        limits = self._limits
        requests = max(
            -(-key_queue.records // limits.batch_records_max), -(-key_queue.bytes // limits.shard_slice_bytes_max)
        )
        if limits.ordering is Ordering.CALL:
            requests = max(requests, key_queue.calls)
        requests = max(requests, key_queue.alone)
        return requests + (1 if key_queue.in_flight else 0)

    def _rate_exceeded(self, what: str, wait_ns: int) -> Refusal:
        wait_ms = wait_ns // MILLISECOND_NS
        text = f"Rate exceeded for {what}: the proxy's queue for it would take {wait_ms} ms at the present rate."
        return Refusal(verdicts.THROUGHPUT_EXCEEDED, text, self._jittered(wait_ms))

    def _jittered(self, wait_ms: int) -> int:
        """Return a wait between the half and the whole: those who are refused together should not come back so."""
        return max(1, int(wait_ms * (1 + self._random()) / 2))


class Share:
    """What one call has put into one lane so far, beside what was there.

    Args:
        lane: as the call finds it.
    """

    __slots__ = ("_others_bytes", "_others_records")

    def __init__(self, lane: Lane) -> None:
        self._others_records = lane.ready_records
        self._others_bytes = lane.ready_bytes

    def weight_ns(self, lane: Lane) -> int:
        """Return what the call's own records count for once more; nothing where it has the lane for itself."""
        if not self._others_records:
            return 0
        own_records, own_bytes = lane.ready_records - self._others_records, lane.ready_bytes - self._others_bytes
        return _transfer_ns(lane, own_records, own_bytes)


class Door:
    """Admission for the records of one call, one after the other.

    Args:
        admission: judges each.
        keeps_order: whether nothing of a key may pass once one of it was refused.
    """

    __slots__ = ("_admission", "_keeps_order", "_refused", "_shares")

    def __init__(self, admission: Admission, keeps_order: bool) -> None:  # noqa: FBT001 - a fact about the stream
        self._admission = admission
        self._keeps_order = keeps_order
        self._shares: dict[Lane, Share] = {}
        self._refused: dict[str, Refusal] = {}

    def refusal(self, record: Record, key_queue: KeyQueue | None, lane: Lane, now_ns: int) -> Refusal | None:
        """Return why the call's next record is not taken; None if it is, and will be queued."""
        if self._refused:
            refusal = self._refused.get(record.partition_key)
            if refusal is not None:
                return refusal
        share = self._shares.get(lane)
        if share is None:
            share = self._shares[lane] = Share(lane)
        refusal = self._admission.refusal(record, key_queue, lane, now_ns, share)
        if refusal is not None and self._keeps_order:
            self._refused[record.partition_key] = refusal
        return refusal


def _transfer_ns(lane: Lane, records: int, size_bytes: int) -> int:
    """Return how long a shard takes for so much at its present rate; nothing where it is unlimited."""
    limit = lane.limit
    records_rate, bytes_rate = limit.records.rate_per_second, limit.bytes.rate_per_second
    by_records_ns = int(records * SECOND_NS / records_rate) if records_rate else 0
    by_bytes_ns = int(size_bytes * SECOND_NS / bytes_rate) if bytes_rate else 0
    return max(by_records_ns, by_bytes_ns)
