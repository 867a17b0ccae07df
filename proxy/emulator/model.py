"""The embedded Kinesis: the streams of one account in one region, by name.

Everything it does follows from its calls and the moments handed in with them; it holds no clock, task or socket.
What callers of the service see is built on it by `control`, `describing`, `reading` and `writing`.

Must never know: HTTP, JSON, faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.emulator.clock import MS_PER_HOUR
from proxy.emulator.counters import PutCounters
from proxy.emulator.retention import Retention
from proxy.emulator.settings import StreamSpec
from proxy.emulator.shard import index_of, shard_id_of
from proxy.emulator.stream import Status, Stream
from proxy.kinesis import errors

if TYPE_CHECKING:
    from proxy.emulator.clock import Now
    from proxy.emulator.settings import EmulatorSettings
    from proxy.emulator.shard import Shard

# In a stream that is one of these, shards exist and take records.
SERVING = frozenset({Status.ACTIVE, Status.UPDATING})


class Model:
    """The streams and what is kept of their records.

    Args:
        settings: limits, delays, retention.
    """

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.retention = Retention(
            settings.retention_records_max, settings.retention_bytes_max, settings.retention_hours * MS_PER_HOUR
        )
        self.counters = PutCounters()
        self._streams: dict[str, Stream] = {}

    def streams(self, now: Now) -> list[Stream]:
        """Return all streams by name, each in its state of now."""
        for stream in list(self._streams.values()):
            if stream.status(now) is Status.GONE:
                del self._streams[stream.name]
        return [self._streams[name] for name in sorted(self._streams)]

    def open_shard_count(self, now: Now) -> int:
        """Return how many shards are open, or will be once their stream is made, over all streams."""
        return sum(stream.open_shard_count(now) for stream in self.streams(now))

    def create_stream(self, spec: StreamSpec, now: Now) -> Stream:
        """Begin to make a stream.

        Raises:
            ResourceInUseException: there is one of that name.
            LimitExceededException: it would have too many shards.
        """
        if self._find(spec.name, now) is not None:
            raise errors.ResourceInUseException(
                f"Stream {spec.name} under account {self.settings.account_id} already exists."
            )
        self.admit_shards(spec.shard_count, now)
        stream = self._streams[spec.name] = Stream(spec, self.settings, self.retention, self.counters, now)
        return stream

    def stream(self, name: str, now: Now) -> Stream:
        """Return a stream to use, whatever its status; made on first use where the settings say so.

        Raises:
            ResourceNotFoundException: there is none.
        """
        shard_count = self.settings.create_on_first_use_shards
        if shard_count and self._find(name, now) is None:
            return self.create_stream(StreamSpec(name, shard_count), now)
        return self.existing_stream(name, now)

    def existing_stream(self, name: str, now: Now) -> Stream:
        """Return a stream that was made before, whatever its status.

        Raises:
            ResourceNotFoundException: there is none.
        """
        stream = self._find(name, now)
        if stream is None:
            raise errors.stream_not_found(name, self.settings.account_id)
        return stream

    def active_stream(self, name: str, now: Now) -> Stream:
        """Return a stream that can be changed.

        Raises:
            ResourceNotFoundException: there is none.
            ResourceInUseException: it is not ACTIVE.
        """
        stream = self.existing_stream(name, now)
        if stream.status(now) is not Status.ACTIVE:
            raise self.not_active(stream, now)
        return stream

    def not_active(self, stream: Stream, now: Now) -> errors.ResourceInUseException:
        """Build the error for a stream whose status does not allow an operation."""
        return errors.ResourceInUseException(
            f"Stream {stream.name} under account {self.settings.account_id} not ACTIVE, "
            f"instead in state {stream.status(now)}"
        )

    def shard(self, stream: Stream, shard_id: str) -> Shard:
        """Return a shard of a stream, open or closed.

        Raises:
            ResourceNotFoundException: the stream has none of that id.
        """
        index = index_of(shard_id)
        shard = None if index is None else stream.topology.shards.get(index)
        if shard is None:
            named = shard_id if index is None else shard_id_of(index)
            raise errors.ResourceNotFoundException(
                f"Could not find shard {named} in stream {stream.name} under account {self.settings.account_id}."
            )
        return shard

    def admit_shards(self, additional: int, now: Now) -> None:
        """Check that so many more open shards are within the account's limit.

        Raises:
            LimitExceededException: they are not.
        """
        current = self.open_shard_count(now)
        limit = self.settings.shards_max
        if current + additional > limit:
            raise errors.LimitExceededException(
                f"This request would exceed the shard limit for the account {self.settings.account_id} in "
                f"{self.settings.region}. Current shard count for the account: {current}. Limit: {limit}. "
                f"Number of additional shards that would have resulted from this request: {additional}. "
                "Refer to the AWS Service Limits page "
                "(http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) "
                "for current limits and how to request higher limits."
            )

    def _find(self, name: str, now: Now) -> Stream | None:
        stream = self._streams.get(name)
        if stream is not None and stream.status(now) is Status.GONE:
            del self._streams[name]
            return None
        return stream
