"""The proof of order and outcome: many producers through a real proxy, everything read back from behind it.

It runs a load through the proxy, watches the proxy's books while it runs, reads the whole stream back from the
upstream itself and holds the two against each other.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.kinesis_client import KinesisClient
from tests.support.producers import Ledger
from tests.support.readback import Verdict, read_stream, verify
from tests.support.workload import Load, create_stream, produce, split_and_merge, when

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.processes import Metrics, Service

BOOKS_INTERVAL_SECONDS = 0.5
THROTTLED = "ProvisionedThroughputExceededException"


@dataclass(frozen=True, slots=True)
class Books:
    """The proxy's own account of its records at one moment.

    Args:
        received: accepted into the queue.
        acknowledged: taken by the upstream, so the proxy told its callers.
        refused: refused by the upstream.
        expired: given up by the proxy.
        queued: waiting.
        in_flight: sent and unanswered.
        rejected: answered with an error without being accepted.
        requests: put requests upstream.
        attempts: their entries.
        throttled: entries that the upstream throttled.
        unknown_outcomes: entries sent again although they may have been written.
        regressions: sequence numbers that were not above the one before of their key.
    """

    received: int
    acknowledged: int
    refused: int
    expired: int
    queued: int
    in_flight: int
    rejected: int
    requests: int
    attempts: int
    throttled: int
    unknown_outcomes: int
    regressions: int

    @classmethod
    def of(cls, metrics: Metrics) -> Books:
        """Read them from one scrape."""

        def total(name: str, **labels: str) -> int:
            return int(metrics.total(f"kinesis_proxy_{name}", **labels))

        return cls(
            received=total("received_records_total"),
            acknowledged=total("delivered_records_total"),
            refused=total("failed_records_total", reason="refused"),
            expired=total("failed_records_total", reason="expired"),
            queued=total("buffer_records", state="queued"),
            in_flight=total("buffer_records", state="in_flight"),
            rejected=total("rejected_records_total"),
            requests=total("batch_records_count"),
            attempts=total("batch_records_sum"),
            throttled=total("record_errors_total", error_code=THROTTLED),
            unknown_outcomes=total("unknown_outcome_records_total"),
            regressions=total("sequence_regressions_total"),
        )

    @property
    def balance(self) -> int:
        """Records that the account does not explain; 0 at any moment."""
        explained = self.acknowledged + self.refused + self.expired + self.queued + self.in_flight
        return self.received - explained


@dataclass(frozen=True, slots=True)
class Proof:
    """One run: what was found, and what it cost.

    Args:
        ledger: what the producers sent and were told.
        verdict: what was found in the stream.
        books: the proxy's account, at moments of the run and, last, after it.
        seconds: how long the producers took.
        cpu_seconds: CPU time of the proxy meanwhile.
    """

    ledger: Ledger
    verdict: Verdict
    books: list[Books]
    seconds: float
    cpu_seconds: float

    @property
    def throttled_share(self) -> float:
        """Share of the records sent upstream that the upstream throttled."""
        return self.books[-1].throttled / self.books[-1].attempts

    @property
    def records_per_request(self) -> float:
        """Mean number of records in an upstream request."""
        return self.books[-1].attempts / self.books[-1].requests

    @property
    def goodput(self) -> float:
        """Acknowledged records a second, from the first call to the last answer."""
        return self.verdict.acknowledged / self.seconds

    def check(self, *, lost_answers: bool) -> None:
        """Hold the run against the promises.

        Args:
            lost_answers: whether the upstream's answers could be lost, so that a retry could write twice.

        Raises:
            AssertionError: a promise was broken.
        """
        verdict, last = self.verdict, self.books[-1]
        assert not verdict.problems, f"{verdict.problems}\n" + "\n".join(verdict.examples)
        assert verdict.late_duplicates == 0, "one record of a key at a time is in flight"
        unbalanced = [books for books in self.books if books.balance]
        assert not unbalanced, f"received = acknowledged + refused + expired + queued + in flight: {unbalanced[0]}"
        assert (last.queued, last.in_flight) == (0, 0), "every record has its outcome"
        assert last.acknowledged == verdict.acknowledged, "an acknowledgement of the books is one of a producer"
        assert last.received + last.rejected == self.ledger.sent(), "every sending is in the books"
        assert last.regressions == 0, "sequence numbers of a key increase"
        if not lost_answers:
            assert (verdict.duplicates, verdict.unacknowledged) == (0, 0), "without a lost answer nothing is repeated"
        assert verdict.duplicates + verdict.unacknowledged <= last.unknown_outcomes + last.expired


async def prove(
    proxy: Service, upstream_url: str, stream_name: str, load: Load, *, shards: int, reshard: bool
) -> Proof:
    """Make a stream, load it through the proxy, and read it back from the upstream.

    Args:
        proxy: in front of the upstream.
        upstream_url: where the stream is made, resharded and read, past the proxy.
        stream_name: of the new stream.
        load: what the producers send.
        shards: of the new stream.
        reshard: split and merge shards when a third of the records is out.
    """
    ledger = Ledger()
    async with KinesisClient(upstream_url) as upstream:
        await create_stream(upstream, stream_name, shards)
        started_at, cpu_before = time.monotonic(), proxy.cpu_seconds()
        async with books_watched(proxy) as books, asyncio.TaskGroup() as tasks:
            tasks.create_task(produce(proxy.url, stream_name, load, ledger))
            if reshard:
                await when(lambda: ledger.sent() >= load.records // 3)
                await split_and_merge(upstream, stream_name)
        seconds, cpu_seconds = time.monotonic() - started_at, proxy.cpu_seconds() - cpu_before
        verdict = verify(ledger, await read_stream(upstream, stream_name))
    return Proof(ledger, verdict, books, seconds, cpu_seconds)


@asynccontextmanager
async def books_watched(proxy: Service) -> AsyncIterator[list[Books]]:
    """Note the proxy's books again and again while the block runs, and once after it."""
    books: list[Books] = []

    async def note() -> None:
        books.append(Books.of(await asyncio.to_thread(proxy.metrics)))

    async def watch() -> None:
        while True:
            await note()
            await asyncio.sleep(BOOKS_INTERVAL_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        yield books
        watching.cancel()
    await note()
