from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

from tests.support.fault_server import FaultServer, put_results, reply, reset_after_request
from tests.support.fleet_client import (
    ATTEMPTS_MAX,
    DELIVERED,
    EXPIRED,
    FAILED,
    PARTLY,
    REFUSED,
    THROTTLED,
    UNANSWERED,
    Ack,
    CallMade,
    Client,
)
from tests.support.fleet_plan import ClientSpec, Habit

if TYPE_CHECKING:
    from tests.support.fault_server import Behaviour

# So fast that a test need not wait for a turn.
ONE = Habit("one", 1, 1, 1_000.0, 1)
TWO_OF_A_KEY = Habit("two of a key", 2, 2, 1_000.0, 1, run_of_key=2)
FULL = "The proxy's buffer is full."
TAKEN = {"ShardId": "s0", "SequenceNumber": "7"}


class Seen:
    """Notes what a client sees."""

    def __init__(self) -> None:
        self.acks: list[Ack] = []
        self.calls: list[CallMade] = []
        self.lateness: list[float] = []
        self._changed = asyncio.Event()

    def acked(self, ack: Ack) -> None:
        """Take an acknowledgement."""
        self.acks.append(ack)

    def called(self, call: CallMade) -> None:
        """Take a call."""
        self.calls.append(call)
        self._changed.set()

    def late(self, seconds: float) -> None:
        """Take how late a turn came."""
        self.lateness.append(seconds)

    async def until_called(self, count: int) -> None:
        """Wait for so many calls to end."""
        while len(self.calls) < count:
            self._changed.clear()
            await self._changed.wait()


def error(status: int, code: str, message: str, **headers: str) -> Behaviour:
    """Answer with an error of the whole call."""
    body = json.dumps({"__type": code, "message": message}).encode()
    return reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def results(*members: dict[str, str]) -> Behaviour:
    """Answer PutRecords with these results."""
    failed = sum("ErrorCode" in member for member in members)
    return reply(200, json.dumps({"FailedRecordCount": failed, "Records": members}).encode())


def failure(message: str) -> dict[str, str]:
    """Return the result of a throttled record."""
    return {"ErrorCode": THROTTLED, "ErrorMessage": message}


async def seen_by_a_client(habit: Habit, calls: int, *script: Behaviour) -> tuple[Client, Seen, list[dict[str, Any]]]:
    """Run a client against a script for so many calls; return it, what it saw, and what was asked of the server."""
    async with FaultServer(*script) as server:
        seen = Seen()
        client = Client(ClientSpec(3, 0, habit), server.port, "s", 32, seen, random.Random(1))  # noqa: S311 - no secret
        await client.connect()
        client.start()
        await seen.until_called(calls)
        client.stop()
        await client.idle.wait()
        del seen.calls[calls:]
        return client, seen, [json.loads(request.body) for request in server.requests]


async def test_a_delivered_record_is_acknowledged_as_it_was_told() -> None:
    """Each sending has the next ordinal of its key, and its data says so."""
    client, seen, asked = await seen_by_a_client(ONE, 2, reply(200, json.dumps(TAKEN).encode()))
    assert seen.acks[:2] == [Ack("c3k0", 0, "s0", "7"), Ack("c3k0", 1, "s0", "7")]
    assert [call.outcome for call in seen.calls] == [DELIVERED] * 2
    assert {request["PartitionKey"] for request in asked} == {"c3k0"}
    assert client.tally.started == client.tally.acknowledged == client.tally.sendings == len(asked)


async def test_a_refused_record_is_sent_again_with_an_ordinal_of_its_own() -> None:
    """Until the service takes it, or the attempts are used up."""
    script = [error(400, THROTTLED, FULL), error(400, THROTTLED, FULL), reply(200, json.dumps(TAKEN).encode())]
    client, seen, _ = await seen_by_a_client(ONE, 3, *script)
    assert [call.outcome for call in seen.calls] == [REFUSED, REFUSED, DELIVERED]
    assert seen.acks[0].ordinal == 2
    assert client.tally.given_up == 0
    assert client.tally.sendings == client.tally.started + 2


async def test_a_record_that_fails_every_time_is_given_up() -> None:
    """After as many attempts as an SDK makes."""
    script = [error(400, THROTTLED, FULL)] * ATTEMPTS_MAX
    client, seen, _ = await seen_by_a_client(ONE, ATTEMPTS_MAX + 1, *script, reply(200, json.dumps(TAKEN).encode()))
    assert client.tally.given_up == 1
    assert seen.acks[0].ordinal == ATTEMPTS_MAX


async def test_what_is_refused_at_the_door_is_told_from_what_expired() -> None:
    """The proxy's own words, or its advice when to come again, are of the door; the service's words are not."""
    script = [
        error(400, THROTTLED, FULL),
        error(400, THROTTLED, "Rate exceeded.", x_amz_retry_after="20"),
        error(400, THROTTLED, "Rate exceeded for stream s: no turn within 9 ms."),
        error(500, "InternalFailure", ""),
    ]
    _, seen, _ = await seen_by_a_client(ONE, 4, *script)
    assert [call.outcome for call in seen.calls] == [REFUSED, REFUSED, EXPIRED, FAILED]


async def test_a_client_comes_again_when_it_was_told_to() -> None:
    """The header's milliseconds are kept to, not the client's own backoff."""
    script = [error(400, THROTTLED, FULL, x_amz_retry_after="300"), reply(200, json.dumps(TAKEN).encode())]
    _, seen, _ = await seen_by_a_client(ONE, 2, *script)
    assert seen.calls[1].sent_at - seen.calls[0].sent_at >= 0.3


async def test_a_lost_connection_leaves_a_sending_without_an_answer_and_is_replaced() -> None:
    """The client goes on over a new connection."""
    client, seen, asked = await seen_by_a_client(ONE, 2, reset_after_request(), reply(200, json.dumps(TAKEN).encode()))
    assert [call.outcome for call in seen.calls] == [UNANSWERED, DELIVERED]
    assert client.tally.unanswered == 1
    assert len(asked) == client.tally.sendings


async def test_only_what_failed_of_a_call_is_sent_again() -> None:
    """As the SDKs' users do with PutRecords."""
    script = [results(TAKEN, failure("Rate exceeded.")), put_results()]
    client, seen, asked = await seen_by_a_client(TWO_OF_A_KEY, 2, *script)
    assert [call.outcome for call in seen.calls] == [PARTLY, DELIVERED]
    assert [len(request["Records"]) for request in asked[:2]] == [2, 1]
    assert [ack.ordinal for ack in seen.acks[:2]] == [0, 2]
    assert client.tally.passed_over == 0


async def test_a_record_taken_in_front_of_a_refused_one_of_its_key_is_noticed() -> None:
    """Within one call, the door must not let a younger record of a key pass an older one; expiry may."""
    script = [results(failure(FULL), TAKEN), results(TAKEN), results(failure("Rate exceeded."), TAKEN), put_results()]
    client, _, _ = await seen_by_a_client(TWO_OF_A_KEY, 3, *script)
    assert client.tally.passed_over == 1
