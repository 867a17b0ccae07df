"""`kinesis-proxy serve`: makes the parts from settings, joins them, and takes them down in order.

producers ──> HttpServer ──> Frontend ──> Driver ──> upstream ──> Kinesis, or the embedded one
                                └──────forward──────────^
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

import proxy
from proxy.admin.health import Health
from proxy.admin.pulse import Pulse
from proxy.admin.readings import read_frontend, read_listener, read_process, read_upstream
from proxy.admin.server import AdminServer
from proxy.admin.status import describe_records, describe_streams, describe_upstream, rate_totals
from proxy.admin.stream_readings import read_streams
from proxy.admin.watch import Sources, Watch
from proxy.commands.counted import CountedUpstream
from proxy.commands.descriptors import connections_within, descriptors_wanted, raise_descriptor_limit
from proxy.commands.embedded import make_emulator, pages, read_emulator
from proxy.commands.forwarding import SETTING, forwarded_operations
from proxy.commands.listener import http_limits, server_tls
from proxy.commands.process import CommandError, Signals, listen, log_what_nobody_caught, spare_what_start_up_made
from proxy.commands.tracing import make_tracing
from proxy.config.values import ordering_mode_of
from proxy.core import stream
from proxy.core.buffer import Buffer
from proxy.core.limits import MILLISECOND_NS, StreamLimits
from proxy.core.ordering import Ordering
from proxy.core.rate_control import AdaptiveRate, fixed_rate
from proxy.driver import Driver
from proxy.emulator.embedded import EmbeddedUpstream
from proxy.frontend.authentication import Authentication
from proxy.frontend.handler import Frontend, FrontendSettings
from proxy.frontend.keys import KeysError, KeyStore
from proxy.metrics.labels import StreamLabels
from proxy.metrics.registry import make_registry
from proxy.transport.server import HttpServer
from proxy.upstream.aws import AwsUpstream
from proxy.upstream.settings import UpstreamConfigurationError, UpstreamSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import ServeSettings
    from proxy.core.rate_control import RateControl
    from proxy.emulator.service import EmulatorService
    from proxy.metrics.collector import Readings

log = structlog.get_logger(__name__)

COMMAND = "serve"
# Whether the hot path is: all of it, or nothing.
COMPILED = not stream.__file__.endswith(".py")
# What is left of a drain for answers on their way out, and for requests that only wait for a forwarded reply.
ANSWER_SECONDS = 1.0
# A key that was taken out counts for at most two such looks more.
KEYS_WATCH_SECONDS = 2.0


async def serve(settings: ServeSettings) -> int:
    """Serve until a signal comes, then drain; return how many accepted records were not delivered.

    Raises:
        CommandError: it cannot start.
    """
    log_what_nobody_caught()
    signals = Signals()
    service = Service(settings)
    try:
        await service.start()
        spare_what_start_up_made()
        await signals.stop.wait()
        undelivered = await service.drain(signals.hurry)
    finally:
        await service.close()
    log.info("stopped", undelivered_records=undelivered)
    return undelivered


class Service:
    """The parts of a serving proxy.

    Args:
        settings: valid ones.

    Call `start`, then `drain`, and `close` at the end, whatever happened before.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._clock = time.monotonic_ns
        self._started_at_ns = self._clock()
        self._emulator: EmulatorService | None = None
        self._upstream: AwsUpstream | CountedUpstream
        if settings.upstream == "embedded":
            self._emulator = make_emulator(settings)
            self._upstream = CountedUpstream(EmbeddedUpstream(self._emulator))
        else:
            self._upstream = AwsUpstream(upstream_settings(settings))
        self._tracing = tracing = make_tracing()
        upstream = tracing.upstream(self._upstream) if tracing else self._upstream
        buffer = Buffer(settings.buffer_records_max, settings.buffer_bytes_max)
        self._labels = StreamLabels()
        self._driver = Driver(
            upstream,
            stream_limits_of(settings),
            buffer,
            settings.streams_max,
            self._clock,
            random.random,
            label_of=self._labels.label,
        )
        self._keys = None if settings.inbound_keys_file is None else KeyStore(Path(settings.inbound_keys_file))
        self._keys_watch: asyncio.Task[None] | None = None
        authentication = None if self._keys is None else Authentication(self._keys.find, wall_clock)
        queue = tracing.queue(self._driver) if tracing else self._driver
        self._frontend = Frontend(queue, upstream, frontend_settings(settings), self._clock, authentication)
        handle = tracing.handler(self._frontend.handle) if tracing else self._frontend.handle
        # a span is of a task, so what is traced goes the way that has one
        start_put = None if tracing else self._frontend.start
        descriptors = raise_descriptor_limit(descriptors_wanted(settings))
        limits = replace(http_limits(settings), connections_max=connections_within(descriptors, settings))
        self._server = HttpServer(handle, limits, server_tls(settings), start_put=start_put)
        self._health = Health(self._upstream.ready, buffer)
        self._pulse = Pulse(lambda: rate_totals(self._driver))
        sources = Sources(self._driver, self._frontend.counters, self._upstream.counters, self._about)
        self._watch = Watch(sources, self._clock)
        emulator_pages = pages(self._emulator) if self._emulator else ()
        self._admin = AdminServer(
            self._health, self._pulse, make_registry(self._read), self._status, emulator_pages, self._watch
        )

    async def start(self) -> None:
        """Start all parts; the admin port first, so that it can tell what the others wait for.

        Raises:
            CommandError: a part cannot start.
        """
        settings = self._settings
        if self._keys is not None:
            try:
                self._keys.load()
            except KeysError as error:
                raise CommandError(f"inbound_keys_file: {error}") from error
            self._keys_watch = asyncio.create_task(self._keys.watch(KEYS_WATCH_SECONDS))
        self._pulse.start()
        self._watch.start()
        await listen("admin_listen", settings.admin_listen, self._admin.start(settings.admin_listen))
        try:
            await self._upstream.start()
        except UpstreamConfigurationError as error:
            raise CommandError(str(error)) from error
        await listen("listen", settings.listen, self._server.start(settings.listen.host, settings.listen.port))
        self._health.listening()
        log.info(
            "serving",
            endpoint=f"{self._server.scheme}://{settings.listen._replace(port=self._server.port)}",
            admin=f"http://{settings.admin_listen._replace(port=self._admin.port)}/",
            upstream=settings.upstream,
            region=self._upstream.region,
            compiled=COMPILED,
        )

    async def drain(self, hurry: asyncio.Event) -> int:
        """Take nothing new and bring what was accepted to its outcome, in the time that the settings give.

        Args:
            hurry: when set, gives up at once what has no outcome yet.

        Returns:
            How many of the records that were accepted when the drain began were not delivered.
        """
        self._health.drains()
        self._frontend.draining = True
        await self._server.stop_listening()
        before = describe_records(self._driver)
        open_records = before["queued"] + before["in_flight"]
        log.info("draining", open_records=open_records, drain_timeout_ms=self._settings.drain_timeout_ms)
        await self._drain_driver(hurry)
        delivered = describe_records(self._driver)["delivered"] - before["delivered"]
        await self._server.close(ANSWER_SECONDS)
        return open_records - delivered

    async def _drain_driver(self, hurry: asyncio.Event) -> None:
        drain = asyncio.create_task(self._driver.drain(self._settings.drain_timeout_ms * MILLISECOND_NS))
        hurried = asyncio.create_task(hurry.wait())
        try:
            await asyncio.wait((drain, hurried), return_when=asyncio.FIRST_COMPLETED)
            if not drain.done():
                drain.cancel()
                await asyncio.wait((drain,))
                await self._driver.drain(0)
            else:
                drain.result()
        finally:
            hurried.cancel()

    async def close(self) -> None:
        """Close every part that was started."""
        if self._keys_watch is not None:
            self._keys_watch.cancel()
        self._watch.stop()
        self._pulse.stop()
        await self._server.close(0)
        await self._driver.close()
        await self._upstream.close()
        await self._admin.close()
        if self._tracing is not None:
            await self._tracing.close()

    def _read(self) -> Readings:
        """Read everything in one go."""
        return {
            **read_streams(self._driver, self._labels, self._clock(), self._settings.shard_rate_ratio),
            **read_upstream(self._upstream.counters),
            **read_listener(self._server),
            **read_frontend(self._frontend.counters),
            **(read_emulator(self._emulator) if self._emulator else {}),
            **read_process(proxy.__version__, COMMAND, self._health, self._pulse.lag_seconds),
            "delivery_timeout_seconds": {(): self._settings.delivery_timeout_ms / 1000},
        }

    def _about(self) -> dict[str, Any]:
        """Tell what is true of the process as a whole."""
        return {
            "version": proxy.__version__,
            "compiled": COMPILED,
            "command": COMMAND,
            "uptime_seconds": round((self._clock() - self._started_at_ns) / 1e9, 1),
            "obstacles": self._health.obstacles(),
            "event_loop_lag_seconds": self._pulse.lag_seconds,
            "connections": self._server.connections,
            "requests_in_progress": self._server.requests_in_progress,
            "upstream_kind": self._settings.upstream,
        }

    def _status(self) -> dict[str, Any]:
        now_ns = self._clock()
        return {
            **self._about(),
            "upstream": {"kind": self._settings.upstream, **describe_upstream(self._upstream.counters)},
            **describe_streams(self._driver, self._pulse, now_ns),
        }


def wall_clock() -> int:
    """Return the seconds since the epoch, which signatures are dated by."""
    return int(time.time())


def stream_limits_of(settings: ServeSettings) -> Callable[[str], StreamLimits]:
    """Return the limits of a stream by its name: they differ in what is promised about order."""
    limits = {mode.value: replace(stream_limits(settings), ordering=mode) for mode in Ordering}
    return lambda stream_name: limits[ordering_mode_of(settings.ordering, stream_name)]


def stream_limits(settings: ServeSettings) -> StreamLimits:
    """Return the limits that all streams have in common."""
    ratio = settings.shard_rate_ratio
    return StreamLimits(
        batch_records_max=settings.batch_records_max,
        batch_bytes_max=settings.batch_bytes_max,
        shard_slice_bytes_max=settings.shard_slice_bytes_max,
        in_flight_max=settings.in_flight_max,
        linger_ns=settings.linger_ms * MILLISECOND_NS,
        delivery_timeout_ns=settings.delivery_timeout_ms * MILLISECOND_NS,
        backoff_base_ns=settings.backoff_base_ms * MILLISECOND_NS,
        backoff_max_ns=settings.backoff_max_ms * MILLISECOND_NS,
        shard_records_per_second=_share(settings.shard_records_per_second, ratio),
        shard_bytes_per_second=_share(settings.shard_bytes_per_second, ratio),
        shard_burst_ns=settings.shard_burst_ms * MILLISECOND_NS,
        rate_control=_rate_control(settings),
        admission_wait_ns=settings.admission_wait_ms * MILLISECOND_NS,
        stream_buffer_ratio=settings.stream_buffer_ratio,
        unused_ns=settings.stream_idle_timeout_ms * MILLISECOND_NS,
    )


def _rate_control(settings: ServeSettings) -> Callable[[int], RateControl]:
    """Return what makes the law by which a lane finds its share: of `shard_rate_ratio`, not of the whole limit."""
    if not settings.shard_rate_adapts:
        return fixed_rate
    if not settings.shard_rate_ratio_min:
        return AdaptiveRate
    return partial(AdaptiveRate, ratio_min=settings.shard_rate_ratio_min / settings.shard_rate_ratio)


def _share(rate_per_second: int, ratio: float) -> int:
    """Return a share of a rate that is never nothing, since 0 stands for unlimited."""
    return max(1, round(rate_per_second * ratio)) if rate_per_second else 0


def upstream_settings(settings: ServeSettings) -> UpstreamSettings:
    """Return how a Kinesis endpoint is reached."""
    return UpstreamSettings(
        endpoint_url=None if settings.upstream == "aws" else settings.upstream,
        region=settings.region,
        profile=settings.aws_profile,
        connections_max=settings.upstream_connections_max,
        connect_timeout_ms=settings.connect_timeout_ms,
        read_timeout_ms=settings.request_timeout_ms,
        request_timeout_ms=settings.request_timeout_ms,
        forwards_in_flight_max=settings.forwards_in_flight_max,
        forward_timeout_ms=settings.forward_timeout_ms,
        forward_response_bytes_max=settings.forward_response_bytes_max,
    )


def frontend_settings(settings: ServeSettings) -> FrontendSettings:
    """Return what producers may ask for.

    Raises:
        CommandError: the setting names what cannot be forwarded.
    """
    return FrontendSettings(
        forwarded_operations=forwarded_operations(settings),
        forwarded_operations_setting=SETTING,
        data_bytes_max=settings.data_bytes_max,
    )
