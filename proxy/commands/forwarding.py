"""Which operations besides puts are forwarded, from the setting `forwarded_operations`.

The setting is one word, or a list of operations in which `read-stream` may stand for its own:

- `none`: no operation.
- `read-stream`: what a producer needs to know about its streams.
- `all`: every operation that can be forwarded, those included that the service will yet invent and the proxy learn.
- `auto`: `all` where the upstream is on this machine, for such a server is everybody's own; else `read-stream`, for
  the proxy's role must not become every caller's.

Puts cannot be listed, because the queue is the only way upstream that keeps the promises; SubscribeToShard cannot,
because its answer has no end.

Must never know: how anything is forwarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.commands.process import CommandError
from proxy.config.values import is_loopback, suggestion
from proxy.frontend.handler import NEVER_FORWARDED, PUTS
from proxy.kinesis.operations import KNOWN_OPERATIONS

if TYPE_CHECKING:
    from proxy.config import ServeSettings

SETTING = "forwarded_operations"
ALL, AUTO, NONE, READ_STREAM = "all", "auto", "none", "read-stream"
READ_STREAM_OPERATIONS = frozenset(
    {"DescribeLimits", "DescribeStream", "DescribeStreamSummary", "ListShards", "ListStreams"}
)

_WORDS = frozenset({ALL, AUTO, NONE, READ_STREAM})
_WANTED = f"; write {NONE}, {READ_STREAM}, {ALL} or {AUTO}, or operations with commas, for example GetRecords"


def forwarded_operations(settings: ServeSettings) -> frozenset[str] | None:
    """Return the operations that are forwarded; None is all.

    Raises:
        CommandError: the setting names what cannot be forwarded; the text says why, or the nearest name.
    """
    words = settings.forwarded_operations
    if len(words) > 1:
        for word in words:
            if word in _WORDS - {READ_STREAM}:
                raise CommandError(f"{SETTING}: {word} stands alone, or write operations separated by commas")
    if words == (AUTO,):
        words = (ALL,) if _is_on_this_machine(settings.upstream) else (READ_STREAM,)
    if words == (ALL,):
        return None
    if words == (NONE,):
        return frozenset()
    return frozenset().union(*map(_operations_of, words))


def _operations_of(word: str) -> frozenset[str]:
    """Return what one item of a list stands for."""
    if word == READ_STREAM:
        return READ_STREAM_OPERATIONS
    if word in PUTS:
        raise CommandError(f"{SETTING}: {word} is always served, through the queue, and never forwarded as it is")
    if word in NEVER_FORWARDED:
        raise CommandError(f"{SETTING}: {NEVER_FORWARDED[word]}")
    if word not in KNOWN_OPERATIONS:
        nearest = suggestion(word, KNOWN_OPERATIONS - PUTS - NEVER_FORWARDED.keys() | _WORDS)
        raise CommandError(f"{SETTING}: Kinesis has no operation {word!r}{nearest or _WANTED}")
    return frozenset({word})


def _is_on_this_machine(upstream: str) -> bool:
    return upstream == "embedded" or is_loopback(urlsplit(upstream).hostname or "")
