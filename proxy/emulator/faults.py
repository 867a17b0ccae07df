"""What goes wrong on purpose: settings, and the roll of the dice for each request and record.

A probability of zero rolls nothing, so that a run with a seeded source of randomness repeats exactly whatever other
faults exist. The settings are one immutable value; turning faults on or off at run time replaces it.

Must never know: sockets, sleeping, where the settings came from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.emulator.put_result import PutResult
from proxy.kinesis import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxy.emulator.shard import Shard
    from proxy.emulator.stream import Refuse

# Ten minutes: more than any client waits.
_MS_MAX = 600_000
_BYTES_PER_SECOND_MAX = 10**9
_PUTS = frozenset({"PutRecord", "PutRecords"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which faults are on; every default is off.

    Args:
        latency_ms: each request waits so long before it is carried out.
        latency_spread_ms: and up to so much longer, evenly spread.
        throttle_ratio: share of records that meet ProvisionedThroughputExceededException.
        throttle_shard_id: all records of this shard meet it.
        internal_failure_ratio: share of records that meet InternalFailure.
        request_error_ratio: share of requests answered with status 500, nothing written.
        reset_before_ratio: share of requests whose connection is reset, nothing written.
        reset_after_ratio: share of requests whose connection is reset after they were carried out.
        short_response_ratio: share of PutRecords answered with one result too few.
        trickle_bytes_per_second: answers are sent this slowly; 0 at once.
        stream_name: only this stream's requests meet faults; empty for every stream's.
        every_operation: True lets all operations meet faults, not only the puts.
    """

    latency_ms: int = 0
    latency_spread_ms: int = 0
    throttle_ratio: float = 0.0
    throttle_shard_id: str = ""
    internal_failure_ratio: float = 0.0
    request_error_ratio: float = 0.0
    reset_before_ratio: float = 0.0
    reset_after_ratio: float = 0.0
    short_response_ratio: float = 0.0
    trickle_bytes_per_second: int = 0
    stream_name: str = ""
    every_operation: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, field.type, getattr(self, field.name))

    @classmethod
    def from_mapping(cls, members: Mapping[str, Any]) -> Faults:
        """Build from a JSON object; what is not named is off.

        Raises:
            ValueError: naming the member at fault and its bounds.
        """
        known = {field.name for field in fields(cls)}
        for name in members:
            if name not in known:
                raise ValueError(f"{name!r} is no fault; there are {', '.join(sorted(known))}")
        return cls(**members)

    @classmethod
    def from_pairs(cls, pairs: Iterable[str]) -> Faults:
        """Build from texts `name=value`.

        Raises:
            ValueError: naming the pair at fault and its bounds.
        """
        types = {field.name: field.type for field in fields(cls)}
        members: dict[str, Any] = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals:
                raise ValueError(f"{pair!r} is not of the form name=value")
            if name in members:
                raise ValueError(f"{name} is given twice")
            members[name] = _read(text, types.get(name))
        return cls.from_mapping(members)

    def as_mapping(self) -> dict[str, Any]:
        """Return all settings by name, as `from_mapping` takes them."""
        return asdict(self)


def _check(name: str, kind: object, value: object) -> None:
    match kind:
        case "bool":
            allowed, right = "true or false", isinstance(value, bool)
        case "str":
            allowed, right = "a text", isinstance(value, str)
        case "float":
            allowed = "a number between 0 and 1"
            right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        case _:
            highest = _MS_MAX if name.endswith("_ms") else _BYTES_PER_SECOND_MAX
            allowed = f"an integer between 0 and {highest}"
            right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest
    if not right:
        raise ValueError(f"{name} must be {allowed}, not {value!r}")


def _read(text: str, kind: object) -> Any:  # noqa: ANN401 - checked by type afterwards
    """Convert a text to its field's type; what cannot be converted stays a text, which the check then names."""
    try:
        match kind:
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "bool":
                return {"true": True, "false": False}.get(text.lower(), text)
            case _:
                return text
    except ValueError:
        return text


class RequestFaults(NamedTuple):
    """What one request meets."""

    delay_ms: float = 0
    reset_before: bool = False
    request_error: bool = False
    reset_after: bool = False
    short_response: bool = False
    pace_bytes_per_second: int = 0


NO_FAULTS = RequestFaults()


class FaultInjector:
    """Decides what each request and record meets, and counts what it decided.

    Args:
        random: returns a number in [0, 1).
        faults: to begin with; assign `faults` to change them.
    """

    def __init__(self, random: Callable[[], float], faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.injected = dict.fromkeys(
            (
                "latency",
                "throttle",
                "internal_failure",
                "request_error",
                "reset_before",
                "reset_after",
                "short_response",
                "trickle",
            ),
            0,
        )
        self._random = random

    def roll(self, operation: str, stream_name: str | None) -> RequestFaults:
        """Decide what a request meets; at most one of the faults that end it."""
        faults = self.faults
        if not self._concerns(operation, stream_name):
            return NO_FAULTS
        delay_ms = faults.latency_ms + (faults.latency_spread_ms and faults.latency_spread_ms * self._random())
        reset_before = self._hit("reset_before", faults.reset_before_ratio)
        request_error = not reset_before and self._hit("request_error", faults.request_error_ratio)
        ended = reset_before or request_error
        reset_after = not ended and self._hit("reset_after", faults.reset_after_ratio)
        short_response = (
            operation == "PutRecords"
            and not ended
            and not reset_after
            and self._hit("short_response", faults.short_response_ratio)
        )
        self.injected["latency"] += delay_ms > 0
        self.injected["trickle"] += faults.trickle_bytes_per_second > 0
        return RequestFaults(
            delay_ms, reset_before, request_error, reset_after, short_response, faults.trickle_bytes_per_second
        )

    def refuse(self, stream_name: str, account_id: str) -> Refuse | None:
        """Return what decides over each record of a put into a stream, or None where no record meets a fault."""
        faults = self.faults
        if not self._concerns("PutRecords", stream_name) or not (
            faults.throttle_ratio or faults.throttle_shard_id or faults.internal_failure_ratio
        ):
            return None

        def refuse(shard: Shard) -> PutResult | None:
            if self._throttles(shard.shard_id):
                text = errors.shard_rate_exceeded(shard.shard_id, stream_name, account_id)
                return PutResult(error_code=errors.ProvisionedThroughputExceededException.code, error_message=text)
            if self._hit("internal_failure", faults.internal_failure_ratio):
                return PutResult(error_code=errors.InternalFailure.code, error_message=errors.INTERNAL_FAILURE)
            return None

        return refuse

    def _concerns(self, operation: str, stream_name: str | None) -> bool:
        faults = self.faults
        return (operation in _PUTS or faults.every_operation) and (
            not faults.stream_name or faults.stream_name == stream_name
        )

    def _throttles(self, shard_id: str) -> bool:
        if shard_id == self.faults.throttle_shard_id:
            self.injected["throttle"] += 1
            return True
        return self._hit("throttle", self.faults.throttle_ratio)

    def _hit(self, fault: str, ratio: float) -> bool:
        if not ratio or self._random() >= ratio:
            return False
        self.injected[fault] += 1
        return True
