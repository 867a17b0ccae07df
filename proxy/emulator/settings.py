"""What can be set about the embedded Kinesis, with its bounds; values only.

Faults are not here: they change while it runs (`proxy.emulator.faults`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.kinesis import limits

SHARDS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSettings:
    """How the embedded Kinesis behaves.

    Args:
        region: named in ARNs and error texts.
        account_id: twelve digits, named in ARNs and error texts.
        shard_records_per_second: limit of each shard; 0 means unlimited.
        shard_bytes_per_second: limit of each shard, data and partition keys; 0 means unlimited.
        request_bytes_max: data and partition keys in one PutRecords.
        retention_records_max: records kept over all streams, the oldest go first; 0 keeps none.
        retention_bytes_max: data and partition keys kept over all streams; 0 keeps none.
        retention_hours: how long a record is kept at most.
        create_delay_ms: how long a stream stays CREATING, UPDATING or DELETING; 0 means not at all.
        create_on_first_use_shards: shards of a stream that is made when it is first named; 0 makes none.
        shards_max: open shards over all streams.
    """

    region: str = "us-east-1"
    account_id: str = "000000000000"
    shard_records_per_second: int = limits.SHARD_RECORDS_PER_SECOND
    shard_bytes_per_second: int = limits.SHARD_BYTES_PER_SECOND
    request_bytes_max: int = limits.REQUEST_BYTES_MAX
    retention_records_max: int = 1_000_000
    retention_bytes_max: int = 256 * limits.MIB
    retention_hours: int = 24
    create_delay_ms: int = 0
    create_on_first_use_shards: int = 0
    shards_max: int = 1000

    def __post_init__(self) -> None:
        bounds = {
            "shard_records_per_second": (0, 10**9),
            "shard_bytes_per_second": (0, 10**12),
            "request_bytes_max": (1, 10**9),
            "retention_records_max": (0, 10**9),
            "retention_bytes_max": (0, 10**12),
            "retention_hours": (1, 8760),
            "create_delay_ms": (0, 600_000),
            "create_on_first_use_shards": (0, SHARDS_MAX),
            "shards_max": (1, SHARDS_MAX),
        }
        for name, (lowest, highest) in bounds.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name} must be between {lowest} and {highest}, not {value}")
        if not re.fullmatch(r"\d{12}", self.account_id):
            raise ValueError(f"account_id must be twelve digits, not {self.account_id!r}")


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a stream is made with.

    Args:
        name: the stream's name.
        shard_count: number of equal shards.
        on_demand: its StreamMode is ON_DEMAND. The shards stay as many as they are all the same.
        record_bytes_max: largest data + partition key.
        auto_distribution: keys are ignored (RecordDistributionStrategy AUTO).
    """

    name: str
    shard_count: int
    on_demand: bool = False
    record_bytes_max: int = limits.RECORD_BYTES_DEFAULT
    auto_distribution: bool = False
