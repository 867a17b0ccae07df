"""The calls of producers: their bodies and headers, and whether what comes back can be believed. No time in here."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from multidict import CIMultiDict

from proxy.core.hashing import HASH_KEY_MAX
from proxy.kinesis.http import Reply, Request
from tests.simulation.promises import Promises, Rule
from tests.simulation.service import arn_of

if TYPE_CHECKING:
    from random import Random

    from tests.simulation.scenario import Scenario
    from tests.simulation.service import SimulatedStream

# What the proxy may answer a whole call with, and the status that comes with it.
ERRORS = {
    "ProvisionedThroughputExceededException": 400,
    "InternalFailure": 500,
    "ValidationException": 400,
    "InvalidArgumentException": 400,
    "AccessDeniedException": 400,
    "ResourceNotFoundException": 400,
}
# Of these an SDK tries a call again.
RETRIED = frozenset({"ProvisionedThroughputExceededException", "InternalFailure"})


@dataclass(frozen=True, slots=True)
class Item:
    """One record as its producer has it; no two have the same data."""

    partition_key: str
    data: str
    size_bytes: int
    explicit_hash_key: str | None = None


@dataclass(frozen=True, slots=True)
class CallMade:
    """One call: its records, and whether it is a PutRecord, perhaps with SequenceNumberForOrdering."""

    items: tuple[Item, ...]
    single: bool
    ordered: bool


class Producer:
    """Makes up records and calls.

    Args:
        scenario: see there.
        random: its dice.
        number: of the client.
    """

    def __init__(self, scenario: Scenario, random: Random, number: int) -> None:
        self._scenario = scenario
        self._random = random
        self._number = number
        self._made = 0

    def call(self, records_max: int) -> CallMade:
        """Make up a call."""
        random = self._random
        if records_max == 1 or random.random() < 0.2:
            return CallMade((self._item(),), single=True, ordered=random.random() < 0.1)
        return CallMade(tuple(self._item() for _ in range(random.randint(1, records_max))), single=False, ordered=False)

    def _item(self) -> Item:
        random, scenario = self._random, self._scenario
        self._made += 1
        index = random.randrange(scenario.keys)
        partition_key = f"key-{index}" if index % 4 == 0 else f"key-{index}-of-{self._number}"
        kind = "guilty" if random.random() < scenario.faults.guilty else "record"
        if scenario.habits[self._number].shares_id:
            kind = "shared"
        # three bytes are four characters of base64: its kind shows
        head = f"{kind}{self._number:03d}{self._made:06d}"
        size_bytes = max(random.choice(scenario.sizes), len(head) + len(partition_key))
        if scenario.frontend:
            data = b64encode(head.ljust(size_bytes - len(partition_key), ".").encode()).decode()
        else:
            data = b64encode(head.encode()).decode()  # the driver takes a record's word for its size
        explicit = str(random.randrange(HASH_KEY_MAX)) if random.random() < scenario.explicit_ratio else None
        return Item(partition_key, data, size_bytes, explicit)


def request_of(call: CallMade, stream: SimulatedStream, invocation_id: str, attempt: int, tries: int) -> Request:
    """Write a call as an SDK does."""
    operation = "PutRecord" if call.single else "PutRecords"
    body: dict[str, Any] = {"StreamARN": arn_of(stream.name)} if stream.shape.by_arn else {"StreamName": stream.name}
    entries = [_entry(item) for item in call.items]
    if call.single:
        body.update(entries[0])
        if call.ordered:
            body["SequenceNumberForOrdering"] = "1"
    else:
        body["Records"] = entries
    headers = CIMultiDict(
        {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
            "amz-sdk-invocation-id": invocation_id,
            "amz-sdk-request": f"attempt={attempt}; max={tries}",
        }
    )
    return Request("POST", "/", headers, msgspec.json.encode(body))


def _entry(item: Item) -> dict[str, str]:
    entry = {"Data": item.data, "PartitionKey": item.partition_key}
    if item.explicit_hash_key is not None:
        entry["ExplicitHashKey"] = item.explicit_hash_key
    return entry


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client makes of an answer: what failed, whether its SDK tries again, and how long it is asked to wait."""

    failed: tuple[Item, ...]
    retry: bool
    retry_after_seconds: float = 0
    code: str | None = None


def read_reply(reply: Reply, call: CallMade, stream: SimulatedStream, promises: Promises) -> Answered:
    """Check an answer against what the service wrote, and take from it what a client does."""
    document = msgspec.json.decode(reply.body)
    if reply.status != 200:
        code = document["__type"]
        if ERRORS.get(code) != reply.status:
            raise promises.note(Rule.ANSWER, f"{reply.status} {document}")
        retry_after = int(reply.headers.get("x-amz-retry-after", "0")) / 1000
        return Answered(call.items, code in RETRIED, retry_after, code)
    if call.single:
        _check_place(document, call.items[0], stream, promises)
        return Answered((), retry=False)
    results = document["Records"]
    failed = []
    if len(results) != len(call.items):
        raise promises.note(Rule.ANSWER, f"{len(results)} results for {len(call.items)} records")
    for item, result in zip(call.items, results, strict=True):
        if "ErrorCode" in result:
            failed.append(item)
        else:
            _check_place(result, item, stream, promises)
    if document["FailedRecordCount"] != len(failed):
        raise promises.note(Rule.ANSWER, f"FailedRecordCount is {document['FailedRecordCount']}, not {len(failed)}")
    return Answered(tuple(failed), retry=False)


def _check_place(result: dict[str, str], item: Item, stream: SimulatedStream, promises: Promises) -> None:
    place = (result.get("ShardId", ""), result.get("SequenceNumber", ""))
    if place not in stream.places.get(item.data, ()):
        raise promises.note(Rule.TRUTH, f"a caller is told {place}, where its record is not")
