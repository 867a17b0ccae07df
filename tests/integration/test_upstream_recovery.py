"""Core, driver and the real upstream together: what becomes of records whose requests meet each failure."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.core.buffer import Buffer
from proxy.core.hashing import HASH_KEY_MAX, hash_key_of
from proxy.core.limits import StreamLimits
from proxy.core.record import Record, State
from proxy.driver import Driver
from tests.support.aws_environment import use_static_credentials
from tests.support.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    black_hole,
    close_after_request,
    cut_mid_body,
    put_results,
    raw,
    reply,
    reset_after_request,
)
from tests.support.upstreams import SOON_MS, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1024 * 1024
SECOND_NS = 1_000_000_000
SHARD = {
    "ShardId": "shardId-000000000000",
    "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(HASH_KEY_MAX)},
    "SequenceNumberRange": {"StartingSequenceNumber": "1"},
}
SUMMARY = {
    "StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
    "StreamName": "orders",
    "OpenShardCount": 1,
}
HTML = b"<html><h1>503 Service Unavailable</h1></html>"


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


class Service:
    """A stream of one shard: puts meet the script, and are taken when it has run out.

    `puts` are the partition keys of each put, in the order in which they came.
    """

    def __init__(self, *script: Behaviour) -> None:
        self.script = list(script)
        self.puts: list[list[str]] = []
        self.refused: frozenset[str] = frozenset()  # puts with a record of these keys are refused as a whole

    async def _act(self, exchange: Exchange) -> bool:
        assert exchange.request is not None
        match exchange.request.headers["x-amz-target"].split(".")[1]:
            case "ListShards":
                behaviour = reply(200, json.dumps({"Shards": [SHARD]}).encode())
            case "DescribeStreamSummary":
                behaviour = reply(200, json.dumps({"StreamDescriptionSummary": SUMMARY}).encode())
            case _:
                keys = [entry["PartitionKey"] for entry in json.loads(exchange.request.body)["Records"]]
                self.puts.append(keys)
                behaviour = self.script.pop(0) if self.script else put_results()
                if not self.refused.isdisjoint(keys):
                    behaviour = reply(400, b'{"__type":"ValidationException","message":"one of them"}')
        return await behaviour.act(exchange)

    def __call__(self) -> Behaviour:
        """Return what a fault server does."""
        return Behaviour(self._act)


@asynccontextmanager
async def driving(service: Service) -> AsyncIterator[Driver]:
    """Drive records to the service through the real upstream."""
    loop = asyncio.get_running_loop()

    def clock() -> int:
        return int(loop.time() * SECOND_NS)

    # without shard limits: what is in a request must not hang on how many tokens have come in when the map arrives
    limits = StreamLimits(
        delivery_timeout_ns=60 * SECOND_NS,
        backoff_base_ns=1_000_000,
        shard_records_per_second=0,
        shard_bytes_per_second=0,
    )
    async with FaultServer(service()) as server, opened(server.url, request_timeout_ms=SOON_MS) as upstream:
        driver = Driver(upstream, lambda _: limits, Buffer(10_000, 64 * MIB), 10, clock, lambda: 0.5)
        yield driver
        await driver.drain(5 * SECOND_NS)
        await driver.close()


async def outcomes(driver: Driver, keys: list[str]) -> list[Record]:
    """Append one record a key in one call, and return them when each has had its one outcome."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    told: list[Record] = []

    def on_outcome(record: Record) -> None:
        told.append(record)
        if len(told) == len(records):
            done.set()

    data = base64.b64encode(b"data").decode()
    now_ns = int(loop.time() * SECOND_NS)
    records = [Record(key, data, 4 + len(key), hash_key_of(key), now_ns, on_outcome=on_outcome) for key in keys]
    driver.append("orders", None, records)
    await done.wait()
    return records


def error(status: int, code: str) -> Behaviour:
    """Answer with an error of the service."""
    return reply(status, b'{"__type":"%s","message":"why"}' % code.encode())


TRANSIENT = {
    "throttled-PTEE": error(400, "ProvisionedThroughputExceededException"),
    "throttled": error(400, "ThrottlingException"),
    "limit-exceeded": error(400, "LimitExceededException"),
    "kms-throttled": error(400, "KMSThrottlingException"),
    "429": reply(429, b"", {"Retry-After": "0"}),
    "503": reply(503, HTML, {"Content-Type": "text/html"}),
    "502": reply(502, HTML, {"Content-Type": "text/html"}),
    "500": error(500, "InternalFailure"),
    "expired-token": error(400, "ExpiredTokenException"),
    "unknown-code": error(400, "BrandNewException"),
    "empty-200": reply(200, b""),
    "html-200": reply(200, HTML, {"Content-Type": "text/html"}),
    "truncated": cut_mid_body(b'{"Records":[' + b" " * 100, 50),
    "one-result-too-few": put_results(-1),
    "one-result-too-many": put_results(1),
    "no-http": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "closed": close_after_request(),
    "reset": reset_after_request(),
    "black-hole": black_hole(),
}


@pytest.mark.parametrize("behaviour", TRANSIENT.values(), ids=TRANSIENT)
async def test_records_outlive_what_passes(behaviour: Behaviour) -> None:
    """Met twice in a row, it costs time alone: each record is acknowledged, once, in the end."""
    service = Service(behaviour, behaviour)
    async with driving(service) as driver:
        records = await outcomes(driver, ["a", "b", "c"])
    assert {record.state for record in records} == {State.ACKNOWLEDGED}
    assert len(service.puts) >= 3


async def test_guilty_record_is_alone_refused() -> None:
    """The service refuses whole requests for it: they are halved until it is alone, and its neighbours are written."""
    keys = [f"key-{number}" for number in range(50)]
    service = Service()
    service.refused = frozenset({"key-31"})
    async with driving(service) as driver:
        records = await outcomes(driver, keys)
    refused = [record for record in records if record.state is State.REFUSED]
    assert [(record.partition_key, record.error_code, record.error_message) for record in refused] == [
        ("key-31", "ValidationException", "one of them")
    ]
    assert sum(record.state is State.ACKNOWLEDGED for record in records) == 49
    assert ["key-31"] in service.puts
    written = [key for keys in service.puts if "key-31" not in keys for key in keys]
    assert sorted(written) == sorted(set(keys) - {"key-31"})


async def test_request_that_is_too_large_for_what_stands_between_is_halved() -> None:
    """A load balancer's 413 has no code of the service."""
    service = Service(reply(413, HTML, {"Content-Type": "text/html"}))
    async with driving(service) as driver:
        records = await outcomes(driver, ["a", "b", "c", "d"])
    assert {record.state for record in records} == {State.ACKNOWLEDGED}
    assert sorted(len(keys) for keys in service.puts) == [2, 2, 4]


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException", "KMSDisabledException"])
async def test_stream_that_refuses_all_refuses_each_at_once(code: str) -> None:
    """No retry can mend it, and the caller is told in the service's own words."""
    service = Service(error(400, code))
    async with driving(service) as driver:
        records = await outcomes(driver, ["a", "b"])
    assert {(record.state, record.error_code, record.error_message) for record in records} == {
        (State.REFUSED, code, "why")
    }
    assert len(service.puts) == 1
