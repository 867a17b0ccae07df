from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from proxy.emulator.faults import NO_FAULTS, FaultInjector, Faults
from tests.unit.emulator.emulator_driver import Emulator, entry, shard_id

HIGH = str(2**128 - 1)


def never() -> float:
    """Be a source of randomness that must not be asked."""
    raise AssertionError("rolled without need")


def rolling(*numbers: float) -> FaultInjector:
    """Return an injector whose rolls are given; one roll too many is an error."""
    return FaultInjector(iter(numbers).__next__)


def test_without_faults_nothing_is_rolled() -> None:
    """A seeded run is the same with an idle injector and without."""
    injector = FaultInjector(never)
    assert injector.roll("PutRecords", "orders") == NO_FAULTS
    assert injector.refuse("orders", "000000000000") is None


def test_latency_is_fixed_plus_an_even_spread() -> None:
    """The roll decides over the spread alone."""
    injector = rolling(0.25)
    injector.faults = Faults(latency_ms=10, latency_spread_ms=100)
    assert injector.roll("PutRecord", "orders").delay_ms == 35
    assert injector.injected["latency"] == 1


@pytest.mark.parametrize("fault", ["reset_before", "request_error", "reset_after", "short_response"])
def test_a_request_meets_a_fault_when_the_roll_is_below_its_ratio(fault: str) -> None:
    """Below, not at."""
    injector = rolling(0.1999, 0.2)
    injector.faults = Faults(**{f"{fault}_ratio": 0.2})  # type: ignore[arg-type] # ratios all
    assert getattr(injector.roll("PutRecords", "orders"), fault)
    assert not getattr(injector.roll("PutRecords", "orders"), fault)
    assert injector.injected[fault] == 1


def test_a_request_is_ended_by_one_fault_at_most() -> None:
    """The first in order; the others are not rolled."""
    injector = rolling(0.0)
    injector.faults = Faults(reset_before_ratio=1, request_error_ratio=1, reset_after_ratio=1, short_response_ratio=1)
    assert sum(injector.roll("PutRecords", "orders")[1:5]) == 1


def test_only_put_records_can_be_too_short() -> None:
    """A PutRecord has one result."""
    injector = FaultInjector(never, Faults(short_response_ratio=1))
    assert not injector.roll("PutRecord", "orders").short_response


def test_answers_trickle_at_the_pace_set() -> None:
    """The transport is told how slowly to send."""
    injector = FaultInjector(never, Faults(trickle_bytes_per_second=100))
    assert injector.roll("PutRecord", "orders").pace_bytes_per_second == 100


def test_faults_are_for_puts_unless_every_operation_is_named() -> None:
    """So that a test can still look at its stream."""
    injector = FaultInjector(never, Faults(latency_ms=5))
    assert injector.roll("ListShards", "orders") == NO_FAULTS
    injector.faults = Faults(latency_ms=5, every_operation=True)
    assert injector.roll("ListShards", "orders").delay_ms == 5


def test_faults_can_be_for_one_stream() -> None:
    """The others meet none."""
    injector = FaultInjector(never, Faults(latency_ms=5, stream_name="orders", throttle_shard_id=shard_id(0)))
    assert injector.roll("PutRecord", "orders").delay_ms == 5
    assert injector.roll("PutRecord", "other") == NO_FAULTS
    assert injector.refuse("other", "000000000000") is None
    assert injector.refuse("orders", "000000000000") is not None


def test_a_share_of_records_is_throttled_in_the_services_words() -> None:
    """Record by record; a throttled one is not written."""
    emulator = Emulator()
    emulator.create()
    injector = rolling(0.1, 0.9, 0.4)
    injector.faults = Faults(throttle_ratio=0.5)
    results = emulator.put_many([entry("a", b"%d" % number) for number in range(3)], refuse=refusing(injector))
    assert [result.error_code for result in results] == [
        "ProvisionedThroughputExceededException",
        None,
        "ProvisionedThroughputExceededException",
    ]
    assert results[0].error_message == (
        "Rate exceeded for shard shardId-000000000000 in stream orders under account 000000000000."
    )
    assert emulator.read_shard() == [b"1"]
    assert injector.injected["throttle"] == emulator.model.counters.faulted_records == 2


def test_one_shard_can_be_throttled_whole() -> None:
    """Every record of it, and none of another."""
    emulator = Emulator()
    emulator.create(shards=2)
    injector = FaultInjector(never, Faults(throttle_shard_id=shard_id(1)))
    entries = [entry("a", explicit_hash_key=key) for key in ("0", HIGH, "0", HIGH)]
    codes = [result.error_code for result in emulator.put_many(entries, refuse=refusing(injector))]
    assert codes == [None, "ProvisionedThroughputExceededException"] * 2


def test_a_share_of_records_meets_an_internal_failure() -> None:
    """With the service's message, beside its written neighbours."""
    emulator = Emulator()
    emulator.create()
    injector = rolling(0.0, 0.99)
    injector.faults = Faults(internal_failure_ratio=0.5)
    failed, written = emulator.put_many([entry("a"), entry("b")], refuse=refusing(injector))
    assert (failed.error_code, failed.error_message) == ("InternalFailure", "Internal Service Failure")
    assert written.error_code is None


def test_one_seed_gives_one_run() -> None:
    """Everything follows from the source of randomness handed in."""
    faults = Faults(latency_spread_ms=50, reset_after_ratio=0.3, throttle_ratio=0.2)
    runs = []
    for _ in range(2):
        injector = FaultInjector(Random(7).random, faults)  # noqa: S311 - what is to repeat must not be secret
        runs.append([injector.roll("PutRecords", "orders") for _ in range(50)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


def test_faults_are_read_from_pairs() -> None:
    """As flags give them."""
    pairs = ["latency_ms=10", "throttle_ratio=0.05", "throttle_shard_id=shardId-000000000001", "every_operation=true"]
    assert Faults.from_pairs(pairs) == Faults(
        latency_ms=10, throttle_ratio=0.05, throttle_shard_id=shard_id(1), every_operation=True
    )


def test_faults_survive_their_way_through_json() -> None:
    """As the admin interface tells and takes them."""
    faults = Faults(latency_ms=1, reset_after_ratio=0.5, stream_name="orders")
    assert Faults.from_mapping(json.loads(json.dumps(faults.as_mapping()))) == faults


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"latency_ms": -1}, "latency_ms must be an integer between 0 and 600000, not -1"),
        ({"latency_ms": 1.5}, "latency_ms must be an integer between 0 and 600000, not 1.5"),
        ({"latency_spread_ms": True}, "latency_spread_ms must be an integer"),
        ({"throttle_ratio": 1.01}, "throttle_ratio must be a number between 0 and 1, not 1.01"),
        ({"throttle_ratio": float("nan")}, "throttle_ratio must be a number between 0 and 1, not nan"),
        ({"reset_after_ratio": "0.5"}, "reset_after_ratio must be a number between 0 and 1, not '0.5'"),
        ({"every_operation": 1}, "every_operation must be true or false, not 1"),
        ({"stream_name": None}, "stream_name must be a text, not None"),
        ({"trickle_bytes_per_second": 10**9 + 1}, "trickle_bytes_per_second must be an integer between 0"),
        ({"latency": 1}, "'latency' is no fault; there are every_operation, internal_failure_ratio"),
    ],
)
def test_a_fault_out_of_bounds_is_refused_by_name(members: dict[str, Any], message: str) -> None:
    """The message names the member and its bounds."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        Faults.from_mapping(members)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("latency_ms", "'latency_ms' is not of the form name=value"),
        ("latency_ms=fast", "latency_ms must be an integer between 0 and 600000, not 'fast'"),
        ("every_operation=perhaps", "every_operation must be true or false, not 'perhaps'"),
        ("nonsense=1", "'nonsense' is no fault"),
    ],
)
def test_a_pair_that_cannot_be_read_is_refused_by_name(pair: str, message: str) -> None:
    """The message names the pair and what would be right."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        Faults.from_pairs([pair])
    assert message in str(caught.value)


def test_a_fault_given_twice_is_refused() -> None:
    """Which one was meant cannot be known."""
    with pytest.raises(ValueError, match="latency_ms is given twice"):
        Faults.from_pairs(["latency_ms=1", "latency_ms=2"])


def refusing(injector: FaultInjector) -> Any:  # noqa: ANN401 - the injector's own type
    """Return what decides over the records of a put into the stream of these tests."""
    return injector.refuse("orders", "000000000000")
