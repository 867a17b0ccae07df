"""Makes the embedded Kinesis from settings, and says what the admin port shows of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from proxy.admin.server import Page
from proxy.commands.process import CommandError
from proxy.emulator.admin import EmulatorAdmin
from proxy.emulator.faults import FaultInjector, Faults
from proxy.emulator.model import Model
from proxy.emulator.service import EmulatorService, loop_clock
from proxy.emulator.settings import EmulatorSettings, StreamSpec
from proxy.kinesis.errors import KinesisError
from proxy.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND

if TYPE_CHECKING:
    from proxy.config import Settings
    from proxy.metrics.collector import Readings

REGION = "us-east-1"
KIB = 1024
# Open shards that an account has by default; more if more are asked for.
SHARDS_MAX = 1_000


def make_emulator(settings: Settings) -> EmulatorService:
    """Make the emulator, with its streams, on the running loop.

    Raises:
        CommandError: a fault or a stream is not as the emulator wants it.
    """
    try:
        faults = Faults.from_pairs(settings.fault)
    except ValueError as error:
        raise CommandError(f"fault: {error}") from error
    model = Model(_emulator_settings(settings))
    service = EmulatorService(model, FaultInjector(random.random, faults), loop_clock())
    try:
        for name, shard_count in settings.stream:
            spec = StreamSpec(name, shard_count, record_bytes_max=settings.stream_record_kib_max * KIB)
            model.create_stream(spec, service.clock())
    except KinesisError as error:
        raise CommandError(f"stream: {error.message}") from error
    return service


def _emulator_settings(settings: Settings) -> EmulatorSettings:
    retains = settings.retain != "none"
    return EmulatorSettings(
        region=settings.region or REGION,
        shard_records_per_second=SHARD_RECORDS_PER_SECOND if settings.shard_limits else 0,
        shard_bytes_per_second=SHARD_BYTES_PER_SECOND if settings.shard_limits else 0,
        retention_records_max=settings.retain_records_max if retains else 0,
        retention_bytes_max=settings.retain_bytes_max if retains else 0,
        create_delay_ms=settings.create_delay_ms,
        create_on_first_use_shards=settings.create_on_first_use_shards,
        shards_max=max(SHARDS_MAX, sum(spec.shard_count for spec in settings.stream)),
    )


def pages(service: EmulatorService) -> tuple[Page, ...]:
    """Return the emulator's pages of the admin port."""
    admin = EmulatorAdmin(service)
    return (
        Page("/faults", "faults of the embedded Kinesis: GET tells, PUT replaces all", admin.faults_admin),
        Page("/streams", "streams and shards of the embedded Kinesis, with their records", admin.streams_admin),
    )


def read_emulator(service: EmulatorService) -> Readings:
    """Read the emulator's counters as metric readings."""
    counters, retention = service.model.counters, service.model.retention
    return {
        "emulator_requests_total": {(operation,): count for operation, count in service.requests.items()},
        "emulator_records_total": {
            ("accepted",): counters.accepted_records,
            ("throttled",): counters.throttled_records,
            ("faulted",): counters.faulted_records,
        },
        "emulator_accepted_bytes_total": {(): counters.accepted_bytes},
        "emulator_faults_total": {(fault,): count for fault, count in service.injector.injected.items()},
        "emulator_retained_records": {(): retention.kept_records},
        "emulator_retained_bytes": {(): retention.kept_bytes},
    }
