"""The limits that the core obeys: one immutable object, checked where it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.core.rate_control import AdaptiveRate

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.rate_control import RateControl

from proxy.core.ordering import Ordering

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000
KIB: Final = 1024
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How one stream's records are batched, paced, retried and given up.

    Args:
        batch_records_max: records in one request; the service takes 500.
        batch_bytes_max: data and partition keys in one request; a single larger record still goes, alone.
        shard_slice_bytes_max: bytes of one shard in one request, so that no shard is burst (KPL: 256 KiB).
        in_flight_max: requests of the stream in flight at once.
        linger_ns: longest wait for company while a request of the stream is in flight.
        delivery_timeout_ns: a record's life in the proxy; one in flight then lives on until its request ends.
        backoff_base_ns: bound of the first wait after trouble; doubles with each failure in a row.
        backoff_max_ns: bound of every wait.
        shard_records_per_second: what the proxy sends one shard at the most; 0 is unlimited.
        shard_bytes_per_second: data and partition keys; 0 is unlimited.
        shard_burst_ns: how much unused rate a shard's buckets keep, as time; at least the linger.
        rate_control: makes the law by which a lane finds its share of its shard, given the present.
        fetch_backoff_base_ns: bound of the first wait after the shard map or the summary could not be fetched.
        fetch_backoff_max_ns: bound of every such wait.
        fetch_age_min_ns: a map younger than this is not fetched again.
        summary_age_max_ns: a summary older than this is fetched again while its stream is used: most of what it says
            can change without a sign in any answer.
        summary_age_refusing_ns: the same where a caller is refused by what it says.
        ordering: what is promised about the records of one partition key.
        admission_wait_ns: a record that would wait longer for its turn, at the present rate, is not taken.
        stream_buffer_ratio: share of the whole buffer that one stream may hold.
        unused_ns: how long a stream is known after it was used.
        response_grace_ns: how long a request may outlive the last deadline of its records.
    """

    batch_records_max: int = 500
    batch_bytes_max: int = 5 * MIB - 64 * KIB  # real refusals were reported just under a computed 5 MiB
    shard_slice_bytes_max: int = 256 * KIB
    in_flight_max: int = 8
    linger_ns: int = 2 * MILLISECOND_NS
    delivery_timeout_ns: int = 2500 * MILLISECOND_NS
    backoff_base_ns: int = 50 * MILLISECOND_NS
    backoff_max_ns: int = 1000 * MILLISECOND_NS
    shard_records_per_second: int = 1000
    shard_bytes_per_second: int = MIB
    shard_burst_ns: int = 100 * MILLISECOND_NS
    rate_control: Callable[[int], RateControl] = AdaptiveRate
    fetch_backoff_base_ns: int = SECOND_NS
    fetch_backoff_max_ns: int = 60 * SECOND_NS
    fetch_age_min_ns: int = SECOND_NS
    summary_age_max_ns: int = 60 * SECOND_NS
    summary_age_refusing_ns: int = 5 * SECOND_NS
    ordering: Ordering = Ordering.STRICT
    admission_wait_ns: int = 1000 * MILLISECOND_NS
    stream_buffer_ratio: float = 0.8
    unused_ns: int = 3600 * SECOND_NS
    response_grace_ns: int = 100 * MILLISECOND_NS

    def __post_init__(self) -> None:
        """Refuse limits that contradict each other."""
        positive = ("batch_records_max", "batch_bytes_max", "shard_slice_bytes_max", "in_flight_max")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.shard_burst_ns < max(self.linger_ns, MILLISECOND_NS):
            raise ValueError("shard_burst_ns must be at least linger_ns and at least 1 ms")
