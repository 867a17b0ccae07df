"""The put path: what is queued, and how outcomes become answers."""

from __future__ import annotations

import asyncio
import json
from hashlib import md5
from typing import TYPE_CHECKING, Any

import pytest
from cbor2 import dumps

from proxy.core.record import State
from proxy.core.shard_map import StreamSummary
from proxy.kinesis.front_door import RETRY_AFTER
from tests.unit.frontend.frontend_fakes import (
    ALL,
    CBOR,
    JSON,
    FakeQueue,
    FakeUpstream,
    Rejection,
    acknowledged,
    failed,
    frontend_of,
    output_of,
    put_record_request,
    put_records_request,
    request_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.record import Record

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
THROTTLED = "ProvisionedThroughputExceededException"


def json_bytes(value: object) -> bytes:
    """Encode as JSON."""
    return json.dumps(value).encode()


async def turns(count: int = 3) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_put_record_is_queued_with_what_the_core_needs() -> None:
    """Key, data as sent, size as the service counts it, hash key, instant."""
    queue = FakeQueue()
    await frontend_of(queue).handle(put_record_request(PartitionKey="é", Data="YWFh"))
    (record,) = queue.queued
    assert (record.partition_key, record.data, record.size_bytes) == ("é", "YWFh", 3 + 2)
    assert record.hash_key == int(md5("é".encode()).hexdigest(), 16)  # noqa: S324 - the service's hash
    assert record.received_at_ns > 0
    assert (record.explicit_hash_key, record.sequence_number_for_ordering) == (None, None)


async def test_explicit_hash_key_and_ordering_travel_with_the_record() -> None:
    """The override decides the hash key; the ordering number is the core's to respect."""
    queue = FakeQueue()
    await frontend_of(queue).handle(put_record_request(ExplicitHashKey="7", SequenceNumberForOrdering="8"))
    (record,) = queue.queued
    assert (record.hash_key, record.explicit_hash_key, record.sequence_number_for_ordering) == (7, "7", "8")


@pytest.mark.parametrize(
    ("members", "appended"),
    [
        ({}, ("orders", None)),
        ({"StreamName": None, "StreamARN": ARN}, ("orders", ARN)),
        ({"StreamARN": ARN}, ("orders", ARN)),
    ],
)
async def test_stream_is_named_by_name_and_arn_as_given(members: dict[str, Any], appended: tuple[str, str]) -> None:
    """The name is always known, the ARN only if the caller gave it."""
    queue = FakeQueue()
    await frontend_of(queue).handle(put_record_request(**members))
    assert queue.appended == [appended]


async def test_put_record_answers_with_its_records_result() -> None:
    """Shard id and sequence number as upstream gave them."""
    queue = FakeQueue()
    reply = await frontend_of(queue).handle(put_record_request())
    assert reply.status == 200
    assert output_of(reply) == {"ShardId": "shardId-000000000000", "SequenceNumber": "0"}


async def test_encryption_type_is_told_where_it_is_known() -> None:
    """Of the record, or once for a call."""
    queue = FakeQueue()

    def encrypted(record: Record, ordinal: int) -> None:
        acknowledged(record, ordinal)
        record.encryption_type = "KMS"

    queue.settle = encrypted
    for request in (put_record_request(), put_records_request(2)):
        assert output_of(await frontend_of(queue).handle(request))["EncryptionType"] == "KMS"


@pytest.mark.parametrize(
    ("state", "code", "message", "status"),
    [
        (State.EXPIRED, THROTTLED, "Rate exceeded", 400),
        (State.EXPIRED, "InternalFailure", "timed out", 500),
        (State.EXPIRED, "InternalFailure", None, 500),
        (State.REFUSED, "ResourceNotFoundException", "Stream orders under account 1 not found.", 400),
        (State.REFUSED, "KMSDisabledException", None, 400),
        (State.REFUSED, "NotAuthorized", "no", 400),
    ],
)
async def test_failed_put_record_answers_with_its_records_error(
    state: State, code: str, message: str | None, status: int
) -> None:
    """Whatever upstream or the deadline said is the call's error, also a code that has no class here."""
    queue = FakeQueue()
    queue.settle = failed(state, code, message)
    reply = await frontend_of(queue).handle(put_record_request())
    assert (reply.status, reply.headers["x-amzn-ErrorType"]) == (status, code)
    assert output_of(reply) == {"__type": code, **({} if message is None else {"message": message})}


async def test_put_records_are_queued_in_the_order_of_the_call() -> None:
    """One append for the whole call."""
    queue = FakeQueue()
    await frontend_of(queue).handle(put_records_request(5))
    assert [record.partition_key for record in queue.queued] == ["k0", "k1", "k2", "k3", "k4"]
    assert len(queue.appended) == 1


async def test_put_records_answers_in_the_order_of_the_request() -> None:
    """However late each outcome is."""
    queue = FakeQueue(acknowledges=False)
    call = asyncio.ensure_future(frontend_of(queue).handle(put_records_request(3)))
    await turns()
    for ordinal in (2, 0, 1):
        assert not call.done()
        queue.settle_from(ordinal, [queue.queued[ordinal]])
        await turns()
    reply = await call
    assert output_of(reply) == {
        "FailedRecordCount": 0,
        "Records": [{"SequenceNumber": str(place), "ShardId": "shardId-000000000000"} for place in range(3)],
    }


async def test_put_records_tells_each_failure_in_its_place() -> None:
    """Status 200, a count, and code and text where the record stood."""
    queue = FakeQueue()
    throttled = failed(State.EXPIRED, THROTTLED, "Rate exceeded")
    queue.settle = lambda record, ordinal: (throttled if ordinal % 2 else acknowledged)(record, ordinal)
    reply = await frontend_of(queue).handle(put_records_request(3))
    assert reply.status == 200
    assert output_of(reply) == {
        "FailedRecordCount": 1,
        "Records": [
            {"SequenceNumber": "0", "ShardId": "shardId-000000000000"},
            {"ErrorCode": THROTTLED, "ErrorMessage": "Rate exceeded"},
            {"SequenceNumber": "2", "ShardId": "shardId-000000000000"},
        ],
    }


@pytest.mark.parametrize("code", [THROTTLED, "InternalFailure"])
async def test_put_records_that_failed_altogether_are_still_answered_one_by_one(code: str) -> None:
    """The service throttles records, not requests."""
    queue = FakeQueue()
    queue.settle = failed(State.EXPIRED, code, "text")
    reply = await frontend_of(queue).handle(put_records_request(2))
    assert reply.status == 200
    assert output_of(reply) == {
        "FailedRecordCount": 2,
        "Records": [{"ErrorCode": code, "ErrorMessage": "text"}] * 2,
    }


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "KMSDisabledException", "AccessDeniedException"])
async def test_error_of_a_whole_request_is_the_calls_error_if_all_records_met_it(code: str) -> None:
    """As the service would have answered the call."""
    queue = FakeQueue()
    queue.settle = failed(State.REFUSED, code, "text")
    reply = await frontend_of(queue).handle(put_records_request(2))
    assert (reply.status, output_of(reply)["__type"]) == (400, code)


async def test_error_of_a_whole_request_stands_in_the_results_if_a_record_was_written() -> None:
    """The caller must know which."""
    queue = FakeQueue()
    refused = failed(State.REFUSED, "ResourceNotFoundException", "gone")
    queue.settle = lambda record, ordinal: (refused if ordinal else acknowledged)(record, ordinal)
    reply = await frontend_of(queue).handle(put_records_request(2))
    assert reply.status == 200
    assert output_of(reply)["FailedRecordCount"] == 1
    assert output_of(reply)["Records"][1] == {"ErrorCode": "ResourceNotFoundException", "ErrorMessage": "gone"}


async def test_different_errors_of_whole_requests_stand_in_the_results() -> None:
    """No one of them is the call's."""
    queue = FakeQueue()
    codes = ["ResourceNotFoundException", "KMSDisabledException"]
    queue.settle = lambda record, ordinal: failed(State.REFUSED, codes[ordinal], None)(record, ordinal)
    reply = await frontend_of(queue).handle(put_records_request(2))
    assert reply.status == 200
    assert [result["ErrorCode"] for result in output_of(reply)["Records"]] == codes


@pytest.mark.parametrize(
    ("code", "status"), [(THROTTLED, 400), ("LimitExceededException", 400), ("InternalFailure", 500)]
)
async def test_put_record_that_is_not_queued_is_answered_at_once(code: str, status: int) -> None:
    """With the queue's own reason."""
    queue = FakeQueue()
    queue.rejections = [Rejection(ALL, code, "full")]
    frontend = frontend_of(queue)
    reply = await frontend.handle(put_record_request())
    assert (reply.status, output_of(reply)) == (status, {"__type": code, "message": "full"})
    assert sum(frontend.counters.rejected_records.values()) == 1


@pytest.mark.parametrize("rejected", [{0}, {1}, {0, 2}, {1, 2}])
async def test_records_that_are_not_queued_fail_in_their_places(rejected: set[int]) -> None:
    """The others get their own outcomes; any of them may be rejected, as their shards have room or not."""
    queue = FakeQueue()
    queue.rejections = [Rejection(rejected, THROTTLED, "full", 70)]
    frontend = frontend_of(queue)
    reply = await frontend.handle(put_records_request(3))
    assert reply.status == 200
    results = output_of(reply)["Records"]
    for place, result in enumerate(results):
        if place in rejected:
            assert result == {"ErrorCode": THROTTLED, "ErrorMessage": "full"}
        else:
            assert result["ShardId"] == "shardId-000000000000"
    assert output_of(reply)["FailedRecordCount"] == len(rejected)
    assert frontend.counters.rejected_records["throughput_exceeded"] == len(rejected)
    assert len(queue.queued) == 3 - len(rejected)
    # no SDK looks for it on a success
    assert RETRY_AFTER not in reply.headers


@pytest.mark.parametrize(
    ("code", "status"), [(THROTTLED, 400), ("LimitExceededException", 400), ("InternalFailure", 500)]
)
async def test_call_of_which_nothing_is_queued_is_refused_as_a_whole(code: str, status: int) -> None:
    """SDKs try a refused call again; into the results of a 200 they do not look."""
    queue = FakeQueue()
    queue.rejections = [Rejection({0, 2}, code, "one is full", 70), Rejection({1}, code, "another is full", 250)]
    frontend = frontend_of(queue)
    reply = await frontend.handle(put_records_request(3))
    assert (reply.status, output_of(reply)) == (status, {"__type": code, "message": "one is full"})
    assert sum(frontend.counters.rejected_records.values()) == 3
    # the largest: only then is there room for all
    assert reply.headers[RETRY_AFTER] == "250"


async def test_call_whose_records_are_rejected_for_different_reasons_is_answered_one_by_one() -> None:
    """No one of them is the call's."""
    queue = FakeQueue()
    queue.rejections = [Rejection({0}, THROTTLED, "full"), Rejection({1}, "InternalFailure", "ill")]
    reply = await frontend_of(queue).handle(put_records_request(2))
    assert (reply.status, output_of(reply)["FailedRecordCount"]) == (200, 2)


@pytest.mark.parametrize(("content_type", "encode"), [(JSON, json_bytes), (CBOR, dumps)])
@pytest.mark.parametrize(("retry_after_ms", "header"), [(0, None), (1, "1"), (2500, "2500")])
async def test_rejected_call_says_when_to_come_again(
    content_type: str, encode: Callable[[Any], bytes], retry_after_ms: int, header: str | None
) -> None:
    """In milliseconds, in either format, if the queue knows."""
    queue = FakeQueue()
    queue.rejections = [Rejection(ALL, THROTTLED, "full", retry_after_ms)]
    data = "" if content_type == JSON else b""
    body = encode({"StreamName": "orders", "PartitionKey": "a", "Data": data})
    reply = await frontend_of(queue).handle(request_of("PutRecord", body, content_type))
    assert (reply.status, reply.headers["x-amzn-ErrorType"]) == (400, THROTTLED)
    assert reply.headers.get(RETRY_AFTER) == header


async def test_expired_record_says_nothing_of_when_to_come_again() -> None:
    """Only whoever turned it away at the door knows how full it is."""
    queue = FakeQueue()
    queue.settle = failed(State.EXPIRED, THROTTLED, "Rate exceeded")
    reply = await frontend_of(queue).handle(put_record_request())
    assert RETRY_AFTER not in reply.headers


async def test_dry_run_is_forwarded_alone_and_never_queued() -> None:
    """Its answer is the service's, its body untouched."""
    queue, upstream = FakeQueue(), FakeUpstream()
    frontend = frontend_of(queue, upstream)
    for request in (put_record_request(DryRun=True), put_records_request(2, DryRun=True)):
        assert await frontend.handle(request) is upstream.reply
    assert [operation for operation, _ in upstream.forwarded] == ["PutRecord", "PutRecords"]
    assert not queue.queued


async def test_dry_run_that_cannot_succeed_is_refused_here() -> None:
    """The checks come first, as at the service."""
    upstream = FakeUpstream()
    reply = await frontend_of(FakeQueue(), upstream).handle(
        put_record_request(DryRun=True, ExplicitHashKey=str(2**128))
    )
    assert output_of(reply)["__type"] == "InvalidArgumentException"
    assert not upstream.forwarded


async def test_record_without_partition_key_is_upstreams_to_judge_while_the_stream_is_unknown() -> None:
    """It may be an AUTO stream; nothing is queued, but the stream gets known, so that the next ones are."""
    queue, upstream = FakeQueue(), FakeUpstream()
    frontend = frontend_of(queue, upstream)
    assert await frontend.handle(put_record_request(PartitionKey=None)) is upstream.reply
    mixed = [{"PartitionKey": "a", "Data": ""}, {"Data": ""}]
    assert await frontend.handle(put_records_request(0, Records=mixed)) is upstream.reply
    assert not queue.queued
    assert queue.asked_about == [("orders", None)] * 2


async def test_record_without_partition_key_is_queued_on_an_auto_stream() -> None:
    """The service ignores keys there."""
    queue = FakeQueue()
    queue.known = StreamSummary(ARN, 1, auto_distribution=True)
    reply = await frontend_of(queue).handle(put_record_request(PartitionKey=None))
    assert reply.status == 200
    assert (queue.queued[0].partition_key, queue.queued[0].size_bytes) == ("", 1)


@pytest.mark.parametrize(
    ("known", "setting", "data_bytes", "error"),
    [
        (None, 0, 10 * 1024 * 1024 - 1, None),
        (None, 0, 10 * 1024 * 1024, "InvalidArgumentException"),
        (StreamSummary(ARN, 1), 0, 1024 * 1024 - 1, None),
        (StreamSummary(ARN, 1), 0, 1024 * 1024, "InvalidArgumentException"),
        (StreamSummary(ARN, 1), 0, 1024 * 1024 + 1, "ValidationException"),
        (StreamSummary(ARN, 1, record_bytes_max=2 * 1024 * 1024), 0, 2 * 1024 * 1024 - 1, None),
        (None, 51_200, 51_200, None),
        (None, 51_200, 51_201, "ValidationException"),
        (StreamSummary(ARN, 1), 51_200, 51_201, "ValidationException"),
    ],
)
async def test_record_is_as_large_as_its_stream_and_the_setting_allow(
    known: StreamSummary | None, setting: int, data_bytes: int, error: str | None
) -> None:
    """The stream's limit counts the partition key, the first API's does not; unknown streams get the largest limit."""
    queue = FakeQueue()
    queue.known = known
    body_data = "A" * (data_bytes // 3 * 4) + ("", "AA==", "AAA=")[data_bytes % 3]
    reply = await frontend_of(queue, data_bytes_max=setting).handle(put_record_request(Data=body_data))
    assert output_of(reply).get("__type") == error
    assert len(queue.queued) == (error is None)
    assert len(queue.asked_about) == (error is not None and known is not None)  # it may have been raised
    if error == "ValidationException":
        limit = setting or 1024 * 1024
        assert output_of(reply)["message"] == (
            f"1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim={data_bytes} cap={data_bytes}]' "
            f"at 'data' failed to satisfy constraint: Member must have length less than or equal to {limit}"
        )


async def test_calls_do_not_wait_for_each_other() -> None:
    """A record that takes long holds up its own caller alone."""
    queue = FakeQueue(acknowledges=False)
    frontend = frontend_of(queue)
    slow = asyncio.ensure_future(frontend.handle(put_record_request(PartitionKey="slow")))
    quick = asyncio.ensure_future(frontend.handle(put_record_request(PartitionKey="quick")))
    await turns()
    queue.settle_from(1, [queue.queued[1]])
    assert (await quick).status == 200
    assert not slow.done()
    queue.settle_from(0, [queue.queued[0]])
    assert (await slow).status == 200
