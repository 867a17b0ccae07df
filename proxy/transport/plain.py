"""Whether a request's head is plain, and what a plain one holds: the lean lane's reading of what its parser says.

A head is plain by the names of its headers: nothing that asks for more than an answer, none twice, all that is needed.
A client sends the same names in all of its requests, so they are judged once.

Must never know: connections, what is done with a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar, overload

T = TypeVar("T")

# What a header may not ask for; `connection` may ask for what it gets anyway.
_UNUSUAL: Final = frozenset({"transfer-encoding", "expect", "upgrade", "te", "trailer"})
BLANKS: Final = b" \t"
_CONNECTION: Final = "connection"
CONTENT_LENGTH: Final = "content-length"
# Without these aiohttp's parser takes a request otherwise, or not at all.
_NEEDED: Final = {"host", CONTENT_LENGTH}
# As handlers spell them.
_ASKED_FOR: Final = ("X-Amz-Target", "Content-Type", "Authorization")
_HEADERS_MAX: Final = 128


class Message:
    """What the parser says of one request; it calls what it finds here."""

    __slots__ = ("body", "complete", "on_body", "on_header", "received")

    def __init__(self) -> None:
        self.received: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.complete = 0
        # the methods of built-in types are called faster than any of ours
        self.on_header = self.received.__setitem__
        self.on_body = self.body.append

    def on_message_complete(self) -> None:
        """Count the end of a request."""
        self.complete += 1

    def clear(self) -> None:
        """Forget the request."""
        self.received.clear()
        self.body.clear()
        self.complete = 0


class Shape:
    """Which headers a client sends, and how it writes their names: the same in all of its requests.

    Args:
        names: as they were sent, in their order.
    """

    __slots__ = ("connection", "index", "names", "plain")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.names = names
        self.index: dict[str, bytes] = {}
        for name in names:
            text = name.decode("ascii", "surrogateescape")
            self.index[text.lower()] = name
        distinct = len(self.index) == len(names)
        self.connection = self.index.get(_CONNECTION)
        self.plain = (
            distinct and len(names) <= _HEADERS_MAX and self.index.keys() >= _NEEDED and _UNUSUAL.isdisjoint(self.index)
        )
        for text in _ASKED_FOR:
            if text.lower() in self.index:
                self.index[text] = self.index[text.lower()]


NO_SHAPE: Final = Shape(())
NO_HEADERS: Mapping[str, str] = {}


class Headers(Mapping[str, str]):
    """The headers of a plain request, by name in any case, decoded when they are asked for.

    Args:
        received: names and values as they were sent.
        index: the names in lower case, and as they are asked for, and how they were sent.
    """

    __slots__ = ("_index", "_received")

    def __init__(self, received: dict[bytes, bytes], index: dict[str, bytes]) -> None:
        self._received = received
        self._index = index

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str | T) -> str | T: ...
    def get(self, name: str, /, default: str | T | None = None) -> str | T | None:
        """Return a header's value; `Mapping.get` raises and catches where there is none."""
        sent = self._index.get(name) or self._index.get(name.lower())
        return default if sent is None else self._received[sent].strip(BLANKS).decode("utf-8", "surrogateescape")

    def __getitem__(self, name: str) -> str:
        """Return a header's value."""
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        """Give the names as they were sent."""
        return (name.decode("utf-8", "surrogateescape") for name in self._received)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._received)
