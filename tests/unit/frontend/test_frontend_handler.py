"""The handler: what is forwarded, refused, counted, and that nothing escapes it."""

from __future__ import annotations

import asyncio

import pytest
from cbor2 import dumps, loads
from multidict import CIMultiDict
from structlog.testing import capture_logs

from proxy.kinesis.http import AbortConnection, Reply, Request
from proxy.kinesis.operations import KNOWN_OPERATIONS
from tests.unit.frontend.frontend_fakes import (
    ALL,
    SETTING,
    FakeQueue,
    FakeUpstream,
    Rejection,
    frontend_of,
    output_of,
    put_record_request,
    put_records_request,
    request_of,
)

CBOR = "application/x-amz-cbor-1.1"


async def test_operation_on_the_allowlist_is_forwarded_untouched() -> None:
    """The body is not read here; upstream's answer is the answer."""
    upstream = FakeUpstream()
    frontend = frontend_of(FakeQueue(), upstream, forwarded=frozenset({"ListShards"}))
    assert await frontend.handle(request_of("ListShards", b'{"StreamName" : "a"}')) is upstream.reply
    assert upstream.forwarded == [("ListShards", b'{"StreamName" : "a"}')]


async def test_cbor_body_is_forwarded_undecoded() -> None:
    """What is not read here may be in either format."""
    upstream = FakeUpstream()
    await frontend_of(FakeQueue(), upstream).handle(request_of("ListShards", b"\xa0", CBOR))
    assert upstream.forwarded == [("ListShards", b"\xa0")]


async def test_operation_off_the_allowlist_is_denied_with_the_settings_name() -> None:
    """The proxy's role is not every caller's; the operator is told where to look."""
    upstream = FakeUpstream()
    frontend = frontend_of(FakeQueue(), upstream, forwarded=frozenset())
    reply = await frontend.handle(request_of("DeleteStream", {"StreamName": "a"}))
    assert (reply.status, output_of(reply)["__type"]) == (400, "AccessDeniedException")
    assert "DeleteStream" in output_of(reply)["Message"]
    assert SETTING in output_of(reply)["Message"]
    assert not upstream.forwarded


async def test_without_an_allowlist_every_other_operation_is_forwarded() -> None:
    """All of the API's, but SubscribeToShard, whose answer is a stream of events."""
    upstream = FakeUpstream()
    frontend = frontend_of(FakeQueue(), upstream)
    others = KNOWN_OPERATIONS - {"PutRecord", "PutRecords", "SubscribeToShard"}
    for operation in others:
        await frontend.handle(request_of(operation, {}))
    assert {operation for operation, _ in upstream.forwarded} == others
    reply = await frontend.handle(request_of("SubscribeToShard", {}))
    assert (reply.status, output_of(reply)["__type"]) == (400, "UnknownOperationException")
    assert "SubscribeToShard" in output_of(reply)["message"]
    assert "stream of events" in output_of(reply)["message"]


async def test_put_under_the_name_of_another_operation_is_that_operation() -> None:
    """What goes upstream unqueued goes under the operation that was checked, whatever its body would say elsewhere."""
    queue, upstream = FakeQueue(), FakeUpstream()
    request = put_record_request()
    del request.headers["x-amz-target"]  # type: ignore[attr-defined]  # a test's own headers can be changed
    request.headers.add("X-Amz-Target", "Kinesis_20131202.ListShards")  # type: ignore[attr-defined]
    request.headers.add("X-Amz-Target", "Kinesis_20131202.PutRecord")  # type: ignore[attr-defined]
    await frontend_of(queue, upstream, forwarded=frozenset({"ListShards"})).handle(request)
    assert [operation for operation, _ in upstream.forwarded] == ["ListShards"]
    assert not queue.queued


async def test_puts_need_no_place_on_the_allowlist() -> None:
    """They are what the proxy is for."""
    reply = await frontend_of(FakeQueue(), forwarded=frozenset()).handle(put_record_request())
    assert reply.status == 200


async def test_cbor_put_is_queued_and_answered_in_cbor() -> None:
    """Data is base64 in the queue, whatever it came in."""
    queue = FakeQueue()
    body = dumps({"StreamName": "orders", "PartitionKey": "a", "Data": b"\x00\xff"})
    reply = await frontend_of(queue).handle(request_of("PutRecord", body, CBOR))
    assert (reply.status, reply.headers["Content-Type"]) == (200, CBOR)
    assert loads(reply.body) == {"ShardId": "shardId-000000000000", "SequenceNumber": "0"}
    body = dumps({"StreamName": "orders", "Records": [{"PartitionKey": "a", "Data": b""}] * 2})
    reply = await frontend_of(queue).handle(request_of("PutRecords", body, CBOR))
    assert loads(reply.body)["FailedRecordCount"] == 0
    assert [result["SequenceNumber"] for result in loads(reply.body)["Records"]] == ["1", "2"]
    assert [record.data for record in queue.queued] == ["AP8=", "", ""]


async def test_bad_cbor_put_is_refused_in_cbor() -> None:
    """In the words that the same request gets in JSON."""
    queue = FakeQueue()
    reply = await frontend_of(queue).handle(request_of("PutRecord", dumps({"Data": True}), CBOR))
    assert (reply.status, reply.headers["Content-Type"]) == (400, CBOR)
    assert loads(reply.body) == {
        "__type": "SerializationException",
        "Message": "class java.lang.Boolean can not be converted to a Blob",
    }
    assert not queue.queued


async def test_new_puts_are_refused_while_draining() -> None:
    """With the error that every SDK tries again; other operations still work."""
    queue, upstream = FakeQueue(), FakeUpstream()
    frontend = frontend_of(queue, upstream)
    frontend.draining = True
    for request in (put_record_request(), put_records_request(3)):
        reply = await frontend.handle(request)
        assert (reply.status, output_of(reply)["__type"]) == (500, "InternalFailure")
    assert not queue.queued
    assert frontend.counters.rejected_records["draining"] == 4
    assert (await frontend.handle(request_of("ListShards", {}))).status == 200


async def test_puts_that_are_queued_get_their_outcome_while_draining() -> None:
    """Accepted is accepted."""
    queue = FakeQueue(acknowledges=False)
    frontend = frontend_of(queue)
    call = asyncio.ensure_future(frontend.handle(put_record_request()))
    await asyncio.sleep(0)
    frontend.draining = True
    queue.settle_from(0, queue.queued)
    assert (await call).status == 200


async def test_defect_is_answered_as_the_services_own_failure() -> None:
    """No exception leaves the handler; it is told in the log, and the text of it to nobody."""
    upstream = FakeUpstream()
    upstream.error = RuntimeError("secret")
    frontend = frontend_of(FakeQueue(), upstream)
    with capture_logs() as logs:
        reply = await frontend.handle(request_of("ListShards", {}))
    assert (reply.status, output_of(reply)) == (500, {"__type": "InternalFailure"})
    told = [(entry["event"], entry["operation"], entry["request_id"]) for entry in logs]
    request_id = reply.headers["x-amzn-RequestId"]
    assert told == [(event, "ListShards", request_id) for event in ("request_failed", "fault_answered")]


async def test_a_fault_that_is_answered_is_logged_with_the_id_that_the_caller_sees() -> None:
    """The first of a kind at once, then one an interval: who reports an id finds the line, and the log is no copy."""
    queue = FakeQueue()
    queue.rejections = [Rejection(ALL, "InternalFailure", "no")]
    now_ns = 0
    frontend = frontend_of(queue, clock=lambda: now_ns)
    with capture_logs() as logs:
        first = await frontend.handle(put_record_request())
        await frontend.handle(put_record_request())
        now_ns = 11 * 10**9
        third = await frontend.handle(put_record_request())
    assert [first.status, third.status] == [500, 500]
    assert [(entry["event"], entry["request_id"], entry["held_back"]) for entry in logs] == [
        ("fault_answered", first.headers["x-amzn-RequestId"], 0),
        ("fault_answered", third.headers["x-amzn-RequestId"], 1),
    ]
    assert {repr(entry["status"]) for entry in logs} == {"500"}


async def test_what_a_caller_did_wrong_is_not_logged() -> None:
    """A client that errs in a loop is its owner's matter, and the metrics'."""
    with capture_logs() as logs:
        reply = await frontend_of(FakeQueue()).handle(request_of("PutRecord", {}))
    assert (reply.status, logs) == (400, [])


async def test_order_to_cut_the_connection_passes_through() -> None:
    """It is the transport's to obey."""
    upstream = FakeUpstream()
    upstream.error = AbortConnection()
    with pytest.raises(AbortConnection):
        await frontend_of(FakeQueue(), upstream).handle(request_of("ListShards", {}))


async def test_requests_are_counted_by_operation_and_status() -> None:
    """What names no operation of the service is counted under one name, whatever it says."""
    frontend = frontend_of(FakeQueue())
    await frontend.handle(put_record_request())
    await frontend.handle(put_record_request(Data="x"))
    await frontend.handle(request_of("What" * 100, {}))
    await frontend.handle(Request("GET", "/", CIMultiDict(), b""))
    assert frontend.counters.requests == {
        ("PutRecord", 200): 1,
        ("PutRecord", 400): 1,
        ("unknown", 400): 1,
        ("unknown", 403): 1,
    }
    assert frontend.counters.rejected_records["invalid"] == 1


async def test_duration_is_observed_by_operation() -> None:
    """In seconds, of the clock that was handed in."""
    frontend = frontend_of(FakeQueue(), FakeUpstream())
    await frontend.handle(request_of("ListShards", {}))
    seconds = frontend.counters.request_seconds["ListShards"]
    assert sum(seconds.counts) == 1
    assert seconds.sum == pytest.approx(0.001)


async def test_status_of_a_forwarded_answer_is_counted_as_it_is() -> None:
    """Upstream's failures are visible here."""
    upstream = FakeUpstream()
    upstream.reply = Reply(503, b"")
    frontend = frontend_of(FakeQueue(), upstream)
    await frontend.handle(request_of("ListShards", {}))
    assert frontend.counters.requests == {("ListShards", 503): 1}
