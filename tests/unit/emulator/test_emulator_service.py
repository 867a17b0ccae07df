from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cbor2 import CBORTag, dumps, loads
from multidict import CIMultiDict

from proxy.emulator.faults import FaultInjector, Faults
from proxy.emulator.service import EmulatorService, loop_clock
from proxy.kinesis.http import AbortConnection, Reply, Request
from proxy.kinesis.operations import OPERATIONS
from tests.unit.emulator.emulator_driver import Emulator, entry, shard_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Service:
    """A service on a fake clock; what it sleeps is written down instead."""

    def __init__(self, **faults: Any) -> None:  # noqa: ANN401 - faults are of several types
        self.emulator = Emulator()
        self.emulator.create()
        self.slept: list[float] = []
        self.injector = FaultInjector(lambda: 0.5, Faults(**faults))
        self.service = EmulatorService(self.emulator.model, self.injector, lambda: self.emulator.now, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def send(self, operation: str, members: Any, **headers: str) -> Reply:  # noqa: ANN401 - JSON
        """Send a request; members that are bytes are the body itself."""
        body = members if isinstance(members, bytes) else json.dumps(members).encode()
        named = CIMultiDict(
            {
                "X-Amz-Target": f"Kinesis_20131202.{operation}",
                "Content-Type": "application/x-amz-json-1.1",
                **headers,
            }
        )
        return await self.service.handle(Request("POST", "/", named, body))

    async def put(self, data: bytes = b"data") -> Reply:
        """Put one record by PutRecord."""
        return await self.send("PutRecord", {"StreamName": "orders", **entry("a", data)})

    async def put_many(self, *data: bytes) -> Reply:
        """Put records by PutRecords."""
        return await self.send("PutRecords", {"StreamName": "orders", "Records": [entry("a", each) for each in data]})


async def test_a_put_record_is_answered_with_shard_and_number() -> None:
    """And with the encryption that the stream does not have."""
    service = Service()
    reply = await service.put()
    answer = json.loads(reply.body)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert (answer["ShardId"], answer["EncryptionType"]) == (shard_id(0), "NONE")
    assert [record.sequence_number for record in service.emulator.read(service.emulator.iterator())] == [
        answer["SequenceNumber"]
    ]


async def test_a_put_records_is_answered_record_by_record() -> None:
    """Successes have no error members, failures no others; the failures are counted."""
    service = Service(throttle_shard_id=shard_id(0))
    answer = json.loads((await service.put_many(b"1", b"2")).body)
    assert answer["FailedRecordCount"] == 2
    assert [sorted(result) for result in answer["Records"]] == [["ErrorCode", "ErrorMessage"]] * 2
    service.injector.faults = Faults()
    answer = json.loads((await service.put_many(b"1", b"2")).body)
    assert answer["FailedRecordCount"] == 0
    assert [sorted(result) for result in answer["Records"]] == [["SequenceNumber", "ShardId"]] * 2


async def test_a_read_is_answered_in_wire_form() -> None:
    """Members as the API names them."""
    service = Service()
    await service.put(b"hello")
    members = {"StreamName": "orders", "ShardId": shard_id(0), "ShardIteratorType": "TRIM_HORIZON"}
    iterator = json.loads((await service.send("GetShardIterator", members)).body)
    answer = json.loads((await service.send("GetRecords", iterator)).body)
    assert sorted(answer) == ["MillisBehindLatest", "NextShardIterator", "Records"]
    (record,) = answer["Records"]
    assert sorted(record) == ["ApproximateArrivalTimestamp", "Data", "PartitionKey", "SequenceNumber"]
    assert (record["Data"], record["PartitionKey"]) == ("aGVsbG8=", "a")


async def test_every_operation_that_can_be_read_is_carried_out() -> None:
    """None that is declared is missing from the emulator."""
    service = Service()
    for operation in sorted(OPERATIONS):
        reply = await service.send(operation, {})
        assert reply.headers.get("x-amzn-ErrorType", "") in {
            "",
            "ValidationException",
            "InvalidArgumentException",
        }, operation


async def test_an_operation_without_output_has_no_body() -> None:
    """As the service answers."""
    reply = await Service().send("CreateStream", {"StreamName": "new", "ShardCount": 1})
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize(
    ("operation", "body", "status", "code"),
    [
        ("PutRecord", b"{", 400, "SerializationException"),
        ("PutRecord", b"", 400, "SerializationException"),
        ("PutRecord", b"{}", 400, "ValidationException"),
        ("PutRecord", b'{"StreamName":"missing","PartitionKey":"a","Data":""}', 400, "ResourceNotFoundException"),
        ("PutRecord", b'{"PartitionKey":"a","Data":""}', 400, "InvalidArgumentException"),
        ("PutRecords", b'{"StreamName":"orders","Records":[]}', 400, "ValidationException"),
        ("Nonsense", b"{}", 400, "UnknownOperationException"),
        ("SubscribeToShard", b"{}", 400, "UnknownOperationException"),
    ],
)
async def test_bad_input_is_answered_with_its_error(operation: str, body: bytes, status: int, code: str) -> None:
    """In the service's shape, with the code in header and body."""
    reply = await Service().send(operation, body)
    assert (reply.status, reply.headers["x-amzn-ErrorType"]) == (status, code)
    assert json.loads(reply.body)["__type"] == code


async def test_what_is_no_kinesis_request_is_told_so() -> None:
    """A GET is answered as the service's outer layer does."""
    reply = await Service().service.handle(Request("GET", "/", CIMultiDict(), b""))
    assert (reply.status, reply.body[:23]) == (403, b"<AccessDeniedException>")


async def test_cbor_is_answered_with_cbors_own_types() -> None:
    """What a Java consumer needs: Data as bytes, and times as tagged milliseconds, which it can also send."""
    service = Service()

    async def call(operation: str, members: dict[str, Any]) -> dict[str, Any]:
        reply = await service.send(operation, dumps(members), **{"Content-Type": "application/x-amz-cbor-1.1"})
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/x-amz-cbor-1.1")
        answer: dict[str, Any] = loads(reply.body, semantic_decoders={1: lambda value, _: CBORTag(1, value)})
        return answer

    await call("PutRecord", {"StreamName": "orders", "PartitionKey": "a", "Data": b"\x00\xff"})
    asked: dict[str, Any] = {"StreamName": "orders", "ShardId": shard_id(0), "ShardIteratorType": "TRIM_HORIZON"}
    (record,) = (await call("GetRecords", await _iterator_of(call, asked)))["Records"]
    assert record["Data"] == b"\x00\xff"
    arrived: CBORTag = record["ApproximateArrivalTimestamp"]
    assert (arrived.tag, arrived.value) == (1, service.emulator.now.wall_ms)
    asked |= {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": arrived}
    assert len((await call("GetRecords", await _iterator_of(call, asked)))["Records"]) == 1
    summary = (await call("DescribeStreamSummary", {"StreamName": "orders"}))["StreamDescriptionSummary"]
    assert isinstance(summary["StreamCreationTimestamp"], CBORTag)


async def _iterator_of(
    call: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]], asked: dict[str, Any]
) -> dict[str, Any]:
    return {"ShardIterator": (await call("GetShardIterator", asked))["ShardIterator"]}


async def test_latency_is_waited_out_before_the_write() -> None:
    """In seconds, by the sleep handed in."""
    service = Service(latency_ms=250)
    await service.put()
    assert service.slept == [0.25]


async def test_an_unsound_request_meets_no_fault() -> None:
    """It is refused as it would be without."""
    service = Service(latency_ms=250, request_error_ratio=1)
    assert (await service.send("PutRecord", b"{}")).status == 400
    assert service.slept == []


async def test_a_request_error_writes_nothing() -> None:
    """500, InternalFailure, no message."""
    service = Service(request_error_ratio=1)
    reply = await service.put()
    assert (reply.status, json.loads(reply.body)) == (500, {"__type": "InternalFailure"})
    assert service.emulator.read_shard() == []


async def test_a_reset_before_the_write_writes_nothing() -> None:
    """The transport is told to cut the connection."""
    service = Service(reset_before_ratio=1)
    with pytest.raises(AbortConnection):
        await service.put()
    assert service.emulator.read_shard() == []


async def test_a_reset_after_the_write_has_written() -> None:
    """What its client cannot know."""
    service = Service(reset_after_ratio=1)
    with pytest.raises(AbortConnection):
        await service.put_many(b"1", b"2")
    assert service.emulator.read_shard() == [b"1", b"2"]


async def test_a_short_response_lacks_its_last_result_and_has_written_all() -> None:
    """The client can see that something is wrong, and not what."""
    service = Service(short_response_ratio=1)
    answer = json.loads((await service.put_many(b"1", b"2", b"3")).body)
    assert len(answer["Records"]) == 2
    assert service.emulator.read_shard() == [b"1", b"2", b"3"]


async def test_a_put_record_meets_record_faults_whole() -> None:
    """Throttling as 400, an internal failure as 500."""
    service = Service(throttle_ratio=1)
    reply = await service.put()
    assert (reply.status, json.loads(reply.body)["__type"]) == (400, "ProvisionedThroughputExceededException")
    service.injector.faults = Faults(internal_failure_ratio=1)
    reply = await service.put()
    assert (reply.status, json.loads(reply.body)["__type"]) == (500, "InternalFailure")
    assert service.emulator.read_shard() == []


async def test_a_trickle_is_the_transports_to_carry_out() -> None:
    """The reply says how slowly it is to be sent."""
    assert (await Service(trickle_bytes_per_second=7).put()).pace_bytes_per_second == 7


async def test_requests_are_counted_by_operation() -> None:
    """Every operation has its counter from the start."""
    service = Service()
    await service.put()
    await service.put_many(b"1")
    await service.put_many(b"1")
    assert {name: count for name, count in service.service.requests.items() if count} == {
        "PutRecord": 1,
        "PutRecords": 2,
    }
    assert set(service.service.requests) == OPERATIONS


async def test_the_clock_follows_the_loop_and_the_calendar() -> None:
    """Both times move together and neither steps back."""
    clock = loop_clock()
    first, second = clock(), clock()
    assert first.ns <= second.ns
    assert first.wall_ms <= second.wall_ms
    assert first.wall_ms > 1_700_000_000_000
