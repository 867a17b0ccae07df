"""Runs a fleet: the emulator, proxies in front of it, clients in front of these, and a reader behind.

Theory of operation: this process holds no load. It starts the others, leads them through the stretches, keeps their
books, follows the stream and hands what is read, and what the clients were told, to the verifier as it comes.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from array import array
from collections import Counter, defaultdict
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from tests.support.fleet_books import ProxyBooks, Sample, put_faults
from tests.support.fleet_generator import LINE_BYTES_MAX, Load, News, Summary
from tests.support.fleet_plan import FleetOptions, Stretch, clients_of
from tests.support.fleet_reader import StreamReader
from tests.support.fleet_verifier import FleetVerifier
from tests.support.kinesis_client import KinesisClient
from tests.support.processes import ProcessError, Service, cpu_seconds_of, emulate, serve
from tests.support.workload import split_and_merge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.fleet_client import CallMade
    from tests.support.fleet_plan import ClientSpec
    from tests.support.processes import Setting
    from tests.support.readback import Verdict

STREAM_NAME = "fleet"
BOOKS_SECONDS = 2.0
PROGRESS_SECONDS = 15.0
# Beyond twice the run: to start everything, to let the last calls end, and to read what is left. On a busy machine the
# stretches last longer, for each waits until everyone has been looked at.
EXTRA_SECONDS = 240.0
DRAIN_SECONDS = 30.0
POLL_SECONDS = 0.2
# So far may the reader fall behind on a busy machine: minutes, at what four shards take.
RETENTION: dict[str, Setting] = {"retain_records_max": 600_000, "retain_bytes_max": 256 * 1024 * 1024}


@dataclass(slots=True)
class Calls:
    """The calls that were sent in one stretch, by whether they were a PutRecord and by their outcome.

    Args:
        seconds: how long each took.
        records: how many records they carried in all.
    """

    seconds: dict[tuple[bool, str], array[float]] = field(default_factory=lambda: defaultdict(lambda: array("f")))
    records: int = 0


@dataclass(frozen=True, slots=True)
class Passed:
    """A stretch that is over.

    Args:
        stretch: what was to happen.
        before: the accounts at its beginning.
        after: the accounts at its end.
        calls: that were sent between.
        generator_cpu_seconds: used by the clients meanwhile.
    """

    stretch: Stretch
    before: Sample
    after: Sample
    calls: Calls
    generator_cpu_seconds: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.after.at - self.before.at


@dataclass(slots=True)
class FleetRun:
    """What a run gave.

    Args:
        options: of the run.
        clients: that sent.
        passed: the stretches.
        samples: the accounts again and again, the last after everything ended.
        summaries: of the clients' processes.
        late: by how many seconds the clients' turns came late, by their process's own fault.
        verdict: of what was read.
        overtaken: records that came behind younger ones of their key and whose clients were told that they failed.
        records_read: from the stream.
        held_most: the most records that the verifier held at a sample.
        own_cpu_seconds: of this process, reader and verifier above all.
        unread_shards: shards of the stream that were not read.
    """

    options: FleetOptions
    clients: list[ClientSpec]
    passed: list[Passed]
    samples: list[Sample]
    summaries: list[Summary]
    late: array[float]
    verdict: Verdict
    overtaken: int
    records_read: int
    held_most: int
    own_cpu_seconds: float
    unread_shards: list[str]


class Generator:
    """A process of clients; an asynchronous context manager that ends it.

    Args:
        load: what it is to send.
        on_news: called with what happened, as it comes.
    """

    def __init__(self, load: Load, on_news: Callable[[News], None]) -> None:
        self.summary: Summary | None = None
        self._load = load
        self._on_news = on_news
        self._process: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Generator]:
        """Start the process and connect its clients; end it with the block."""
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.fleet_generator",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        try:
            self._order(msgspec.json.encode(self._load))
            await self._next()
            yield self
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    @property
    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        assert self._process is not None
        return cpu_seconds_of(self._process.pid) if self._process.returncode is None else 0.0

    def start(self) -> None:
        """Let the clients send."""
        self._order(b"start")

    def stop(self) -> None:
        """Let the calls that are out end, and send no more."""
        self._order(b"stop")

    async def listen(self) -> None:
        """Hand on the news until the summary comes."""
        while self.summary is None:
            document = await self._next()
            if isinstance(document, Summary):
                self.summary = document
            else:
                self._on_news(document)

    def _order(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")

    async def _next(self) -> News | Summary:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise ProcessError("the clients' process ended early; standard error says why")
        return msgspec.json.decode(line, type=News | Summary)


class Fleet:
    """One run in progress.

    Args:
        options: of the run.
        say: prints a line of progress.
    """

    def __init__(self, options: FleetOptions, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._clients = clients_of(options)
        self._verifier = FleetVerifier(options.data_bytes)
        self._samples: list[Sample] = []
        self._calls: list[tuple[float, Calls]] = []
        self._late = array("f")
        self._totals: Counter[str] = Counter()
        self._held_most = 0
        self._looking = asyncio.Lock()
        self._proxies: list[Service] = []
        self._emulator: Service | None = None
        self._generators: list[Generator] = []

    async def run(self, between: Callable[[str], AbstractAsyncContextManager[str]] | None = None) -> FleetRun:
        """Run from the start of the processes to their end.

        Args:
            between: takes the emulator's URL and stands between it and the proxies, under the URL that it yields.

        Raises:
            TimeoutError: it did not end by itself; every process is ended all the same.
        """
        async with asyncio.timeout(2 * self._options.seconds + EXTRA_SECONDS):
            async with AsyncExitStack() as stack:
                processes = stack.enter_context(ExitStack())
                emulator = self._emulator = emulate(stream=[f"{STREAM_NAME}:{self._options.shards}"], **RETENTION)
                processes.push(emulator)
                await asyncio.to_thread(emulator.__enter__)
                url = await stack.enter_async_context(between(emulator.url)) if between else emulator.url
                # One after the other: together they would start slowly, and might choose the same port.
                for _ in range(self._options.proxies):
                    proxy = serve(url, **self._options.settings)
                    processes.push(proxy)
                    self._proxies.append(await asyncio.to_thread(proxy.__enter__))
                # The first to be called on the way out: they end together, not one after the other.
                processes.callback(self._end_proxies)
                client = await stack.enter_async_context(KinesisClient(emulator.url))
                for load in self._loads():
                    generator = Generator(load, self._take)
                    self._generators.append(await stack.enter_async_context(generator.running()))
                return await self._lead(client)

    def _end_proxies(self) -> None:
        for proxy in self._proxies:
            proxy.send_signal(signal.SIGTERM)

    def _loads(self) -> list[Load]:
        options = self._options
        ports = [proxy.port for proxy in self._proxies]
        shares = [self._clients[number :: options.generators] for number in range(options.generators)]
        return [Load(STREAM_NAME, ports, share, options.data_bytes, options.seed) for share in shares]

    def _take(self, news: News) -> None:
        for ack in news.acks:
            self._verifier.acknowledged(*ack)
        for call in news.calls:
            self._enter(call)
        self._late.extend(news.late)

    def _enter(self, call: CallMade) -> None:
        self._totals[call.outcome] += 1
        self._totals["records"] += call.records
        for started_at, calls in reversed(self._calls):
            if call.sent_at >= started_at:
                calls.seconds[call.single, call.outcome].append(call.seconds)
                calls.records += call.records
                break

    async def _lead(self, client: KinesisClient) -> FleetRun:
        reader = StreamReader(client, STREAM_NAME, self._verifier.read)
        started_at, cpu_before = time.monotonic(), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reader.run())
            listening = [tasks.create_task(generator.listen()) for generator in self._generators]
            watching = tasks.create_task(self._watch())
            progress = tasks.create_task(self._report_progress(started_at))
            await asyncio.sleep(0)
            for generator in self._generators:
                generator.start()
            passed: list[Passed] = []
            before = await self._sample()
            for stretch, seconds in zip(self._options.stretches, self._options.lengths(), strict=True):
                passed.append(await self._pass(client, stretch, seconds, before))
                before = passed[-1].after
            for generator in self._generators:
                generator.stop()
            await asyncio.wait(listening)
            watching.cancel()
            progress.cancel()
            # The last accounts are of proxies at rest, so that everything received has its outcome.
            await self._at_rest()
            reader.finish()
        sent = {
            spec.partition_key(index): count
            for summary in self._summaries()
            for spec in self._clients
            for index, count in enumerate(summary.ordinals.get(spec.number, ()))
        }
        return FleetRun(
            self._options,
            self._clients,
            passed,
            self._samples,
            self._summaries(),
            self._late,
            self._verifier.finish(sent),
            self._verifier.overtaken,
            reader.records,
            self._held_most,
            time.process_time() - cpu_before,
            sorted(self._samples[-1].stream.shard_ids - reader.shard_ids),
        )

    async def _pass(self, client: KinesisClient, stretch: Stretch, seconds: float, before: Sample) -> Passed:
        assert self._emulator is not None
        ends_at = time.monotonic() + seconds
        await asyncio.to_thread(put_faults, self._emulator, stretch.faults)
        cpu_before = self._generator_cpu_seconds()
        calls = Calls()
        self._calls.append((before.at, calls))
        self._say(f"-- {stretch.name}, for {seconds:.0f} s")
        if stretch.reshards:
            await split_and_merge(client, STREAM_NAME)
        await asyncio.sleep(ends_at - time.monotonic())
        return Passed(stretch, before, await self._sample(), calls, self._generator_cpu_seconds() - cpu_before)

    async def _watch(self) -> None:
        while True:
            await self._sample()
            await asyncio.sleep(BOOKS_SECONDS)

    async def _sample(self) -> Sample:
        assert self._emulator is not None
        async with self._looking:
            sample = await asyncio.to_thread(Sample.of, self._proxies, self._emulator)
        self._samples.append(sample)
        self._held_most = max(self._held_most, self._verifier.held)
        return sample

    async def _at_rest(self) -> None:
        give_up_at = time.monotonic() + DRAIN_SECONDS
        while (await self._sample()).total(_held) and time.monotonic() < give_up_at:  # noqa: ASYNC110 - proxies tell nobody
            await asyncio.sleep(POLL_SECONDS)

    async def _report_progress(self, started_at: float) -> None:
        before, totals = await self._sample(), self._totals.copy()
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            after = await self._sample()
            seconds = after.at - before.at
            accepted = after.stream.accepted - before.stream.accepted
            attempts = after.total(_attempts) - before.total(_attempts)
            throttled = after.total(_throttled) - before.total(_throttled)
            offered = self._totals["records"] - totals["records"]
            verdict = self._verifier.verdict
            self._say(
                f"{after.at - started_at:5.0f} s: sent {offered / seconds:,.0f}/s, written {accepted / seconds:,.0f}/s"
                f" on {after.stream.open_shards} shards, throttled {throttled / max(1, attempts):.1%},"
                f" {after.total(_held):,} held by the proxies, {self._verifier.held:,} by the verifier,"
                f" {verdict.duplicates} duplicates, problems {verdict.problems or 'none'}"
            )
            before, totals = after, self._totals.copy()

    def _generator_cpu_seconds(self) -> float:
        return sum(generator.cpu_seconds for generator in self._generators)

    def _summaries(self) -> list[Summary]:
        return [generator.summary for generator in self._generators if generator.summary is not None]


def _held(books: ProxyBooks) -> int:
    return books.held


def _attempts(books: ProxyBooks) -> int:
    return books.attempts


def _throttled(books: ProxyBooks) -> int:
    return books.throttled
