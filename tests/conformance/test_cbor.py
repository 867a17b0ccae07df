"""The vectors of the front door once more, in CBOR: the same answers, at our frontend and at kinesalite."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from cbor2 import dumps, loads
from multidict import CIMultiDict

from proxy.core.shard_map import StreamSummary
from proxy.kinesis.base64_text import is_base64
from proxy.kinesis.http import Request
from tests.conformance.front_door_vectors import JSON, STREAM, Vector, read_vectors
from tests.conformance.test_front_door import check_answer, exchange, kinesalite
from tests.unit.frontend.frontend_fakes import FakeQueue, frontend_of

if TYPE_CHECKING:
    import http.client

__all__ = ["kinesalite"]

CBOR = "application/x-amz-cbor-1.1"


def in_cbor(vector: Vector) -> Vector | None:
    """Say the same in CBOR, Data as bytes where it is base64; None for what only JSON can say."""
    if vector.headers.get("Content-Type") != JSON or vector.method != "POST":
        return None
    try:
        document = json.loads(vector.body, object_pairs_hook=_object_of, parse_constant=_refuse_constant)
        body = dumps(_with_bytes(document))
    except ValueError:
        return None
    return replace(vector, headers={**vector.headers, "Content-Type": CBOR}, body=body)


def _object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(members)) < len(members):
        raise ValueError("a member given twice")
    return dict(members)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _with_bytes(value: Any) -> Any:  # noqa: ANN401 - JSON in, CBOR out
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: b64decode(member)
        if name == "Data" and isinstance(member, str) and is_base64(member)
        else _with_bytes(member)
        for name, member in value.items()
    }


VECTORS = [said for said in map(in_cbor, read_vectors()) if said is not None]
# kinesalite's encoder gives nothing at all for an answer of more than 16 KiB.
UNANSWERED = {"500 good records"}
KINESALITE_VECTORS = [vector for vector in VECTORS if vector.kinesalite is not None and vector.name not in UNANSWERED]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
async def test_frontend_answers_in_cbor_as_the_vector_says(vector: Vector) -> None:
    """One set of rules decides both formats."""
    queue = FakeQueue()
    queue.known = StreamSummary(f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}", 1)
    reply = await frontend_of(queue).handle(Request(vector.method, "/", CIMultiDict(vector.headers), vector.body))
    assert reply.headers["Content-Type"] == CBOR
    check_answer(vector.expected, reply.status, CIMultiDict(reply.headers), json.dumps(loads(reply.body)).encode())
    assert bool(queue.queued) == (vector.expected.status == 200)


@pytest.mark.parametrize("vector", KINESALITE_VECTORS, ids=lambda vector: vector.name)
def test_kinesalite_answers_in_cbor_as_the_vector_says(vector: Vector, kinesalite: http.client.HTTPConnection) -> None:
    """It makes no difference between the formats either."""
    assert vector.kinesalite is not None
    status, headers, body = exchange(kinesalite, vector)
    assert headers["Content-Type"] == CBOR
    check_answer(vector.kinesalite, status, headers, json.dumps(loads(body)).encode())
