"""The simulated service: routes, limits, numbers and writes as Kinesis does, and fails as the scenario draws.

It writes at one instant, in the order in which it takes requests, and never after a request has ended: of a request
that came to no answer, everything, or nothing, has been written by then.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from proxy.core.batch import Answer, Failure, Written
from proxy.core.limits import SECOND_NS
from proxy.core.shard_map import Shard, StreamSummary
from tests.simulation.topology import ShardMeter, Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.record import Record
    from tests.simulation.scenario import Faults, Scenario, StreamShape
    from tests.simulation.trace import Trace

REGION = "us-east-1"
ACCOUNT_ID = "123456789012"
THROUGHPUT_EXCEEDED = "ProvisionedThroughputExceededException"
INVALID_ARGUMENT = "InvalidArgumentException"
GUILTY_DATA = "Z3VpbHR5"  # base64 of `guilty`
STRETCHES = ("denied", "gone", "throttling", "ill", "shard", "hole")
SHARDS_RESHARDED_MAX = 64
WAITS_ASKED_FOR_NS = (SECOND_NS // 10, SECOND_NS, 10 * SECOND_NS)  # the last is the longest that is believed

# How everything is refused during some of the stretches, and what single requests meet, by the name of the fault.
_STRETCHED = {
    "denied": Failure("AccessDeniedException", "not allowed", Written.REFUSED, 400),
    "gone": Failure("ResourceNotFoundException", "not found", Written.REFUSED, 400),
    "throttling": Failure("ThrottlingException", "Rate exceeded", Written.REFUSED, 400),
    "ill": Failure("InternalFailure", None, Written.UNKNOWN, 500),
}
_REFUSALS = {
    "failed": Failure("InternalFailure", None, Written.UNKNOWN, 500),
    "unavailable": Failure("ServiceUnavailable", None, Written.REFUSED, 503),
    "busy": Failure("LimitExceededException", "slow down", Written.REFUSED, 400),
    "unknown_request": Failure("NovelRequestException", "never seen before", Written.REFUSED, 400),
}


@dataclass(slots=True)
class Entry:
    """One result of a put response."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass
class SimulatedStream:
    """One stream: its shards, its meter, and where each record has been written.

    Args:
        name: of the stream.
        shape: as the scenario draws it.
        topology: its shards.
        meter: what they take.
        record_bytes_max: the largest record that it takes now; `record_bytes_least` is the least that it ever was.

    `auto` is whether it ignores keys now, `was_auto` whether it ever did.
    """

    name: str
    shape: StreamShape
    topology: Topology
    meter: ShardMeter
    record_bytes_max: int
    places: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))  # by data
    stretch: str | None = None  # how it refuses everything, for a while
    ill_shard_id: str | None = None
    auto: bool = field(init=False)
    was_auto: bool = field(init=False)
    record_bytes_least: int = field(init=False)

    def __post_init__(self) -> None:
        self.auto = self.was_auto = self.shape.auto
        self.record_bytes_least = self.record_bytes_max

    @property
    def arn(self) -> str:
        """The stream's ARN."""
        return arn_of(self.name)


def arn_of(stream_name: str) -> str:
    """Return a simulated stream's ARN."""
    return f"arn:aws:kinesis:{REGION}:{ACCOUNT_ID}:stream/{stream_name}"


class SimulatedService:
    """All streams, and the faults of the scenario.

    Args:
        scenario: see there.
        trace: notes what happens.
        clock: virtual nanoseconds.
    """

    def __init__(self, scenario: Scenario, trace: Trace, clock: Callable[[], int]) -> None:
        self._scenario = scenario
        self._trace = trace
        self._clock = clock
        self.random = Random(f"service {scenario.seed}")  # noqa: S311 - a simulation, not a secret
        self.well = False  # set when the faults end
        self._sequence = 10**55
        limits = scenario.limits
        rates = scenario.service_rates or (limits.shard_records_per_second, limits.shard_bytes_per_second)
        self.streams = {
            f"stream-{number}": SimulatedStream(
                f"stream-{number}",
                shape,
                Topology(shape.shards),
                ShardMeter(rates, by_second=scenario.counts_by_second),
                scenario.record_bytes_max[0],
            )
            for number, shape in enumerate(scenario.streams)
        }

    @property
    def faults(self) -> Faults:
        """The scenario's."""
        return self._scenario.faults

    def happens(self, share: float, fault: str) -> bool:
        """Decide whether a fault happens, and count it."""
        if self.well or not share or self.random.random() >= share:
            return False
        self._trace.counts[f"fault {fault}"] += 1
        return True

    # What happens to it

    def reshard(self, stream: SimulatedStream) -> None:
        """Split, merge, or scale a stream."""
        kind = self.random.choice(("split", "split", "merge", "uniform"))
        topology = stream.topology
        if kind == "split":
            topology.split(self.random)
        elif kind == "merge":
            topology.merge(self.random)
        else:
            count = min(len(topology.open), SHARDS_RESHARDED_MAX)
            topology.cut_anew(max(1, self.random.choice((count * 2, count // 2, self.random.randint(1, 6)))))
        self._trace.counts[f"fault reshard {kind}"] += 1
        self._trace.note(self._clock(), "reshard", stream.name, kind, len(topology.open))

    def begin_stretch(self, stream: SimulatedStream, kind: str) -> None:
        """Have everything of a stream, or of one of its shards, refused in one way from now on."""
        stream.stretch = kind
        if kind == "shard":
            stream.ill_shard_id = self.random.choice(stream.topology.open).shard_id
        self._trace.counts[f"fault stretch {kind}"] += 1
        self._trace.note(self._clock(), "stretch", stream.name, kind)

    def end_stretch(self, stream: SimulatedStream) -> None:
        """End that; a stream that was gone has been made again, with shards of the same names as the one before."""
        if stream.stretch == "gone":
            stream.topology.make_again(min(len(stream.topology.open), SHARDS_RESHARDED_MAX))
            if self.faults.strategies:
                self.change_strategy(stream, auto=self.random.random() < 0.5)
        stream.stretch = stream.ill_shard_id = None
        self._trace.note(self._clock(), "stretch over", stream.name)

    def change_strategy(self, stream: SimulatedStream, *, auto: bool) -> None:
        """Have a stream ignore its keys, or heed them, from now on."""
        if auto != stream.auto:
            self._trace.counts["fault strategy " + ("auto" if auto else "keys")] += 1
        stream.auto = auto
        stream.was_auto = stream.was_auto or auto
        self._trace.note(self._clock(), "strategy", stream.name, auto)

    def change_record_limit(self, stream: SimulatedStream) -> None:
        """Have a stream take larger records from now on, or only smaller ones."""
        stream.record_bytes_max = self.random.choice(self._scenario.record_bytes_max)
        stream.record_bytes_least = min(stream.record_bytes_least, stream.record_bytes_max)
        self._trace.counts["fault record limit"] += 1
        self._trace.note(self._clock(), "record limit", stream.name, stream.record_bytes_max)

    # Puts

    def put(self, batch: Batch, written: Callable[[Record], None]) -> PutReply:
        """Take one request, at this instant.

        Args:
            batch: the request.
            written: told of every record written, in the order of the stream.
        """
        stream = self.streams[batch.stream_name]
        refusal = self._refusal(stream, batch)
        if refusal is not None:
            return refusal
        return Answer([self._put_one(stream, record, written) for record in batch.records], "NONE")

    def _refusal(self, stream: SimulatedStream, batch: Batch) -> Failure | None:
        """Return why the service does not take a request as a whole, or None."""
        if stream.stretch in _STRETCHED:
            return _STRETCHED[stream.stretch]
        for fault, failure in _REFUSALS.items():
            if self.happens(getattr(self.faults, fault), f"request {fault}"):
                asks = self.happens(self.faults.asks_to_wait, "wait asked for")
                return replace(failure, retry_after_ns=self.random.choice(WAITS_ASKED_FOR_NS)) if asks else failure
        if any(record.data.startswith(GUILTY_DATA) for record in batch.records):
            self._trace.counts["fault guilty"] += 1
            return Failure("ValidationException", "a guilty record", Written.REFUSED, 400)
        if any(record.size_bytes > stream.record_bytes_max for record in batch.records):
            self._trace.counts["fault record too large"] += 1
            return Failure(INVALID_ARGUMENT, "a record is too large", Written.REFUSED, 400)
        if batch.ordered and self.happens(self.faults.unordered, "unknown sequence number"):
            return Failure(INVALID_ARGUMENT, "no such sequence number", Written.REFUSED, 400)
        return None

    def _put_one(self, stream: SimulatedStream, record: Record, written: Callable[[Record], None]) -> Entry:
        topology = stream.topology
        if stream.auto:
            shard_id = self.random.choice(topology.open).shard_id
        else:
            routed = topology.map.shard_id_of(record.hash_key)
            assert routed is not None
            shard_id = routed
        if shard_id == stream.ill_shard_id or self.happens(self.faults.throttled, "record throttled"):
            return self._throttle(stream, shard_id)
        if not stream.meter.takes(shard_id, record.size_bytes, self._clock()):
            self._trace.counts["fault limit of a shard"] += 1
            return self._throttle(stream, shard_id)
        if self.happens(self.faults.ill, "record ill"):
            return self._fail("InternalFailure", "Internal service failure.", shard_id)
        if self.happens(self.faults.unknown, "unknown record error"):
            return self._fail("NovelRecordError", "never seen before", shard_id)
        self._sequence += 1
        sequence_number = str(self._sequence)
        stream.places[record.data].add((shard_id, sequence_number))
        written(record)
        return Entry(shard_id=shard_id, sequence_number=sequence_number)

    def _throttle(self, stream: SimulatedStream, shard_id: str) -> Entry:
        text = f"Rate exceeded for shard {shard_id} in stream {stream.name} under account {ACCOUNT_ID}."
        return self._fail(THROUGHPUT_EXCEEDED, text, shard_id)

    def _fail(self, code: str, message: str, shard_id: str) -> Entry:
        if self.happens(self.faults.ambiguous, "error with a place"):
            return Entry(shard_id, str(self._sequence), code, message)
        return Entry(error_code=code, error_message=message)

    # The control plane

    def list_shards(self, stream_name: str) -> list[Shard] | Failure:
        """Return the open shards, or an older state of them, or an error."""
        stream = self.streams[stream_name]
        if stream.stretch == "gone":
            return _STRETCHED["gone"]
        if self.happens(self.faults.map_denied, "map denied"):
            return Failure("AccessDeniedException", "not allowed", Written.REFUSED, 400)
        if self.happens(self.faults.map_throttled, "map throttled"):
            return Failure("LimitExceededException", "slow down", Written.REFUSED, 400)
        topology = stream.topology
        if topology.older and self.happens(self.faults.map_stale, "map stale"):
            return list(self.random.choice(topology.older))
        shards = list(topology.open)
        if len(shards) > 1 and self.happens(self.faults.map_torn, "map torn"):
            shards.pop(self.random.randrange(len(shards)))
        return shards

    def describe_stream_summary(self, stream_name: str) -> StreamSummary | Failure:
        """Return the summary, or an error."""
        stream = self.streams[stream_name]
        if stream.stretch == "gone":
            return _STRETCHED["gone"]
        if self.happens(self.faults.summary_denied, "summary denied"):
            return Failure("AccessDeniedException", "not allowed", Written.REFUSED, 400)
        return StreamSummary(stream.arn, len(stream.topology.open), stream.record_bytes_max, stream.auto)


def seconds(duration_ns: int) -> float:
    """Return a duration in seconds."""
    return duration_ns / SECOND_NS
