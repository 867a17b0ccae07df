"""The handler: what is forwarded, refused, counted, and that nothing escapes it."""

from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from proxy.kinesis.http import AbortConnection, Reply, Request
from proxy.kinesis.operations import KNOWN_OPERATIONS
from tests.unit.frontend.frontend_fakes import (
    SETTING,
    FakeQueue,
    FakeUpstream,
    frontend_of,
    output_of,
    put_record_request,
    put_records_request,
    request_of,
)


async def test_operation_on_the_allowlist_is_forwarded_untouched() -> None:
    """The body is not read here; upstream's answer is the answer."""
    upstream = FakeUpstream()
    frontend = frontend_of(FakeQueue(), upstream, forwarded=frozenset({"ListShards"}))
    assert await frontend.handle(request_of("ListShards", b'{"StreamName" : "a"}')) is upstream.reply
    assert upstream.forwarded == [("ListShards", b'{"StreamName" : "a"}')]


async def test_cbor_body_is_forwarded_undecoded() -> None:
    """What is not read here may be in either format."""
    upstream = FakeUpstream()
    await frontend_of(FakeQueue(), upstream).handle(request_of("ListShards", b"\xa0", "application/x-amz-cbor-1.1"))
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


async def test_puts_need_no_place_on_the_allowlist() -> None:
    """They are what the proxy is for."""
    reply = await frontend_of(FakeQueue(), forwarded=frozenset()).handle(put_record_request())
    assert reply.status == 200


async def test_cbor_put_is_refused_in_cbor() -> None:
    """With a text that says what to switch."""
    queue = FakeQueue()
    reply = await frontend_of(queue).handle(request_of("PutRecord", b"\xa0", "application/x-amz-cbor-1.1"))
    assert reply.status == 400
    assert reply.headers["Content-Type"] == "application/x-amz-cbor-1.1"
    assert b"Switch CBOR off" in reply.body
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
    assert [(entry["event"], entry["operation"]) for entry in logs] == [("request_failed", "ListShards")]


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
