"""The same requests, and the same answers, at our frontend and at kinesalite, which was written against the service."""

from __future__ import annotations

import http.client
import json
import re
from base64 import b64decode
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from multidict import CIMultiDict

from proxy.core.shard_map import StreamSummary
from proxy.kinesis.http import Request
from tests.conformance.front_door_vectors import STREAM, Expected, Vector, read_vectors, violations_of
from tests.unit.frontend.frontend_fakes import FakeQueue, frontend_of

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = read_vectors()
KINESALITE_VECTORS = [vector for vector in VECTORS if vector.kinesalite is not None]
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=0",
    "X-Amz-Date": "20260101T000000Z",
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
async def test_frontend_answers_as_the_vector_says(vector: Vector) -> None:
    """Status, type and text are the vector's, and of what is refused nothing is queued."""
    queue = FakeQueue()
    queue.known = StreamSummary(f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}", 1)
    reply = await frontend_of(queue).handle(Request(vector.method, "/", CIMultiDict(vector.headers), vector.body))
    check_answer(vector.expected, reply.status, CIMultiDict(reply.headers), reply.body)
    assert bool(queue.queued) == (vector.expected.status == 200)


@pytest.fixture(scope="module")
def kinesalite(kinesalite_url: str) -> Iterator[http.client.HTTPConnection]:
    """A connection to kinesalite, with the vectors' stream made."""
    connection = http.client.HTTPConnection(urlsplit(kinesalite_url).netloc)
    with closing(connection):
        exchange(connection, _operation("CreateStream", {"StreamName": STREAM, "ShardCount": 1}))
        body = b""
        while b'"ACTIVE"' not in body:
            _, _, body = exchange(connection, _operation("DescribeStream", {"StreamName": STREAM}))
        yield connection


@pytest.mark.parametrize("vector", KINESALITE_VECTORS, ids=lambda vector: vector.name)
def test_kinesalite_answers_as_the_vector_says(vector: Vector, kinesalite: http.client.HTTPConnection) -> None:
    """What the vectors say of kinesalite is true, so every difference between it and us is a listed one."""
    assert vector.kinesalite is not None
    check_answer(vector.kinesalite, *exchange(kinesalite, vector))


def check_answer(expected: Expected, status: int, headers: CIMultiDict[str], body: bytes) -> None:
    """Compare an answer, and the headers that every answer carries."""
    assert (status, body[:300]) == (expected.status, body[:300])
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", headers["x-amzn-RequestId"])
    assert 64 <= len(b64decode(headers["x-amz-id-2"])) <= 80
    if expected.body is not None:
        assert body.decode() == expected.body
    elif expected.cbor_type is not None:
        assert headers["Content-Type"] == "application/x-amz-cbor-1.1"
        assert expected.cbor_type.encode() in body
    elif expected.type is not None:
        error = json.loads(body)
        assert error.pop("__type") == expected.type
        member = "Message" if expected.type == "SerializationException" else "message"
        if expected.violations:
            assert violations_of(error.pop("message")) == expected.violations
        elif expected.message == "*":
            error.pop(member)
        elif expected.message is not None:
            assert error.pop(member) == expected.message
        assert not error
    else:
        assert json.loads(body).keys() <= {
            "ShardId",
            "SequenceNumber",
            "FailedRecordCount",
            "Records",
            "EncryptionType",
        }


def exchange(connection: http.client.HTTPConnection, vector: Vector) -> tuple[int, CIMultiDict[str], bytes]:
    """Send a vector's request and return status, headers and body."""
    connection.request(vector.method, "/", vector.body or None, {**SIGNED, **vector.headers})
    response = connection.getresponse()
    return response.status, CIMultiDict(response.getheaders()), response.read()


def _operation(operation: str, members: dict[str, object]) -> Vector:
    expected = Expected(200, None, None, (), None, None)
    headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    return Vector(operation, "POST", headers, json.dumps(members).encode(), expected, expected)
