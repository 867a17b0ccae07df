"""Whole requests at the frontend: every one is answered, by what can be sent, and none with a failure of ours.

A case is a method, a target, a content type and a body, each but the last ended by a line feed.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from proxy.core.shard_map import StreamSummary
from proxy.kinesis import cbor_body, codecs, json_body
from proxy.kinesis.http import Request
from proxy.kinesis.operations import KNOWN_OPERATIONS, parse
from tests.fuzz.puts import ARN, CBOR_PUTS, JSON_PUTS
from tests.fuzz.surface import Surface
from tests.unit.frontend.frontend_fakes import FakeQueue, FakeUpstream, frontend_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CBOR = b"application/x-amz-cbor-1.1"
JSON = b"application/x-amz-json-1.1"
STATUSES = {200, 400, 403, 404}


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Give the check of one request, on one loop for all of them."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield lambda case: loop.run_until_complete(check(case))


async def check(case: bytes) -> None:
    """Check one request."""
    fields = case.split(b"\n", 3)
    method, target, content_type = (
        field.decode("utf-8", "surrogateescape") for field in (*fields[:3], *[b""] * (3 - len(fields[:3])))
    )
    body = fields[3] if len(fields) > 3 else b""
    headers = CIMultiDict({"X-Amz-Target": target, "Content-Type": content_type})
    queue, upstream = FakeQueue(), FakeUpstream()
    queue.known = StreamSummary(ARN, 1)
    reply = await frontend_of(queue, upstream, forwarded=frozenset({"ListShards"})).handle(
        Request(method, "/", headers, body)
    )
    assert reply.status in STATUSES
    for name, value in reply.headers.items():
        assert (name + value).isascii()
        assert (name + value).isprintable()
    assert bool(queue.queued) == (reply.status == 200 and not upstream.forwarded)
    if upstream.forwarded:
        assert reply is upstream.reply
        _check_forwarded(upstream, target, content_type, body)
    elif "Content-Type" in reply.headers:
        _check_readable(reply.headers["Content-Type"], reply.body)


def _check_forwarded(upstream: FakeUpstream, target: str, content_type: str, body: bytes) -> None:
    """Check that nothing passed the queue by but what may: an operation of the list, and a put that is a question."""
    ((operation, forwarded),) = upstream.forwarded
    assert forwarded == body
    assert target == f"Kinesis_20131202.{operation}"
    if operation != "ListShards":
        codec = codecs.CBOR if content_type.startswith(codecs.CBOR.content_type) else codecs.JSON
        assert parse(operation, body, codec)["DryRun"] is True


def _check_readable(content_type: str, body: bytes) -> None:
    if content_type == CBOR.decode():
        cbor_body.decode(body)
    elif content_type == JSON.decode():
        json_body.decode(body)
    else:
        json.loads(body)


def _request(operation: bytes, content_type: bytes, body: bytes) -> bytes:
    return b"POST\nKinesis_20131202." + operation + b"\n" + content_type + b"\n" + body


FRONT_DOOR = Surface(
    (
        *(_request(b"PutRecord", JSON, body) for body in JSON_PUTS.seeds),
        *(_request(b"PutRecords", JSON, body) for body in JSON_PUTS.seeds),
        *(_request(b"PutRecord", CBOR, body) for body in CBOR_PUTS.seeds),
        *(_request(b"PutRecords", CBOR, body) for body in CBOR_PUTS.seeds),
        *(_request(b"ListShards", JSON + parameter, b"{}") for parameter in (b"", b"; charset=utf-8", b" ;\xe9")),
        _request(b"SubscribeToShard", CBOR, b"\xa0"),
        _request(b"PutRecord", b"application/json", b"{}"),
        b"GET\n\n\n",
        b"POST\n\n\n{}",
    ),
    (
        *(operation.encode() for operation in sorted(KNOWN_OPERATIONS)),
        *(
            JSON,
            CBOR,
            b"application/json",
            b"text/plain",
            b"GET",
            b"POST",
            b"OPTIONS",
            b"Kinesis_20131202.",
            b";",
            b"\n",
        ),
        *JSON_PUTS.words,
        *CBOR_PUTS.words,
    ),
    opened,
)
