from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.kinesis_client import KinesisClient, NoAnswer, ServiceError
from tests.support.producers import Habits, Ledger, Producer, Quota

if TYPE_CHECKING:
    from collections.abc import Callable


class ScriptedClient(KinesisClient):
    """Answers calls from a script: an output, or an error to raise."""

    def __init__(self, *script: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__("http://127.0.0.1:0")
        self.script = list(script)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def call(self, operation: str, body: bytes | dict[str, Any]) -> dict[str, Any]:
        """Answer with the next line of the script."""
        assert isinstance(body, bytes)
        request = json.loads(body)
        self.calls.append((operation, request))
        return self.script.pop(0)(request)


def taken(_request: dict[str, Any]) -> dict[str, Any]:
    """Answer PutRecord."""
    return {"ShardId": "shardId-000000000000", "SequenceNumber": "1"}


def throttled(_request: dict[str, Any]) -> dict[str, Any]:
    """Refuse a call as SDKs retry it."""
    raise ServiceError(400, "ProvisionedThroughputExceededException", "Rate exceeded")


def unanswered(_request: dict[str, Any]) -> dict[str, Any]:
    """Break the connection."""
    raise NoAnswer("PutRecord")


def second_entry_throttled(request: dict[str, Any]) -> dict[str, Any]:
    """Take all entries but the second."""
    results: list[dict[str, Any]] = [taken(entry) for entry in request["Records"]]
    results[1] = {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"}
    return {"FailedRecordCount": 1, "Records": results}


def producer(client: ScriptedClient, ledger: Ledger, habits: Habits) -> Producer:
    """Make a producer of one key that waits for nothing."""

    class NoWait(random.Random):
        def random(self) -> float:
            return 0.0

    return Producer(client, "orders", ["k1"], ledger, habits, NoWait())


@pytest.mark.parametrize("failure", [throttled, unanswered])
async def test_a_failed_sending_is_repeated_as_a_new_one(failure: Callable[[Any], dict[str, Any]]) -> None:
    """A repetition has an ordinal of its own, so that one by the server can be told from it."""
    ledger, client = Ledger(), ScriptedClient(failure, taken)
    await producer(client, ledger, Habits()).run(Quota(1))
    first, second = ledger.by_key["k1"]
    assert (first.sequence_number, second.sequence_number) == (None, "1")
    assert first.data != second.data
    assert (ledger.sent(), ledger.acknowledged()) == (2, 1)


async def test_results_of_put_records_are_entered_in_the_order_of_the_request() -> None:
    """The failed entry alone is unacknowledged; so many more are sent as are missing."""
    ledger, client = Ledger(), ScriptedClient(second_entry_throttled, taken)
    await producer(client, ledger, Habits(records_per_call=3, run_of_key=3)).run(Quota(3))
    assert [sending.sequence_number for sending in ledger.by_key["k1"]] == ["1", None, "1", "1"]
    assert ledger.failures == {"InternalFailure": 1}
    assert [operation for operation, _ in client.calls] == ["PutRecords", "PutRecord"]


async def test_an_error_that_no_sdk_retries_ends_the_run() -> None:
    """A validation error would be a mistake in the producer or the server: neither is hidden."""

    def invalid(_request: dict[str, Any]) -> dict[str, Any]:
        raise ServiceError(400, "ValidationException", "no")

    with pytest.raises(ServiceError):
        await producer(ScriptedClient(invalid), Ledger(), Habits()).run(Quota(1))


def test_a_closed_quota_sends_nothing_more() -> None:
    """What fails after the end stays unsent."""
    quota = Quota(5)
    assert quota.take(3) == 3
    quota.close()
    quota.give_back(3)
    assert quota.take(3) == 0
