"""A queue and an upstream that a test controls, and requests as an SDK writes them."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from multidict import CIMultiDict

from proxy.core.record import State
from proxy.frontend.handler import Frontend, FrontendSettings
from proxy.kinesis.http import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from proxy.core.record import Record
    from proxy.core.shard_map import StreamSummary
    from proxy.frontend.authentication import Authentication

JSON = "application/x-amz-json-1.1"
CBOR = "application/x-amz-cbor-1.1"
SETTING = "--forward"


class Rejection(NamedTuple):
    """What the queue says of records at some places of an append."""

    places: Container[int]
    code: str
    message: str
    retry_after_ms: int = 0


ALL = range(500)


class FakeQueue:
    """Takes records and settles them when told to, or in the loop's next turn."""

    def __init__(self, *, acknowledges: bool = True) -> None:
        self.queued: list[Record] = []
        self.appended: list[tuple[str, str | None]] = []
        self.asked_about: list[tuple[str, str | None]] = []
        self.known: StreamSummary | None = None
        self.rejections: list[Rejection] = []
        self.rejects_once = False
        self.withdrawn: list[Record] = []
        self.settle: Callable[[Record, int], None] = acknowledged
        self.acknowledges = acknowledges

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Take records, but for those that a rejection names."""
        self.appended.append((stream_name, stream_arn))
        rejected = 0
        for place, record in enumerate(records):
            for rejection in self.rejections:
                if place in rejection.places:
                    record.state = State.REJECTED
                    record.error_code = rejection.code
                    record.error_message = rejection.message
                    record.retry_after_ms = rejection.retry_after_ms
                    rejected += 1
        if self.rejects_once:
            self.rejections = []
        accepted = [record for record in records if record.state is State.QUEUED]
        first = len(self.queued)
        self.queued += accepted
        if self.acknowledges and accepted:
            asyncio.get_running_loop().call_soon(self.settle_from, first, accepted)
        return rejected

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Take records back that are queued, and tell so in the loop's next turn."""
        assert (stream_name, stream_arn) in self.appended
        for record in records:
            if record.state is State.QUEUED:
                record.state = State.WITHDRAWN
                self.withdrawn.append(record)
                assert record.on_outcome is not None
                asyncio.get_running_loop().call_soon(record.on_outcome, record)

    def send(self, *places: int) -> None:
        """Put queued records in flight."""
        for place in places:
            self.queued[place].state = State.IN_FLIGHT
            self.queued[place].attempts += 1

    def finish(self, *places: int) -> None:
        """Give records their outcome."""
        for place in places:
            self.settle_from(place, [self.queued[place]])

    def summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | None:
        """Return what the test says is known."""
        del stream_name, stream_arn
        return self.known

    def learn_about(self, stream_name: str, stream_arn: str | None) -> None:
        """Note what is to be learned."""
        self.asked_about.append((stream_name, stream_arn))

    def settle_from(self, first: int, records: list[Record]) -> None:
        """Give records their outcome, in their order."""
        for ordinal, record in enumerate(records, first):
            self.settle(record, ordinal)
            assert record.on_outcome is not None
            record.on_outcome(record)


def acknowledged(record: Record, ordinal: int) -> None:
    """Settle a record as written, with a sequence number that tells its place in the queue."""
    record.state = State.ACKNOWLEDGED
    record.attempts += 1
    record.shard_id = "shardId-000000000000"
    record.sequence_number = str(ordinal)


def failed(state: State, code: str | None, message: str | None) -> Callable[[Record, int], None]:
    """Settle records with an error."""

    def settle(record: Record, ordinal: int) -> None:
        del ordinal
        record.state = state
        record.error_code = code
        record.error_message = message

    return settle


class FakeUpstream:
    """Answers what is forwarded, and remembers it."""

    def __init__(self) -> None:
        self.forwarded: list[tuple[str, bytes]] = []
        self.reply = Reply(200, b'{"forwarded":true}', {"Content-Type": JSON})
        self.error: Exception | None = None

    async def forward(self, operation: str, request: Request) -> Reply:
        """Remember the request and answer as told."""
        if self.error is not None:
            raise self.error
        self.forwarded.append((operation, request.body))
        return self.reply


def ticking_clock() -> Callable[[], int]:
    """Return a clock that moves a millisecond each time that it is read."""
    return count(1_000_000, 1_000_000).__next__


def frontend_of(
    queue: FakeQueue,
    upstream: FakeUpstream | None = None,
    *,
    forwarded: frozenset[str] | None = None,
    data_bytes_max: int = 0,
    authentication: Authentication | None = None,
    clock: Callable[[], int] | None = None,
) -> Frontend:
    """Build a frontend on fakes."""
    settings = FrontendSettings(forwarded, SETTING, data_bytes_max=data_bytes_max)
    return Frontend(queue, upstream or FakeUpstream(), settings, clock or ticking_clock(), authentication)


def request_of(operation: str, body: bytes | dict[str, Any], content_type: str = JSON) -> Request:
    """Build a request as an SDK sends it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = CIMultiDict({"x-amz-target": f"Kinesis_20131202.{operation}", "content-type": content_type})
    return Request("POST", "/", headers, raw)


def put_record_request(**members: Any) -> Request:  # noqa: ANN401 - members of a JSON body
    """Build a good PutRecord, but for the members given; None leaves one out."""
    body = {"StreamName": "orders", "PartitionKey": "a", "Data": "YQ==", **members}
    return request_of("PutRecord", {name: value for name, value in body.items() if value is not None})


def put_records_request(count: int, **members: Any) -> Request:  # noqa: ANN401 - members of a JSON body
    """Build a good PutRecords of so many records, but for the members given."""
    records = [{"PartitionKey": f"k{position}", "Data": "YQ=="} for position in range(count)]
    return request_of("PutRecords", {"StreamName": "orders", "Records": records, **members})


def output_of(reply: Reply) -> dict[str, Any]:
    """Return a reply's decoded body."""
    decoded: dict[str, Any] = json.loads(reply.body)
    return decoded
