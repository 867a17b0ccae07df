"""The asyncio shell around the core: moves batches between streams and upstream. It decides nothing.

Theory of operation: whoever tells a stream something (an append, a reply, a map) touches it; touched streams are
advanced together, once an iteration of the event loop, so that all that arrived in one go travels together. To advance
a stream is to poll it, start a task for each batch, tell callers their outcomes, and note when it wants to be polled
again. One timer serves all streams. There is one task for each batch in flight and each map being fetched, and none,
nor any lock or timer, for a record.
"""

from __future__ import annotations

import asyncio
from functools import partial
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from proxy.core import verdicts
from proxy.core.batch import Failure, Written
from proxy.core.directory import Directory, account_of, region_of
from proxy.core.hashing import shown_hash_key
from proxy.core.limits import MILLISECOND_NS, SECOND_NS
from proxy.core.record import tell_outcomes
from proxy.core.verdicts import Scope
from proxy.kinesis.errors import stream_not_found
from proxy.log import Occasional
from proxy.metrics.labels import OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from proxy.core.admission import HeldBack
    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.buffer import Buffer
    from proxy.core.counters import StreamCounters
    from proxy.core.limits import StreamLimits
    from proxy.core.record import Record
    from proxy.core.shard_map import Shard, StreamSummary
    from proxy.core.stream import Stream
    from proxy.ports import Upstream

T = TypeVar("T")

log = structlog.get_logger(__name__)

# What a record is told, and what a request: it can be about a map, or have no records any more.
ABANDONED = "The proxy shut down before the record was delivered."
CUT_OFF = "The proxy shut down before an answer came."
REPEATED_EVENT_INTERVAL_NS = 10 * SECOND_NS
HOT_KEYS_TOLD = 3
WAKES_SPARE = 64  # entries of the heap that count no more, beside as many as count: then it is made anew


class Driver:
    """All streams of the proxy, and what keeps them moving.

    Args:
        upstream: where batches go.
        limits_of: the limits of a stream, by its name.
        buffer: the bound that all streams share.
        streams_max: streams known at once; idle ones are forgotten for new ones.
        clock: monotonic ns, moving with the event loop's time.
        random: uniform in [0, 1), for jitter.
        label_of: what the counts of a forgotten stream are kept under, by its name; few of them, for all streams.

    Use it from one event loop only.
    """

    def __init__(  # noqa: PLR0913 - the one place where the parts of the core meet the shell's
        self,
        upstream: Upstream,
        limits_of: Callable[[str], StreamLimits],
        buffer: Buffer,
        streams_max: int,
        clock: Callable[[], int],
        random: Callable[[], float],
        *,
        label_of: Callable[[str], str] = lambda _: OTHER,
    ) -> None:
        self.buffer = buffer
        self._directory = Directory(limits_of, buffer, streams_max, random, label_of)
        self._upstream = upstream
        self._clock = clock
        self._occasional = Occasional(REPEATED_EVENT_INTERVAL_NS)
        self._touched: dict[Stream, None] = {}
        self._pump_is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ns: int | None = None
        self._wakes: list[tuple[int, int, Stream]] = []
        self._wake_at_ns: dict[Stream, int] = {}  # of each stream the earliest instant in `_wakes` that counts
        self._ordinal = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order: what is cancelled together also ends in order
        self._closing = False
        self._drained = asyncio.Event()

    @property
    def streams(self) -> Mapping[str, Stream]:
        """The streams that are known, by name, or by ARN where that is another account's."""
        return self._directory.streams

    @property
    def forgotten(self) -> Mapping[str, StreamCounters]:
        """The counts of streams that are no longer known, by label."""
        return self._directory.forgotten

    # What the frontend asks

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Queue the records of one call in their order, as far as there is room for them.

        Returns:
            How many were rejected: their state is REJECTED. Each of the others gets exactly one `on_outcome` call,
            never from inside here.
        """
        if self._closing:
            return _reject_all(records, verdicts.INTERNAL_FAILURE, "The proxy is shutting down.")
        if stream_arn is not None and region_of(stream_arn) != self._upstream.region:
            error = stream_not_found(stream_name, account_of(stream_arn))
            return _reject_all(records, error.code, error.message)
        now_ns = self._clock()
        stream = self._directory.find_or_make(stream_name, stream_arn, now_ns)
        if stream is None:
            text = f"The proxy already serves {self._directory.streams_max} streams, its limit (streams_max)."
            return _reject_all(records, verdicts.THROUGHPUT_EXCEEDED, text)
        rejected = stream.append(records, now_ns)
        self._touch(stream)
        return rejected

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Take out those records of a call that wait, because nobody waits for them any more.

        What is in flight is left to its fate. Each record gets its `on_outcome` call as ever.
        """
        stream = self._directory.find(stream_name, stream_arn)
        if stream is not None:
            stream.withdraw(records)
            self._touch(stream)

    def summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | None:
        """Return what DescribeStreamSummary said of a stream, if that is known yet."""
        stream = self._directory.find(stream_name, stream_arn)
        return None if stream is None else stream.summary

    def learn_about(self, stream_name: str, stream_arn: str | None) -> None:
        """Have the summary of a stream fetched, although nothing is queued, unless it is known since a moment ago."""
        if self._closing:
            return
        now_ns = self._clock()
        stream = self._directory.find_or_make(stream_name, stream_arn, now_ns)
        if stream is not None:
            stream.want_summary(now_ns)
            self._touch(stream)

    @property
    def in_flight_requests(self) -> int:
        """Put requests sent and unanswered, over all streams."""
        return sum(stream.in_flight_requests for stream in self.streams.values())

    def oldest_record_age_ns(self) -> int:
        """Return how long the oldest record without an outcome has been here; 0 if there is none."""
        instants = [stream.oldest_received_at_ns() for stream in self.streams.values()]
        oldest = min((instant for instant in instants if instant is not None), default=None)
        return 0 if oldest is None else self._clock() - oldest

    # Shutting down

    async def drain(self, timeout_ns: int) -> int:
        """Take no more records, wait until all have an outcome, and give up the rest when the time is over.

        Returns:
            How many records expired meanwhile: of them the stream may lack some. Every record has its outcome when
            this returns.
        """
        self._closing = True
        streams = list(self.streams.values())
        expired_before = sum(stream.counters.expired_records for stream in streams)
        for stream in streams:
            stream.close()
            self._touch(stream)
        self._pump()
        try:
            async with asyncio.timeout(timeout_ns / SECOND_NS):
                await self._drained.wait()
        except TimeoutError:
            for stream in streams:
                stream.abandon(ABANDONED)
                self._touch(stream)
            await self._end_tasks()
            self._pump()
        return sum(stream.counters.expired_records for stream in streams) - expired_before

    async def close(self) -> None:
        """End every task; to be called after `drain`."""
        self._closing = True
        await self._end_tasks()
        if self._timer is not None:
            self._timer.cancel()

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Moving

    def _touch(self, stream: Stream) -> None:
        self._touched[stream] = None
        if not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Advance every stream that something happened to, or whose time has come."""
        self._pump_is_due = False
        now_ns = self._clock()
        while self._wakes and self._wakes[0][0] <= now_ns:
            wake_at_ns, _, stream = heappop(self._wakes)
            if self._wake_at_ns.get(stream) == wake_at_ns:
                del self._wake_at_ns[stream]
                self._touched[stream] = None
        touched, self._touched = self._touched, {}
        for stream in touched:
            try:
                self._advance(stream, now_ns)
            except Exception as error:  # noqa: BLE001 - it must not stop the other streams
                self._report_defect("stream_defect", stream, error, now_ns)
        self._directory.forget_unused(now_ns)
        self._set_timer()
        if self._closing and not any(stream.open_records for stream in self.streams.values()):
            self._drained.set()

    def _advance(self, stream: Stream, now_ns: int) -> None:
        for batch in stream.poll(now_ns):
            put = self._spawn(self._upstream.put(batch))
            put.add_done_callback(partial(self._answered, stream, batch))
        if stream.map_due(now_ns):
            shards = self._spawn(self._upstream.list_shards(stream.name, stream.arn))
            shards.add_done_callback(partial(self._map_fetched, stream))
        if stream.summary_due(now_ns):
            summary = self._spawn(self._upstream.describe_stream_summary(stream.name, stream.arn))
            summary.add_done_callback(partial(self._summary_fetched, stream))
        self._report_keys(stream, now_ns)
        settled = stream.take_settled()
        if settled:
            tell_outcomes(settled, lambda error: self._report_defect("caller_defect", stream, error, now_ns))
        wake_at_ns = stream.next_wake_ns()
        if wake_at_ns is None:
            return
        known_at_ns = self._wake_at_ns.get(stream)
        if known_at_ns is None or wake_at_ns < known_at_ns:
            self._ordinal += 1
            heappush(self._wakes, (wake_at_ns, self._ordinal, stream))
            self._wake_at_ns[stream] = wake_at_ns
            if len(self._wakes) > 2 * len(self._wake_at_ns) + WAKES_SPARE:
                self._wakes = [(at_ns, number, each) for number, (each, at_ns) in enumerate(self._wake_at_ns.items())]
                heapify(self._wakes)

    def _set_timer(self) -> None:
        wake_at_ns = self._wakes[0][0] if self._wakes else None
        if wake_at_ns == self._timer_at_ns and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at_ns = wake_at_ns
        if wake_at_ns is not None:
            # whole milliseconds, rounded up: loops count in them, and a timer that fires early would be set again
            delay_ms = max(wake_at_ns - self._clock(), 0) // MILLISECOND_NS + 1
            self._timer = asyncio.get_running_loop().call_later(delay_ms / 1000, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._pump()

    # What comes back: done-callbacks, because they run even if a task is cancelled before its first step

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    def _answered(self, stream: Stream, batch: Batch, task: asyncio.Task[PutReply]) -> None:
        """Hand the core its one answer for a batch, whatever became of the request."""
        reply = self._result_of(task, stream)
        now_ns = self._clock()
        if isinstance(reply, Failure):
            self._report("put_failed", stream, reply, now_ns)
        stream.completed(batch, reply, now_ns)
        self._touch(stream)

    def _map_fetched(self, stream: Stream, task: asyncio.Task[list[Shard] | Failure]) -> None:
        shards = self._result_of(task, stream)
        now_ns = self._clock()
        if isinstance(shards, Failure):
            self._report("shard_map_unavailable", stream, shards, now_ns)
            stream.map_failed(now_ns)
        else:
            stream.learn_map(shards, now_ns)
            log.info("shard_map_learned", stream=stream.name, open_shards=len(shards))
        self._touch(stream)

    def _summary_fetched(self, stream: Stream, task: asyncio.Task[StreamSummary | Failure]) -> None:
        summary = self._result_of(task, stream)
        now_ns = self._clock()
        if isinstance(summary, Failure):
            self._report("stream_summary_unavailable", stream, summary, now_ns)
            stream.summary_failed(now_ns)
        else:
            stream.learn_summary(summary, now_ns)
            self._directory.learn_account(stream)
        self._touch(stream)

    def _result_of(self, task: asyncio.Task[T], stream: Stream) -> T | Failure:
        """Return a task's result, or the failure that its end amounts to: a defect costs a retry, never a record."""
        if task.cancelled():
            return Failure(verdicts.SHUTTING_DOWN, CUT_OFF, Written.UNKNOWN)
        error = task.exception()
        if error is None:
            return task.result()
        self._report_defect("upstream_defect", stream, error, self._clock())
        return Failure(verdicts.MALFORMED_RESPONSE, "The proxy met a defect of its own.", Written.UNKNOWN)

    def _report(self, event: str, stream: Stream, failure: Failure, now_ns: int) -> None:
        """Log a failure, the first of its kind at once and then now and again."""
        held_back = self._occasional.admit((event, stream.name, failure.code), now_ns)
        if held_back is not None:
            # about a single record the service's text can quote what its caller sent
            quotes = verdicts.verdict_of(failure.code, failure.status).scope is Scope.RECORD
            log.warning(
                event,
                stream=stream.name,
                code=failure.code,
                message=None if quotes else failure.message,
                written=failure.written.value,
                held_back=held_back,
            )

    def _report_keys(self, stream: Stream, now_ns: int) -> None:
        held_back = stream.take_held_back()
        if held_back is not None:
            self._report_held_back(stream, held_back, now_ns)
        if stream.hot_keys.has_news:
            self._report_hot_keys(stream, now_ns)

    def _report_held_back(self, stream: Stream, held_back: HeldBack, now_ns: int) -> None:
        """Tell now and then of a key whose records wait for their own order; the key itself is a caller's secret."""
        times = self._occasional.admit(("partition_key_held_back", stream.name), now_ns)
        if times is not None:
            log.warning(
                "partition_key_held_back",
                stream=stream.name,
                hash_key=shown_hash_key(held_back.record.hash_key),
                waiting=held_back.waiting,
                hint="strict order sends one record of a key a round trip; the setting ordering has looser modes",
                held_back=times,
            )

    def _report_hot_keys(self, stream: Stream, now_ns: int) -> None:
        """Tell now and then which keys meet most of a stream's throttles, if any stand out."""
        hot = stream.hot_keys.top(HOT_KEYS_TOLD, now_ns)
        held_back = self._occasional.admit(("partition_keys_hot", stream.name), now_ns) if hot else None
        if held_back is not None:
            log.warning(
                "partition_keys_hot",
                stream=stream.name,
                keys=[
                    {
                        "hash_key": shown_hash_key(key.hash_key),
                        "shard_id": stream.shard_id_of(key.hash_key),
                        "share": round(key.share, 2),
                    }
                    for key in hot
                ],
                held_back=held_back,
            )

    def _report_defect(self, event: str, stream: Stream, error: BaseException, now_ns: int) -> None:
        """Log what must not happen, as often as any other event."""
        held_back = self._occasional.admit((event, stream.name, type(error)), now_ns)
        if held_back is not None:
            log.error(event, stream=stream.name, exc_info=error, held_back=held_back)


def _reject_all(records: Sequence[Record], code: str, message: str | None) -> int:
    """Refuse a whole call at the door; return how many records that were."""
    for record in records:
        record.reject(code, message)
    return len(records)
