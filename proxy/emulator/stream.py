"""One stream: its life, and what becomes of the records put into it.

    CREATING ──delay──> ACTIVE ──reshard──> UPDATING ──delay──> ACTIVE
                           └──delete──> DELETING ──delay──> GONE

A change that takes time is kept, and made by the first call after its time has come; until then the stream is as it
was: a resharding stream goes on taking records into the old shards. Without a delay a change is made at once. A change
of the record limit, or of the mode, makes a stream UPDATING as resharding does.

Must never know: other streams, wire formats, who calls.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from typing import TYPE_CHECKING

from proxy.emulator.clock import MS_PER_HOUR, NS_PER_MS
from proxy.emulator.put_result import PutResult
from proxy.emulator.record_log import StoredRecord
from proxy.emulator.topology import Topology
from proxy.kinesis import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.emulator.clock import Now
    from proxy.emulator.counters import PutCounters
    from proxy.emulator.put_result import Entry
    from proxy.emulator.retention import Retention
    from proxy.emulator.settings import EmulatorSettings, StreamSpec
    from proxy.emulator.shard import Shard

    # Asked for each record that a shard would take; a result is returned instead of writing the record.
    Refuse = Callable[[Shard], PutResult | None]

THROUGHPUT_EXCEEDED = errors.ProvisionedThroughputExceededException.code


class Status(StrEnum):
    """What DescribeStream calls StreamStatus; GONE is never told."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    UPDATING = "UPDATING"
    DELETING = "DELETING"
    GONE = "GONE"


class Stream:
    """One stream.

    Args:
        spec: what CreateStream asked for.
        settings: limits, delays, account and region.
        retention: keeps the records of all streams.
        counters: of all streams.
        now: the moment of creation.
    """

    def __init__(
        self, spec: StreamSpec, settings: EmulatorSettings, retention: Retention, counters: PutCounters, now: Now
    ) -> None:
        self.name = spec.name
        self.arn = f"arn:aws:kinesis:{settings.region}:{settings.account_id}:stream/{spec.name}"
        self.on_demand = spec.on_demand
        self.record_bytes_max = spec.record_bytes_max
        self.auto_distribution = spec.auto_distribution
        self.created_at_ms = now.wall_ms
        self.topology = Topology(settings)
        self._settings = settings
        self._retention = retention
        self._counters = counters
        self._first_shard_count = spec.shard_count
        self._turn = 0
        self._status = Status.CREATING
        self._change: Callable[[Now], None] | None = None
        self._change_at_ns = 0
        self._status_after = Status.ACTIVE
        self._begin(Status.CREATING, lambda now: self.topology.create(spec.shard_count, now), now)

    # ---- life

    def status(self, now: Now) -> Status:
        """Make the change whose time has come, if there is one, and return the status."""
        if self._change is not None and now.ns >= self._change_at_ns:
            change, self._change = self._change, None
            change(now)
            self._status = self._status_after
        return self._status

    def delete(self, now: Now) -> None:
        """Begin to go, with all records when the delay is over; a change under way is given up."""
        self._begin(Status.DELETING, self._delete, now, Status.GONE)

    def split(self, shard: Shard, new_starting_hash_key: int, now: Now) -> None:
        """Begin to split an open shard; the upper child starts with the hash key. The stream must be ACTIVE."""
        self._begin(Status.UPDATING, lambda now: self.topology.split(shard, new_starting_hash_key, now), now)

    def merge(self, lower: Shard, upper: Shard, now: Now) -> None:
        """Begin to merge two open shards whose ranges adjoin. The stream must be ACTIVE."""
        self._begin(Status.UPDATING, lambda now: self.topology.merge(lower, upper, now), now)

    def rescale(self, shard_count: int, now: Now) -> None:
        """Begin to split and merge until the stream has so many equal shards. It must be ACTIVE."""
        self._begin(Status.UPDATING, lambda now: self.topology.rescale(shard_count, now), now)

    def change_record_limit(self, record_bytes_max: int, now: Now) -> None:
        """Begin to take larger records, or only smaller ones. The stream must be ACTIVE."""

        def change(_now: Now) -> None:
            self.record_bytes_max = record_bytes_max

        self._begin(Status.UPDATING, change, now)

    def change_mode(self, *, on_demand: bool, now: Now) -> None:
        """Begin to be on demand, or provisioned. The stream must be ACTIVE."""

        def change(_now: Now) -> None:
            self.on_demand = on_demand

        self._begin(Status.UPDATING, change, now)

    def open_shard_count(self, now: Now) -> int:
        """Return how many shards are open, or will be once the stream is made."""
        creating = self.status(now) is Status.CREATING
        return self._first_shard_count if creating else len(self.topology.open_shards)

    def trim_horizon_ms(self, now: Now) -> int:
        """Return the moment from which on records are kept: the stream's creation, or the limit of their age."""
        return max(self.created_at_ms, now.wall_ms - self._settings.retention_hours * MS_PER_HOUR)

    def _begin(
        self, status: Status, change: Callable[[Now], None], now: Now, status_after: Status = Status.ACTIVE
    ) -> None:
        self._retention.enforce(now.wall_ms)
        self.topology.forget_closed(self.trim_horizon_ms(now))
        self._status = status
        self._status_after = status_after
        self._change = change
        self._change_at_ns = now.ns + self._settings.create_delay_ms * NS_PER_MS
        self.status(now)

    def _delete(self, _now: Now) -> None:
        self._retention.drop({shard.log for shard in self.topology.clear()})

    # ---- puts

    def put(self, entries: Sequence[Entry], now: Now, refuse: Refuse | None = None) -> list[PutResult]:
        """Write what the shards take, and return one result for each record, in order.

        Args:
            entries: already checked by `proxy.emulator.writing`.
            now: the moment of arrival.
            refuse: injects an error into records that would be written.
        """
        starts = self.topology.starts
        shards = self.topology.open_shards
        keep = self._retention.keep
        counters = self._counters
        now_ns, wall_ms = now
        results: list[PutResult] = []
        for entry in entries:
            size_bytes = entry.size_bytes
            if self.auto_distribution:
                shard, taken = self._spread(size_bytes, now_ns)
            else:
                shard = shards[bisect_right(starts, entry.hash_key) - 1]
                taken = shard.limit.take(size_bytes, now_ns)
            if not taken:
                counters.throttled_records += 1
                results.append(self._throttled(shard))
            elif refuse is not None and (refusal := refuse(shard)) is not None:
                counters.faulted_records += 1
                results.append(refusal)
            else:
                ordinal = keep(shard.log, StoredRecord(entry.data, entry.partition_key, size_bytes, wall_ms))
                shard.accepted_bytes += size_bytes
                counters.accepted_records += 1
                counters.accepted_bytes += size_bytes
                results.append(PutResult(shard.shard_id, shard.sequence_number_of(ordinal, wall_ms)))
        self._retention.enforce(wall_ms)
        return results

    def _throttled(self, shard: Shard) -> PutResult:
        shard.throttled_records += 1
        text = errors.shard_rate_exceeded(shard.shard_id, self.name, self._settings.account_id)
        return PutResult(error_code=THROUGHPUT_EXCEEDED, error_message=text)

    def _spread(self, size_bytes: int, now_ns: int) -> tuple[Shard, bool]:
        """Find the next open shard in turn that takes a record, or the one whose turn it is."""
        shards = self.topology.open_shards
        turn = self._turn = (self._turn + 1) % len(shards)
        for offset in range(len(shards)):
            shard = shards[(turn + offset) % len(shards)]
            if shard.limit.take(size_bytes, now_ns):
                return shard, True
        return shards[turn], False
