"""All streams that the proxy knows: which one a caller means, and which is forgotten for a new one.

A caller names a stream by name, by ARN, or both. A name is a stream of the account whose credentials the proxy has; an
ARN can belong to any account that has granted access. So an ARN of our own account means the same stream as its name,
with one queue; an ARN of another account is a stream of its own. Which account is ours is learned from the first
summary of a stream that was named by name; until then a stream named by ARN has a queue of its own, and keeps it for
as long as records are open in it, so that nothing in it is overtaken.

A stream that nobody has used for long is forgotten; so is the one that nobody has used for longest, when a new one
needs its place.

Must never know: how anything is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from proxy.core.counters import StreamCounters
from proxy.core.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.buffer import Buffer
    from proxy.core.limits import StreamLimits

_ARN_REGION: Final = 3
_ARN_ACCOUNT: Final = 4


class Directory:
    """The streams of one proxy.

    Args:
        limits_of: the limits of a stream, by its name.
        buffer: the bound that all streams share.
        streams_max: streams known at once.
        random: uniform in [0, 1).
        label_of: what the counts of a stream are kept under when it is forgotten, by its name; few of them, for all
            streams.

    `streams` maps what a stream is known by, its name or its ARN, to its core. `forgotten` holds the counts of streams
    that are no longer known, by label. `account_id` is our own account, once it is known.
    """

    __slots__ = ("_buffer", "_label_of", "_limits_of", "_random", "account_id", "forgotten", "streams", "streams_max")

    def __init__(
        self,
        limits_of: Callable[[str], StreamLimits],
        buffer: Buffer,
        streams_max: int,
        random: Callable[[], float],
        label_of: Callable[[str], str],
    ) -> None:
        self._label_of = label_of
        self._limits_of = limits_of
        self._buffer = buffer
        self._random = random
        self.streams_max = streams_max
        self.streams: OrderedDict[str, Stream] = OrderedDict()  # the one that was asked for last is the last
        self.forgotten: dict[str, StreamCounters] = {}
        self.account_id: str | None = None

    def find(self, stream_name: str, stream_arn: str | None) -> Stream | None:
        """Return a stream that is known."""
        return self.streams.get(stream_name if stream_arn is None else self._identity(stream_name, stream_arn))

    def find_or_make(self, stream_name: str, stream_arn: str | None, now_ns: int) -> Stream | None:
        """Return a stream, a new one if need be, in the place of an idle one; None if as many as may be are busy."""
        identity = stream_name if stream_arn is None else self._identity(stream_name, stream_arn)
        if stream_arn is not None and identity is stream_name and stream_arn in self.streams:
            # left for good: if it had something to do again, its queue would be taken for that of the next record
            self._forget(stream_arn)
        stream = self.streams.get(identity)
        if stream is None:
            if len(self.streams) >= self.streams_max and not self._make_room():
                return None
            wire_arn = None if identity == stream_name else stream_arn
            limits = self._limits_of(stream_name)
            stream = Stream(stream_name, wire_arn, limits, self._buffer, self._random, now_ns)
            self.streams[identity] = stream
        else:
            self.streams.move_to_end(identity)
        return stream

    def forget_unused(self, now_ns: int) -> None:
        """Forget the streams that nobody has asked for in a long time."""
        while self.streams:
            identity, stream = next(iter(self.streams.items()))
            if stream.is_used(now_ns):
                break
            self._forget(identity)

    def learn_account(self, stream: Stream) -> None:
        """Learn our account from a stream's summary: a name is resolved in it."""
        if stream.arn is None and stream.summary is not None:
            self.account_id = account_of(stream.summary.stream_arn) or self.account_id

    def _identity(self, stream_name: str, stream_arn: str) -> str:
        if account_of(stream_arn) != self.account_id:
            return stream_arn
        by_arn = self.streams.get(stream_arn)
        return stream_name if by_arn is None or by_arn.idle else stream_arn

    def _make_room(self) -> bool:
        """Forget the idle stream that nobody has asked for in the longest time."""
        for identity, stream in self.streams.items():
            if stream.idle:
                self._forget(identity)
                return True
        return False

    def _forget(self, identity: str) -> None:
        stream = self.streams.pop(identity)
        self.forgotten.setdefault(self._label_of(stream.name), StreamCounters()).add(stream.counters)


def region_of(stream_arn: str) -> str:
    """Return the region that an ARN names; empty for what is no ARN."""
    return _part(stream_arn, _ARN_REGION)


def account_of(stream_arn: str) -> str:
    """Return the account id that an ARN names; empty for what is no ARN."""
    return _part(stream_arn, _ARN_ACCOUNT)


def _part(stream_arn: str, index: int) -> str:
    parts = stream_arn.split(":", index + 1)
    return parts[index] if len(parts) > index else ""
