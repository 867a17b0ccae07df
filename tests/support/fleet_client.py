"""One client of a fleet: a steady sender on a raw connection, which retries what was refused as SDKs do.

Theory of operation: at its turn it sends one call, its retries or, if there are none, new records, and has no other
turn until the call is answered or its patience ends. A turn comes when the backoff of a retry ends, or when the rate
allows new records; retries use up the rate too. Each sending of a record has the next ordinal of its key, so that the
order in which a key's sendings reached the proxy is that of their ordinals.

Must never know: what stands behind the port.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import msgspec

from tests.support.kinesis_client import AUTHORIZATION, CONTENT_TYPE, TARGET_PREFIX
from tests.support.producers import BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS, RETRIED_CODES, SERVER_FAULT, payload_of

if TYPE_CHECKING:
    import random

    from tests.support.fleet_plan import ClientSpec

ATTEMPTS_MAX = 5  # boto3's default
PATIENCE_SECONDS = 10.0
# How far a client that was kept waiting may make up for it.
CATCH_UP_SECONDS = 5.0
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nx-amz-retry-after: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
HEADER_END = b"\r\n\r\n"
STATUS = slice(9, 12)
STATUS_OK = 200
THROTTLED = "ProvisionedThroughputExceededException"
# What the service never says: an error of the proxy's own, given at its door.
OF_THE_PROXY = "proxy"

# What becomes of a call.
DELIVERED = "delivered"  # every record
PARTLY = "partly delivered"
REFUSED = "refused"  # every record, before it was queued
EXPIRED = "expired"  # no record delivered, at least one after a wait, for want of throughput
FAILED = "failed"  # no record delivered, for another cause
UNANSWERED = "unanswered"


class Ack(NamedTuple):
    """An acknowledged sending, as its client was told."""

    partition_key: str
    ordinal: int
    shard_id: str
    sequence_number: str


class CallMade(NamedTuple):
    """One call and its fate."""

    client: int
    single: bool
    outcome: str
    records: int
    sent_at: float
    seconds: float


class Result(msgspec.Struct):
    """What became of one record; PutRecord's answer and error as well."""

    ShardId: str | None = None
    SequenceNumber: str | None = None
    ErrorCode: str | None = None
    ErrorMessage: str | None = None
    code: str | None = msgspec.field(default=None, name="__type")
    message: str | None = None


class PutRecordsAnswer(msgspec.Struct):
    """PutRecords' answer."""

    Records: list[Result]
    FailedRecordCount: int


class Tally(msgspec.Struct):
    """What one client did in all.

    Args:
        started: records sent for the first time.
        acknowledged: records delivered, to its knowledge.
        given_up: records that failed in every attempt.
        sendings: records sent, retries included.
        unanswered: sendings without an answer.
        missed: records that it was too busy to send.
        passed_over: records that were refused at the door while a later one of their key in the same call was taken.
    """

    started: int = 0
    acknowledged: int = 0
    given_up: int = 0
    sendings: int = 0
    unanswered: int = 0
    missed: float = 0.0
    passed_over: int = 0


class Observer(Protocol):
    """Who is told what clients see."""

    def acked(self, ack: Ack) -> None:
        """Take an acknowledgement."""

    def called(self, call: CallMade) -> None:
        """Take a call."""

    def late(self, seconds: float) -> None:
        """Take by how much a turn came late, by the fault of the clients' process."""


class Client:
    """One client.

    Args:
        spec: who it is and how it calls.
        port: of its proxy.
        stream_name: an existing stream.
        data_bytes: size of a payload.
        observer: told of every call.
        chance: draws keys, sizes and jitter.
    """

    def __init__(
        self,
        spec: ClientSpec,
        port: int,
        stream_name: str,
        data_bytes: int,
        observer: Observer,
        chance: random.Random,
    ) -> None:
        self.tally = Tally()
        self.errors: Counter[str] = Counter()
        self.idle = asyncio.Event()
        self.ordinals = [0] * spec.habit.partition_keys
        self._spec = spec
        self._port = port
        self._stream = f'{{"StreamName":"{stream_name}",'
        self._data_bytes = data_bytes
        self._observer = observer
        self._random = chance
        self._loop = asyncio.get_running_loop()
        self._wire: _Wire | None = None
        self._stopping = False
        self._due_at = self._turn_at = 0.0
        self._turn_timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._retries: list[int] = []
        self._attempts = 0
        # The call that is out: its entries' keys and ordinals, and when it was sent.
        self._out: list[tuple[int, int]] = []
        self._sent_at = 0.0

    async def connect(self) -> None:
        """Open the connection."""
        wire = _Wire(self)
        await self._loop.create_connection(lambda: wire, "127.0.0.1", self._port)
        self._wire = wire

    def start(self) -> None:
        """Begin, at some moment of the first interval."""
        habit = self._spec.habit
        interval = (habit.records_per_call_min + habit.records_per_call_max) / 2 / habit.records_per_second
        self._due_at = self._loop.time() + interval * self._random.random()
        self._next_turn(self._due_at)

    def stop(self) -> None:
        """Send no more; `idle` is set when the call that is out has ended."""
        self._stopping = True
        if self._turn_timer is not None:
            self._turn_timer.cancel()
        if not self._out:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.close()
        self.idle.set()

    def _next_turn(self, at: float) -> None:
        if self._stopping:
            self.close()
            return
        self._turn_at = at
        self._turn_timer = self._loop.call_at(at, self._turn)

    def _turn(self) -> None:
        if self._wire is None or self._wire.closed:
            self._turn_timer = None
            self._connecting = self._loop.create_task(self.connect())
            self._connecting.add_done_callback(self._reconnected)
            return
        now = self._loop.time()
        self._observer.late(now - self._turn_at)
        if not self._retries:
            self._retries = self._new_records()
            self._attempts = 0
            self.tally.started += len(self._retries)
        self._attempts += 1
        self._send(self._retries, now)
        # What it could not send for too long is not made up for.
        rate = self._spec.habit.records_per_second
        behind = now - CATCH_UP_SECONDS - self._due_at
        if behind > 0:
            self.tally.missed += behind * rate
            self._due_at += behind
        self._due_at += len(self._out) / rate

    def _reconnected(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if error is not None:
            self.errors[f"no connection: {error!r}"] += 1
        self._next_turn(self._loop.time() + (BACKOFF_FIRST_SECONDS if error is not None else 0))

    def _new_records(self) -> list[int]:
        habit = self._spec.habit
        count = self._random.randint(habit.records_per_call_min, habit.records_per_call_max)
        run = habit.run_of_key
        chosen = self._random.sample(range(habit.partition_keys), -(-count // run))
        return [key for key in chosen for _ in range(run)][:count]

    def _send(self, keys: list[int], now: float) -> None:
        entries = []
        self._out = []
        for index in keys:
            ordinal = self.ordinals[index]
            self.ordinals[index] = ordinal + 1
            self._out.append((index, ordinal))
            partition_key = self._spec.partition_key(index)
            data = base64.b64encode(payload_of(partition_key, ordinal, self._data_bytes)).decode()
            entries.append(f'"Data":"{data}","PartitionKey":"{partition_key}"}}')
        if self._single:
            operation, body = "PutRecord", self._stream + entries[0]
        else:
            operation, body = "PutRecords", self._stream + '"Records":[{' + ",{".join(entries) + "]}"
        self.tally.sendings += len(keys)
        self._sent_at = now
        self._patience = self._loop.call_at(now + PATIENCE_SECONDS, self._lost_patience)
        assert self._wire is not None
        self._wire.write(_head(operation, len(body)) + body.encode())

    @property
    def _single(self) -> bool:
        return self._spec.habit.records_per_call_max == 1

    def answered(self, head: bytes, body: bytes) -> None:
        """Take the answer to the call that is out."""
        seconds = self._loop.time() - self._sent_at
        status = int(head[STATUS])
        results = self._results(status, body)
        failed: list[int] = []
        at_the_door: list[int] = []
        throttled = 0
        for (index, ordinal), result in zip(self._out, results, strict=True):
            if result.SequenceNumber is not None and result.ShardId is not None:
                ack = Ack(self._spec.partition_key(index), ordinal, result.ShardId, result.SequenceNumber)
                self._observer.acked(ack)
                self.tally.passed_over += index in at_the_door
                continue
            failed.append(index)
            self.errors[f"{result.ErrorCode}: {re.sub('[0-9]+', '#', result.ErrorMessage or '')}"] += 1
            throttled += result.ErrorCode == THROTTLED
            if OF_THE_PROXY in (result.ErrorMessage or ""):
                at_the_door.append(index)
        retry_after = RETRY_AFTER.search(head)
        self.tally.acknowledged += len(results) - len(failed)
        if not failed:
            outcome = DELIVERED
        elif len(failed) < len(results):
            outcome = PARTLY
        elif len(at_the_door) == len(failed) or (retry_after is not None and status != STATUS_OK):
            outcome = REFUSED
        else:
            outcome = EXPIRED if throttled else FAILED
        self._end(outcome, seconds, failed, None if retry_after is None else int(retry_after[1]) / 1000)

    def _results(self, status: int, body: bytes) -> list[Result]:
        if status == STATUS_OK and not self._single:
            answer = msgspec.json.decode(body, type=PutRecordsAnswer)
            errors = sum(result.ErrorCode is not None for result in answer.Records)
            assert answer.FailedRecordCount == errors, "FailedRecordCount counts the failures"
            return answer.Records
        result = msgspec.json.decode(body, type=Result)
        if status != STATUS_OK:
            result.ErrorCode, result.ErrorMessage = result.code, result.message
            assert result.ErrorCode in RETRIED_CODES or status >= SERVER_FAULT, f"no answer to expect: {body!r}"
        return [result] * len(self._out)

    def disconnected(self, wire: _Wire) -> None:
        """Take the loss of a connection."""
        if wire is self._wire and self._out:
            self._unanswered("the connection was lost")

    def _lost_patience(self) -> None:
        self._unanswered("no answer in time")

    def _unanswered(self, why: str) -> None:
        if self._wire is not None:
            self._wire.close()
        self.errors[why] += len(self._out)
        self.tally.unanswered += len(self._out)
        self._end(UNANSWERED, self._loop.time() - self._sent_at, [index for index, _ in self._out], None)

    def _end(self, outcome: str, seconds: float, failed: list[int], retry_after_seconds: float | None) -> None:
        """End the call that is out, and choose the next turn."""
        assert self._patience is not None
        self._patience.cancel()
        self._observer.called(
            CallMade(self._spec.number, self._single, outcome, len(self._out), self._sent_at, seconds)
        )
        self._out = []
        now = self._loop.time()
        if failed and self._attempts < ATTEMPTS_MAX:
            self._retries = failed
            ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (self._attempts - 1))
            self._next_turn(now + (retry_after_seconds or ceiling * self._random.random()))
            return
        self.tally.given_up += len(failed)
        self._retries = []
        self._next_turn(max(now, self._due_at))


def _head(operation: str, body_bytes: int) -> bytes:
    return (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"X-Amz-Target: {TARGET_PREFIX}{operation}\r\nX-Amz-Date: 20260101T000000Z\r\n"
        f"Authorization: {AUTHORIZATION}\r\nContent-Length: {body_bytes}\r\n\r\n"
    ).encode()


class _Wire(asyncio.Protocol):
    """One connection of a client, which may have others before and after it."""

    def __init__(self, client: Client) -> None:
        self.closed = False
        self._client = client
        self._buffer = b""
        self._needed_bytes = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def write(self, request: bytes) -> None:
        """Send a request."""
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        """Close the connection; what still arrives is ignored."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        if self.closed:
            return
        self._buffer += data
        head_end = self._buffer.find(HEADER_END)
        if head_end < 0:
            return
        if not self._needed_bytes:
            length = CONTENT_LENGTH.search(self._buffer, 0, head_end)
            assert length is not None, "an answer has a Content-Length"
            self._needed_bytes = head_end + len(HEADER_END) + int(length[1])
        if len(self._buffer) < self._needed_bytes:
            return
        head, body = self._buffer[:head_end], self._buffer[head_end + len(HEADER_END) :]
        self._buffer, self._needed_bytes = b"", 0
        if CLOSES.search(head):
            self.close()
        self._client.answered(head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the client, unless it closed the connection itself."""
        del exc
        if not self.closed:
            self.closed = True
            self._client.disconnected(self)
