"""Who sent a request, and whether that key may do what it asks.

A key that is limited to streams needs the stream's name before it may go on. Puts know it from their input; of an
operation that is forwarded, whose body is read nowhere else, it is read here. A request that such a key sends without
naming a stream is refused, since nobody can say which streams it is about: ListStreams, a NextToken, a ShardIterator.

Must never know: where keys come from.

Source: the service's wording of a denial, as users report it. It names no account or region, which a key does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.kinesis.errors import AccessDeniedException, ExpiredTokenException, SerializationException
from proxy.kinesis.front_door import codec_of
from proxy.kinesis.limits import STREAM_NAME_CHARACTERS_MAX
from proxy.kinesis.sigv4 import Verifier
from proxy.kinesis.stream_names import resolve_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxy.frontend.keys import InboundKey
    from proxy.kinesis.http import Request
    from proxy.kinesis.put_inputs import PutRecordInput, PutRecordsInput

TOKEN_EXPIRED = "The security token included in the request is expired"  # noqa: S105 - a text

# The name of a stream that cannot be told: only the pattern * fits it.
_UNTOLD = ""
_ARNS = ("StreamARN", "ResourceARN", "ConsumerARN")


class Authentication:
    """Takes requests that are signed with a key of the operator's.

    Args:
        find_key: returns the key of an access key id, or None.
        wall_clock: seconds since the epoch.
    """

    def __init__(self, find_key: Callable[[str], InboundKey | None], wall_clock: Callable[[], int]) -> None:
        self._verifier = Verifier(find_key)
        self._wall_clock = wall_clock

    def caller_of(self, request: Request, operation: str) -> InboundKey:
        """Return the key that signed a request, if it may be used for the operation at all.

        Raises:
            KinesisError: the signature does not hold, as `Verifier.verify` says.
            ExpiredTokenException: the key's time is over.
            AccessDeniedException: the key is not for this operation.
        """
        wall_seconds = self._wall_clock()
        key = self._verifier.verify(request, wall_seconds)
        if key.has_expired(wall_seconds):
            raise ExpiredTokenException(TOKEN_EXPIRED)
        if not key.allows_operation(operation):
            raise _denied(key, operation, _stream_told(request))
        return key


def require_stream_of_put(key: InboundKey | None, operation: str, put: PutRecordInput | PutRecordsInput) -> None:
    """Refuse a put to a stream that its caller's key is not for; None may put to every stream.

    Raises:
        InvalidArgumentException: it names no stream, or none that there can be.
        AccessDeniedException: the key is not for the stream.
    """
    if key is not None and key.streams is not None:
        _require(key, operation, resolve_stream(put.stream_name, put.stream_arn))


def require_streams_of_request(key: InboundKey | None, operation: str, request: Request) -> None:
    """Refuse a request about streams that its caller's key is not for; None may ask about every stream.

    Raises:
        SerializationException: the body cannot be read.
        AccessDeniedException: it names another stream, or none.
    """
    if key is None or key.streams is None:
        return
    named = list(_streams_named(codec_of(request).decode(request.body)))
    for stream_name in named or [_UNTOLD]:
        _require(key, operation, stream_name)


def _stream_told(request: Request) -> str:
    """Return the first stream that a request speaks of, as far as it can be read, for the text of a denial."""
    try:
        return next(_streams_named(codec_of(request).decode(request.body)), _UNTOLD)
    except SerializationException:
        return _UNTOLD


def _require(key: InboundKey, operation: str, stream_name: str) -> None:
    if not key.allows_stream(stream_name):
        raise _denied(key, operation, stream_name)


def _streams_named(members: Mapping[str, Any]) -> Iterator[str]:
    """Name each stream that an input speaks of."""
    if members.get("StreamName") is not None:
        yield str(members["StreamName"])
    if members.get("StreamId") is not None:
        yield _UNTOLD
    for name in _ARNS:
        if members.get(name) is not None:
            # a consumer's ARN goes on after the stream's
            yield str(members[name]).partition(":stream/")[2].partition("/")[0]


def _denied(key: InboundKey, operation: str, stream_name: str) -> AccessDeniedException:
    shown = stream_name[:STREAM_NAME_CHARACTERS_MAX].encode("ascii", "backslashreplace").decode()
    return AccessDeniedException(
        f"User: {key.access_key_id} is not authorized to perform: kinesis:{operation} "
        f"on resource: arn:aws:kinesis:*:*:stream/{shown or '*'} "
        f"because no identity-based policy allows the kinesis:{operation} action"
    )
