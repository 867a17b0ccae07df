"""How a request names its stream: StreamName, StreamARN, or both.

Source: API model of 2026 (patterns and lengths); StreamId is reserved there and refused here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from proxy.kinesis.errors import (
    InvalidArgumentException,
    stream_id_not_supported,
    stream_missing,
    stream_names_differ,
)
from proxy.kinesis.limits import STREAM_ARN_CHARACTERS_MAX, STREAM_NAME_CHARACTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAM_NAME_PATTERN = "[a-zA-Z0-9_.-]+"
STREAM_ARN_PATTERN = r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+"
# The same in linear time: the first service name and the last account will do, and no others are tried. As it stands
# above, a text of a megabyte takes minutes.
STREAM_ARN_MATCHER = r"arn:aws(?>.*?:kinesis:)(?>.*:\d{12}:stream/(?=\S))\S+"

_stream_name = re.compile(STREAM_NAME_PATTERN)
_stream_arn = re.compile(STREAM_ARN_MATCHER, re.ASCII)


def is_stream_name(text: str) -> bool:
    """Tell whether the text satisfies every constraint on StreamName."""
    return len(text) <= STREAM_NAME_CHARACTERS_MAX and _matches_stream_name(text)


def is_stream_arn(text: str) -> bool:
    """Tell whether the text satisfies every constraint on StreamARN."""
    return len(text) <= STREAM_ARN_CHARACTERS_MAX and _matches_stream_arn(text)


# They remember texts, so these must be short.
@lru_cache(maxsize=1024)
def _matches_stream_name(text: str) -> bool:
    return _stream_name.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _matches_stream_arn(text: str) -> bool:
    return _stream_arn.fullmatch(text) is not None


def resolve_stream(stream_name: str | None, stream_arn: str | None) -> str:
    """Return the stream's name from name, ARN or both, each validated before.

    Raises:
        InvalidArgumentException: neither is given, they differ, or the ARN holds no stream's name.
    """
    if stream_arn is None:
        if stream_name is None:
            raise stream_missing()
        return stream_name
    named = stream_arn.split(":stream/", 1)[1]
    if not is_stream_name(named):
        raise InvalidArgumentException(f"StreamARN {stream_arn} is not the ARN of a stream.")
    if stream_name is not None and stream_name != named:
        raise stream_names_differ(stream_name, stream_arn)
    return named


def stream_name_of(members: Mapping[str, Any]) -> str:
    """Return the name of the stream that an operation's decoded input speaks of.

    Raises:
        InvalidArgumentException: as `resolve_stream`, or StreamId is given.
    """
    if "StreamId" in members:
        raise stream_id_not_supported()
    return resolve_stream(members.get("StreamName"), members.get("StreamARN"))
