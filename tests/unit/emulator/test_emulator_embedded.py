from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.hashing import hash_key_of
from proxy.core.record import Record
from proxy.core.shard_map import Shard, StreamSummary
from proxy.emulator.embedded import EmbeddedUpstream
from proxy.emulator.faults import FaultInjector, Faults
from proxy.emulator.service import EmulatorService
from proxy.kinesis.http import Request
from tests.unit.emulator.emulator_driver import Emulator, shard_id

if TYPE_CHECKING:
    from proxy.ports import Upstream

HALF = 2**127


class Embedded:
    """An embedded upstream on a fake clock; what it sleeps is written down instead."""

    def __init__(self, settings: dict[str, Any] | None = None, **faults: Any) -> None:  # noqa: ANN401 - of several types
        self.emulator = Emulator(**(settings or {}))
        self.emulator.create(shards=2)
        self.slept: list[float] = []
        injector = FaultInjector(lambda: 0.5, Faults(**faults))
        service = EmulatorService(self.emulator.model, injector, lambda: self.emulator.now, self._sleep)
        self.upstream = EmbeddedUpstream(service)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def put(self, *records: Record, stream: str = "orders", ordered: bool = False) -> Answer | Failure:
        """Send a batch."""
        return await self.upstream.put(Batch(stream, None, list(records), ordered=ordered))

    def kept(self) -> list[bytes]:
        """Return all data kept."""
        return self.emulator.read_shard(0) + self.emulator.read_shard(1)


class Asleep(Embedded):
    """An embedded upstream whose latency never ends."""

    async def _sleep(self, seconds: float) -> None:
        await super()._sleep(seconds)
        await asyncio.Event().wait()


def record(key: str, data: bytes = b"data", ordering: str | None = None, explicit: str | None = None) -> Record:
    """Return a record as the proxy queues it."""
    return Record(
        key,
        base64.b64encode(data).decode(),
        len(data) + len(key.encode()),
        hash_key_of(key, explicit),
        0,
        explicit,
        ordering,
    )


def answered(reply: Answer | Failure) -> Answer:
    """Return the answer that a reply must be."""
    assert isinstance(reply, Answer)
    return reply


async def test_it_is_an_upstream() -> None:
    """It can stand wherever the real one does."""
    upstream: Upstream = Embedded().upstream
    await upstream.start()
    assert upstream.ready()
    assert upstream.region == "us-east-1"
    await upstream.close()


async def test_a_batch_is_written_in_order_and_answered_record_by_record() -> None:
    """With true shards, and the numbers under which the records are read."""
    embedded = Embedded()
    answer = answered(await embedded.put(record("a", b"1", explicit="0"), record("b", b"2", explicit=str(HALF))))
    assert [result.shard_id for result in answer.results] == [shard_id(0), shard_id(1)]
    assert answer.encryption_type == "NONE"
    for index, result in enumerate(answer.results):
        (kept,) = embedded.emulator.read(embedded.emulator.iterator(index))
        assert kept.sequence_number == result.sequence_number


async def test_a_throttled_record_fails_alone() -> None:
    """With the service's code and message."""
    embedded = Embedded({"shard_records_per_second": 1})
    answer = answered(await embedded.put(record("a", explicit="0"), record("b", explicit="0")))
    assert [result.error_code for result in answer.results] == [None, "ProvisionedThroughputExceededException"]
    assert "shardId-000000000000" in (answer.results[1].error_message or "")


async def test_an_ordered_record_travels_alone_and_fails_whole() -> None:
    """As PutRecord does: no result carries an error."""
    embedded = Embedded({"shard_records_per_second": 1})
    first = answered(await embedded.put(record("a", explicit="0"), ordered=True)).results[0].sequence_number
    assert await embedded.put(record("a", ordering=first, explicit="0"), ordered=True) == Failure(
        "ProvisionedThroughputExceededException",
        "Rate exceeded for shard shardId-000000000000 in stream orders under account 000000000000.",
        Written.REFUSED,
        400,
    )
    invalid = await embedded.put(record("a", ordering=str(2**129), explicit="0"), ordered=True)
    assert isinstance(invalid, Failure)
    assert invalid.code == "InvalidArgumentException"


async def test_a_batch_that_cannot_be_written_is_refused_whole() -> None:
    """A stream that is not there, a record too large."""
    embedded = Embedded()
    assert await embedded.put(record("a"), stream="missing") == Failure(
        "ResourceNotFoundException",
        "Stream missing under account 000000000000 not found.",
        Written.REFUSED,
        400,
    )
    refused = await embedded.put(record("a"), record("b", b"x" * (1024 * 1024 + 1)))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.written) == ("ValidationException", Written.REFUSED)
    assert embedded.kept() == []


async def test_a_reset_before_the_write_leaves_in_doubt_and_writes_nothing() -> None:
    """The sender cannot tell it from the other kind."""
    embedded = Embedded(reset_before_ratio=1)
    failure = await embedded.put(record("a"))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.written, failure.status) == ("ConnectionReset", Written.UNKNOWN, 0)
    assert embedded.kept() == []


async def test_a_reset_after_the_write_leaves_in_doubt_and_has_written() -> None:
    """A retry will write again."""
    embedded = Embedded(reset_after_ratio=1)
    failure = await embedded.put(record("a", b"1"))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.written) == ("ConnectionReset", Written.UNKNOWN)
    assert embedded.kept() == [b"1"]


async def test_a_request_error_leaves_in_doubt() -> None:
    """The service promises nothing about what it did before its 500."""
    embedded = Embedded(request_error_ratio=1)
    failure = await embedded.put(record("a"))
    text = "The embedded upstream answered InternalFailure."
    assert failure == Failure("InternalFailure", text, Written.UNKNOWN, 500)
    assert embedded.kept() == []


async def test_a_short_response_lacks_its_last_result() -> None:
    """All records are written all the same."""
    embedded = Embedded(short_response_ratio=1)
    assert len(answered(await embedded.put(record("a"), record("b"))).results) == 1
    assert len(embedded.kept()) == 2


async def test_latency_is_waited_out() -> None:
    """By the sleep handed in."""
    embedded = Embedded(latency_ms=20)
    await embedded.put(record("a"))
    assert embedded.slept == [0.02]


async def test_the_open_shards_are_listed() -> None:
    """After a reshard the children alone."""
    embedded = Embedded()
    embedded.emulator.call(
        "SplitShard", StreamName="orders", ShardToSplit=shard_id(0), NewStartingHashKey=str(HALF // 2)
    )
    assert await embedded.upstream.list_shards("orders", None) == [
        Shard(0, HALF // 2 - 1, shard_id(2)),
        Shard(HALF // 2, HALF - 1, shard_id(3)),
        Shard(HALF, 2**128 - 1, shard_id(1)),
    ]


async def test_the_summary_is_told() -> None:
    """What a producer needs to know of the stream."""
    embedded = Embedded()
    embedded.emulator.create("auto", 3, MaxRecordSizeInKiB=2048, RecordDistributionStrategy="AUTO")
    assert await embedded.upstream.describe_stream_summary("auto", None) == StreamSummary(
        "arn:aws:kinesis:us-east-1:000000000000:stream/auto", 3, 2048 * 1024, auto_distribution=True
    )


async def test_questions_about_a_missing_stream_fail_as_values() -> None:
    """Nothing is raised."""
    upstream = Embedded().upstream
    for reply in (await upstream.list_shards("no", None), await upstream.describe_stream_summary("no", None)):
        assert isinstance(reply, Failure)
        assert (reply.code, reply.written) == ("ResourceNotFoundException", Written.REFUSED)


async def test_shards_of_a_stream_under_creation_are_not_listed() -> None:
    """As the service refuses."""
    embedded = Embedded({"create_delay_ms": 1000})
    reply = await embedded.upstream.list_shards("orders", None)
    assert isinstance(reply, Failure)
    assert reply.code == "ResourceInUseException"


@pytest.mark.parametrize(
    ("faults", "code"),
    [({"reset_before_ratio": 1}, "ConnectionReset"), ({"request_error_ratio": 1}, "InternalFailure")],
)
async def test_questions_meet_faults_where_every_operation_does(faults: dict[str, Any], code: str) -> None:
    """And only then."""
    assert isinstance(await Embedded(**faults).upstream.list_shards("orders", None), list)
    reply = await Embedded(every_operation=True, **faults).upstream.list_shards("orders", None)
    assert isinstance(reply, Failure)
    assert reply.code == code


async def test_other_operations_are_carried_out_by_the_service() -> None:
    """The reply is the service's own."""
    headers = {"X-Amz-Target": "Kinesis_20131202.ListStreams", "Content-Type": "application/x-amz-json-1.1"}
    reply = await Embedded().upstream.forward("ListStreams", Request("POST", "/", headers, b"{}"))
    assert json.loads(reply.body)["StreamNames"] == ["orders"]


async def test_batch_takes_no_longer_than_it_may() -> None:
    """Its sender cannot know that nothing was written."""
    embedded = Asleep(latency_ms=10)
    batch = Batch("orders", None, [record("a")])
    batch.timeout_ns = 20_000_000
    failure = await embedded.upstream.put(batch)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.written) == ("RequestTimeout", Written.UNKNOWN)
    assert embedded.slept == [0.01]
    assert embedded.kept() == []


async def test_batch_that_is_in_time_is_written() -> None:
    """The bound costs it nothing."""
    embedded = Embedded(latency_ms=10)
    batch = Batch("orders", None, [record("a")])
    batch.timeout_ns = 60_000_000_000
    assert isinstance(await embedded.upstream.put(batch), Answer)
    assert embedded.kept() == [b"data"]
