from __future__ import annotations

import pytest

from proxy.commands.embedded import make_emulator, pages, read_emulator
from proxy.commands.process import CommandError
from proxy.config import EmulateSettings
from proxy.metrics.catalogue import FAMILIES


def settings(**values: object) -> EmulateSettings:
    """Return settings that differ from the defaults in these."""
    return EmulateSettings.model_validate(values)


async def test_the_emulator_has_the_streams_and_faults_that_were_set() -> None:
    """Each setting reaches the part that obeys it."""
    service = make_emulator(
        settings(
            stream=["orders:4", "clicks:1"],
            stream_record_kib_max=2048,
            region="eu-central-1",
            fault=["latency_ms=5"],
            create_on_first_use_shards=2,
        )
    )
    streams = {stream.name: stream for stream in service.model.streams(service.clock())}
    assert {name: len(stream.topology.open_shards) for name, stream in streams.items()} == {"orders": 4, "clicks": 1}
    assert streams["orders"].record_bytes_max == 2048 * 1024
    assert streams["orders"].arn.startswith("arn:aws:kinesis:eu-central-1:")
    assert service.injector.faults.latency_ms == 5
    assert len(service.model.stream("new", service.clock()).topology.open_shards) == 2


async def test_limits_and_retention_can_be_switched_off() -> None:
    """A load test measures the proxy, not the emulator."""
    model = make_emulator(settings(shard_limits=False, retain="none")).model.settings
    assert (model.shard_records_per_second, model.shard_bytes_per_second) == (0, 0)
    assert (model.retention_records_max, model.retention_bytes_max) == (0, 0)


async def test_as_many_shards_as_are_asked_for_can_be_made() -> None:
    """The limit of an account does not stand in the way of a large test."""
    service = make_emulator(settings(stream=["orders:1500"]))
    (stream,) = service.model.streams(service.clock())
    assert len(stream.topology.open_shards) == 1500


@pytest.mark.parametrize("fault", ["latency=5", "throttle_ratio=2", "latency_ms=soon"])
async def test_a_fault_that_the_emulator_does_not_have_is_an_error_of_the_command(fault: str) -> None:
    """The user is told which."""
    with pytest.raises(CommandError, match=f"^fault: .*{fault.partition('=')[0]}"):
        make_emulator(settings(fault=[fault]))


async def test_its_metrics_are_in_the_catalogue() -> None:
    """Every reading has a family, and each family of the emulator a reading."""
    readings = read_emulator(make_emulator(settings()))
    assert set(readings) == {family.name for family in FAMILIES if family.name.startswith("emulator_")}


async def test_its_pages_are_offered() -> None:
    """Faults and streams stand on the admin port."""
    assert [page.path for page in pages(make_emulator(settings()))] == ["/faults", "/streams"]
