from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import cbor2
import pytest
from hpack import Decoder
from multidict import CIMultiDict

from proxy.frontend.keys import InboundKey
from proxy.kinesis.http import Request
from proxy.kinesis.sigv4 import Verifier
from tests.benchmarks.http1_load import Http1Sender
from tests.benchmarks.http2_load import DATA, END_STREAM, HEADERS, OPENING, Http2Sender, frame, header_blocks
from tests.benchmarks.load import Options, Run
from tests.benchmarks.request_pool import Requests, headers_of, http1_request
from tests.support.processes import CREDENTIALS

if TYPE_CHECKING:
    import asyncio

WHEN_SIGNED = "X-Amz-Date"


def options(**members: Any) -> Options:  # noqa: ANN401 - the members of Options
    """Return a load for as long as a test takes."""
    return Options(4567, 1, 60.0, **members)


def bodies(load: Options, count: int) -> list[bytes]:
    """Return the bodies of some requests."""
    requests = Requests(load, lambda _, body: body)
    return [requests.next() for _ in range(count)]


class FakeTransport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def close(self) -> None:
        """Note it."""
        self.closed = True


def run_of(load: Options, renewed: list[int] | None = None) -> Run:
    """Return a run that has not ended; it gives bodies alone."""
    run = Run(load, Requests(load, lambda _, body: body), lambda: (renewed if renewed is not None else []).append(1))
    run.end_at = float("inf")
    return run


@pytest.mark.parametrize("encoding", ["json", "cbor"])
def test_keys_are_filled_in_where_the_partition_key_stands(encoding: str) -> None:
    """A template that is filled in is a whole body, and its keys are drawn from the range."""
    loads = json.loads if encoding == "json" else cbor2.loads
    documents = [loads(body) for body in bodies(options(encoding=encoding, partition_keys=50), 200)]
    assert {document["StreamName"] for document in documents} == {"bench"}
    keys = {int(document["PartitionKey"]) for document in documents}
    assert len(keys) > 20
    assert max(keys) < 50
    data = documents[0]["Data"]
    assert len(base64.b64decode(data) if encoding == "json" else data) == 200


def test_call_of_many_records_repeats_no_key_while_there_are_enough() -> None:
    """Keys of one PutRecords are different ones, unless there are fewer keys than records."""
    (call,) = bodies(options(records_per_call=20, partition_keys=20), 1)
    assert len({record["PartitionKey"] for record in json.loads(call)["Records"]}) == 20
    (call,) = bodies(options(records_per_call=20, partition_keys=3), 1)
    assert len(json.loads(call)["Records"]) == 20


@pytest.mark.parametrize("records_per_call", [1, 5])
def test_every_stream_is_sent_to(records_per_call: int) -> None:
    """With several streams each gets its share."""
    load = options(streams=7, records_per_call=records_per_call)
    assert {json.loads(body)["StreamName"] for body in bodies(load, 300)} == set(load.stream_names())


def test_signed_request_is_one_that_the_proxy_takes() -> None:
    """The signatures of the pool hold, as the proxy's own verifier finds."""
    load = options(signed=True)
    body = b'{"StreamName":"bench"}'
    headers = headers_of(load, "PutRecord", body)
    key = InboundKey(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    request = Request("POST", "/", CIMultiDict(headers), body)
    assert Verifier(lambda _: key).verify(request, wall_seconds_of(headers[WHEN_SIGNED])) is key


def test_announced_length_is_the_body_s() -> None:
    """A request over HTTP/1.1 ends where it says, whatever key was filled in."""
    load = options()
    requests = Requests(load, lambda operation, body: http1_request(load, operation, body))
    head, _, body = requests.next().partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


async def test_answer_in_pieces_counts_once() -> None:
    """An answer over HTTP/1.1 is counted when all of it is there, and the next request goes out then."""
    run, transport = run_of(options()), FakeTransport()
    sender = Http1Sender(run)
    sender.connection_made(cast("asyncio.Transport", transport))
    run.next_send(sender)
    first = len(transport.written)
    for piece in (b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\n\r\nab", b"cd"):
        assert run.report.requests == 0
        sender.data_received(piece)
    assert (run.report.requests, run.report.records, run.report.failed_requests) == (1, 1, 0)
    assert len(transport.written) == 2 * first


async def test_paced_run_ends_with_its_last_answer() -> None:
    """A last request that is answered long before the time is over ends the run: no other comes after it."""
    run = run_of(options(rate=1.0))
    sender = Http1Sender(run)
    sender.connection_made(cast("asyncio.Transport", FakeTransport()))
    run.next_send(sender)
    run.end_at = time.perf_counter() + 0.9
    await run.pace()
    assert not run.done.is_set()
    sender.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert run.done.is_set()


async def test_refusal_is_a_failure() -> None:
    """What was not taken is no record, and the first reason is kept."""
    run, transport = run_of(options()), FakeTransport()
    sender = Http1Sender(run)
    sender.connection_made(cast("asyncio.Transport", transport))
    run.next_send(sender)
    sender.data_received(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
    assert (run.report.records, run.report.failed_records) == (0, 1)
    assert run.report.first_failure.endswith("no")


async def test_lost_connection_ends_the_run_with_a_reason() -> None:
    """An answer that cannot come any more is not waited for."""
    run = run_of(options())
    sender = Http1Sender(run)
    sender.connection_made(cast("asyncio.Transport", FakeTransport()))
    run.next_send(sender)
    sender.connection_lost(None)
    assert run.done.is_set()
    assert "connection lost" in run.report.first_failure


async def test_fresh_connection_is_closed_after_its_answer() -> None:
    """Where every request has a connection of its own, another is opened instead of a second request."""
    renewed: list[int] = []
    run, transport = run_of(options(fresh=True), renewed), FakeTransport()
    sender = Http1Sender(run)
    sender.connection_made(cast("asyncio.Transport", transport))
    run.next_send(sender)
    sender.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert transport.closed
    assert renewed == [1]


async def test_http2_headers_are_the_same_for_the_first_request_and_all_others() -> None:
    """The second block of headers, which leans on the first, means the same."""
    headers = {"Host": "127.0.0.1:4567", "X-Amz-Target": "Kinesis_20131202.PutRecord", "Content-Length": "300"}
    first, later = header_blocks(headers)
    decoder = Decoder()
    assert decoder.decode(first) == decoder.decode(later) == decoder.decode(later)
    assert len(later) < len(first)


async def test_http2_requests_wait_for_room_in_the_window() -> None:
    """No more is sent than the server's window has room for, and the rest as soon as it has."""
    load = options(protocol="http2", data_bytes=30_000)
    run, transport = run_of(load), FakeTransport()
    sender = Http2Sender(run, (b"", b""))
    sender.connection_made(cast("asyncio.Transport", transport))
    for _ in range(3):
        run.next_send(sender)
    assert transport.written.count(b'"StreamName"') == 1
    sender.data_received(frame(8, 0, 0, (100_000).to_bytes(4, "big")))
    assert transport.written.count(b'"StreamName"') == 3


async def test_http2_answer_in_frames_and_pieces_counts_once() -> None:
    """An answer over HTTP/2 ends with its stream, however its bytes are cut, and is good by its body."""
    run, transport = run_of(options(protocol="http2")), FakeTransport()
    sender = Http2Sender(run, (b"", b""))
    sender.connection_made(cast("asyncio.Transport", transport))
    assert transport.written == OPENING
    run.next_send(sender)
    run.next_send(sender)
    good = frame(HEADERS, 4, 1, b"") + frame(DATA, 0, 1, b'{"Sequence') + frame(DATA, END_STREAM, 1, b'Number":"1"}')
    for at in range(len(good)):
        sender.data_received(good[at : at + 1])
    sender.data_received(frame(HEADERS, 4, 3, b"") + frame(DATA, END_STREAM, 3, b'{"__type":"InternalFailure"}'))
    assert (run.report.requests, run.report.records, run.report.failed_records) == (2, 1, 1)


def wall_seconds_of(date: str) -> int:
    """Return the seconds since the epoch of a date as signatures write it."""
    return int(datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp())
