"""What a fleet of proxies is to go through: its clients, and the stretches of its run. Data and arithmetic alone.

A client has partition keys of its own and at most one call outstanding, so the order of each key's records is known.
It sends at a steady rate, its retries included: what is sent in all is a chosen multiple of what the shards take, and
does not grow or shrink with what becomes of it, as long as the clients are free to send.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy.kinesis.limits import SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND

SEED = 20_131_202
DATA_BYTES = 100
SMALL_CLIENTS = 10
SINGLE_CLIENTS = 20


class Habit(msgspec.Struct, frozen=True):
    """How a class of clients calls.

    Args:
        name: of the class.
        records_per_call_min: 1 calls PutRecord.
        records_per_call_max: drawn evenly; more than 1 calls PutRecords.
        records_per_second: of one client, retries included.
        partition_keys: of one client.
        run_of_key: so many entries of one PutRecords in a row have the same key.
    """

    name: str
    records_per_call_min: int
    records_per_call_max: int
    records_per_second: float
    partition_keys: int
    run_of_key: int = 1


# A greedy client calls every four seconds, and so may wait that long for an answer without sending less.
GREEDY = Habit("greedy: PutRecords of 10 to 50", 10, 50, 7.5, 60)
GREEDY_IN_RUNS = Habit("greedy in runs: each key twice in a call", 10, 50, 7.5, 60, run_of_key=2)
SINGLE = Habit("single: 2 PutRecord a second", 1, 1, 2.0, 5)
SMALL = Habit("small: a PutRecord a second", 1, 1, 1.0, 2)


class ClientSpec(msgspec.Struct, frozen=True):
    """One client.

    Args:
        number: its own in the whole fleet.
        proxy: number of the proxy that it talks to.
        habit: how it calls.
    """

    number: int
    proxy: int
    habit: Habit

    def partition_key(self, index: int) -> str:
        """Return one of its partition keys, which no other client has."""
        return f"c{self.number}k{index}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the run.

    Args:
        name: of what happens in it.
        weight: its share of the run's time.
        faults: of the emulator, as its admin port takes them.
        reshards: a shard is split and two are merged at its beginning.
    """

    name: str
    weight: int
    faults: dict[str, Any] = field(default_factory=dict)
    reshards: bool = False


CALM = "calm"
RESETS = {"reset_before_ratio": 0.02, "reset_after_ratio": 0.03}
ERRORS = {"request_error_ratio": 0.05, "internal_failure_ratio": 0.02}
STRETCHES = (
    Stretch("cold start", 2),
    Stretch(CALM, 5),
    Stretch("10 % of records throttled", 2, {"throttle_ratio": 0.1}),
    Stretch("after the throttles", 1),
    Stretch("5 % of requests reset, most after the write", 2, dict(RESETS)),
    Stretch("split and merge", 3, reshards=True),
    Stretch("latency of 20 to 220 ms", 2, {"latency_ms": 20, "latency_spread_ms": 200}),
    Stretch("5 % of requests and 2 % of records fail with 500", 2, dict(ERRORS)),
    Stretch("all of these", 1, {"throttle_ratio": 0.05, "latency_spread_ms": 50, **RESETS, **ERRORS}),
    Stretch("calm again", 2),
)


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """One run.

    Args:
        seconds: how long the clients send.
        proxies: processes in front of the stream.
        shards: of the stream.
        overload: what is sent, as a multiple of what the shards take.
        seed: of everything that the clients draw.
        data_bytes: size of a payload.
        generators: processes that the clients live in.
        settings: of every proxy, by name.
        stretches: that the run consists of.
    """

    seconds: float
    proxies: int = 8
    shards: int = 4
    overload: float = 3.0
    seed: int = SEED
    data_bytes: int = DATA_BYTES
    generators: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    stretches: tuple[Stretch, ...] = STRETCHES

    @property
    def shard_records_per_second(self) -> float:
        """What one shard takes: payloads of a KiB or more meet its limit on bytes. Keys, a few bytes, are left out."""
        return min(SHARD_RECORDS_PER_SECOND, SHARD_BYTES_PER_SECOND / self.data_bytes)

    @property
    def records_per_second(self) -> float:
        """What all clients together send."""
        return self.overload * self.shards * self.shard_records_per_second

    def lengths(self) -> list[float]:
        """Return the stretches' lengths in seconds."""
        unit = self.seconds / sum(stretch.weight for stretch in self.stretches)
        return [stretch.weight * unit for stretch in self.stretches]


def clients_of(options: FleetOptions) -> list[ClientSpec]:
    """Return the clients: as many and as greedy at every proxy, some small ones among them."""
    rate = options.records_per_second / options.proxies
    rest = rate - SMALL_CLIENTS * SMALL.records_per_second - SINGLE_CLIENTS * SINGLE.records_per_second
    if rest <= 0:
        raise ValueError(f"{rate:.0f} records a second are too few for a proxy's clients")
    pairs = max(1, round(rest / GREEDY.records_per_second / 2))
    greedy_rate = rest / pairs / 2
    habits = [SMALL] * SMALL_CLIENTS + [SINGLE] * SINGLE_CLIENTS
    for habit in (GREEDY, GREEDY_IN_RUNS):
        habits += [msgspec.structs.replace(habit, records_per_second=greedy_rate)] * pairs
    return [
        ClientSpec(proxy * len(habits) + position, proxy, habit)
        for proxy in range(options.proxies)
        for position, habit in enumerate(habits)
    ]


def jain(values: list[float]) -> float:
    """Return Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0
