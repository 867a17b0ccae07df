"""What one shard may be sent: a bucket for records and one for bytes, taken together; and a second in advance.

The buckets are small, since a service that counts by the second refuses a second's worth at once that is followed by a
second at full rate. But where little was sent for a second, the rest of a second's worth may go at once, on credit: the
buckets are in debt then, and nothing else goes until that is over. So a producer that is silent most of the time does
not wait for tokens, and still no second has more than the limit and one burst.

    sent in the span before and in this one, both of a second    + this record <= a second's worth: it may go

There is no credit for a lane that uses a share of its limit, for its shard is full or was not long ago; and none until
two spans are over, for what a predecessor sent is not known.

A record larger than a second's worth draws on a reserve of bytes, as in the service.

Source: the Kinesis limits per shard; developer guide, "Handle large records".
"""

from __future__ import annotations

from typing import Final

from proxy.core.token_bucket import TokenBucket

MS_PER_SECOND: Final = 1000
SPAN_NS: Final = 1_000_000_000
RESERVE_NS: Final = 9 * SPAN_NS  # with a second's worth of 1 MiB/s: as large a burst as the service takes
_NO_LIMIT: Final = 1 << 60


class ShardLimit:
    """The limits of one shard.

    Args:
        records_per_second: 0 means unlimited.
        bytes_per_second: data and partition keys together; 0 means unlimited.
        burst_ns: how much either bucket holds, as time.
        now_ns: the present.

    The rates given are the nominal ones; `ratio` is what the buckets let flow of them. `unlimited` is set where there
    is neither limit.
    """

    __slots__ = (
        "_bytes_per_second",
        "_credit_until_bytes",
        "_credit_until_records",
        "_records_per_second",
        "_sent_bytes",
        "_sent_records",
        "_span_bytes",
        "_span_from_ns",
        "_span_records",
        "bytes",
        "ratio",
        "records",
        "unlimited",
    )

    def __init__(self, records_per_second: int, bytes_per_second: int, burst_ns: int, now_ns: int) -> None:
        self._records_per_second = records_per_second
        self._bytes_per_second = bytes_per_second
        self.ratio = 1.0
        self.unlimited = not (records_per_second or bytes_per_second)
        self.records = TokenBucket(records_per_second, burst_ns, now_ns)
        self.bytes = TokenBucket(bytes_per_second, burst_ns, now_ns, RESERVE_NS)
        self._sent_records = 0
        self._sent_bytes = 0
        self._span_from_ns = now_ns
        self._span_records = self._span_bytes = 0  # what had been sent when it began
        self._credit_until_records = self._credit_until_bytes = 0
        self._refuse_credit()

    def ready_at_ns(self, size_bytes: int) -> int:
        """Return the instant from which a record of this size may go."""
        records = self.records
        ready_at_ns = records.empty_at_ns
        if self.unlimited:
            return ready_at_ns
        if (
            self._sent_records < self._credit_until_records
            and self._sent_bytes + size_bytes <= self._credit_until_bytes
            and self.ratio == 1.0
        ):
            return self._span_from_ns
        # the records' bucket without a call: every record asks, more than once
        ready_at_ns += min(records.token_ns, records.burst_ns)
        return max(ready_at_ns, self.bytes.ready_at_ns(size_bytes))

    def take(self, size_bytes: int, now_ns: int) -> None:
        """Take the tokens of one record from both buckets."""
        if not self.unlimited:
            if now_ns - self._span_from_ns >= SPAN_NS:
                self._begin_span(now_ns)
            self._sent_records += 1
            self._sent_bytes += size_bytes
            self.records.take(1, now_ns)
            self.bytes.take(size_bytes, now_ns)

    def _begin_span(self, now_ns: int) -> None:
        self._credit_until_records, self._credit_until_bytes = self._credit_until(now_ns)
        self._span_from_ns = now_ns
        self._span_records, self._span_bytes = self._sent_records, self._sent_bytes

    def _credit_until(self, now_ns: int) -> tuple[int, int]:
        """Return what may have been sent by the end of a span that begins now.

        There is credit for what the span that is over has left of a second's worth; for all, if it was over long ago.
        """
        over_long_ago = now_ns - self._span_from_ns >= 2 * SPAN_NS
        before_records = self._sent_records if over_long_ago else self._span_records
        before_bytes = self._sent_bytes if over_long_ago else self._span_bytes
        return (
            before_records + (self._records_per_second or _NO_LIMIT),
            before_bytes + (self._bytes_per_second or _NO_LIMIT),
        )

    def allowed(self, now_ns: int) -> tuple[float, float]:
        """Return how many records and bytes may go now; negative where the shard has been sent more than its rate."""
        records, size_bytes = self.records.level(now_ns), self.bytes.level(now_ns)
        if self.ratio == 1.0 and not self.unlimited:
            until_records, until_bytes = self._credit_until_records, self._credit_until_bytes
            if now_ns - self._span_from_ns >= SPAN_NS and self.ready_at_ns(1) <= now_ns:
                # what goes first begins a span
                until_records, until_bytes = self._credit_until(now_ns)
            credit_records, credit_bytes = until_records - self._sent_records, until_bytes - self._sent_bytes
            if credit_records > 0 and credit_bytes > 0:
                return max(records, credit_records), max(size_bytes, credit_bytes)
        return records, size_bytes

    def cost_ms(self, records: int, size_bytes: int) -> float:
        """Return what records cost of the nominal limits, as time; nothing where there are none."""
        records_ms = MS_PER_SECOND * records / self._records_per_second if self._records_per_second else 0.0
        bytes_ms = MS_PER_SECOND * size_bytes / self._bytes_per_second if self._bytes_per_second else 0.0
        return max(records_ms, bytes_ms)

    def scale(self, ratio: float, now_ns: int) -> None:
        """Let so much of both nominal rates flow from now on."""
        if ratio != self.ratio:
            self.ratio = ratio
            self._change_rates(now_ns)

    def change_nominal(self, records_per_second: int, bytes_per_second: int, now_ns: int) -> None:
        """Take over other nominal rates; the ratio stays, and the credit is that of a new shard."""
        if (records_per_second, bytes_per_second) != (self._records_per_second, self._bytes_per_second):
            self._records_per_second = records_per_second
            self._bytes_per_second = bytes_per_second
            self._change_rates(now_ns)
            self._span_from_ns = now_ns
            self._refuse_credit()

    def _refuse_credit(self) -> None:
        """Take a second's worth as sent when this span began: nobody knows better."""
        self._span_records = self._sent_records - self._records_per_second
        self._span_bytes = self._sent_bytes - self._bytes_per_second
        self._credit_until_records = self._credit_until_bytes = 0

    def _change_rates(self, now_ns: int) -> None:
        self.records.change_rate(self._records_per_second * self.ratio, now_ns)
        self.bytes.change_rate(self._bytes_per_second * self.ratio, now_ns)
