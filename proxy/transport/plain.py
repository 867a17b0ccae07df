"""Whether a request's head is plain, and what a plain one holds: how the lean lane reads what its parser has checked.

A head is plain by its first line and the names of its headers: nothing that asks for more than an answer, none twice,
all that is needed. A client sends the same names in all of its requests, so they are judged once, and made into a
pattern: a head that it matches has these headers, each on a line of its own, and no others.

Must never know: connections, what is done with a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

BEGINNING: Final = b"POST / HTTP/1.1\r\n"
END_OF_HEAD: Final = b"\r\n\r\n"
# aiohttp's limit on one line; a head that is no longer has none that is.
HEAD_BYTES_MAX: Final = 8190
_BLANKS: Final = b" \t"
_CONNECTION: Final = "connection"
_CONTENT_LENGTH: Final = "content-length"
# What a header may not ask for; `connection` may ask for what it gets anyway.
_UNUSUAL: Final = frozenset({"transfer-encoding", "expect", "upgrade", "te", "trailer"})
# Without these aiohttp's parser takes a request otherwise, or not at all.
_NEEDED: Final = {"host", _CONTENT_LENGTH}
# As handlers spell them.
_ASKED_FOR: Final = ("X-Amz-Target", "Content-Type", "Authorization")
# SDKs send a dozen, in 150 bytes.
_HEADERS_MAX: Final = 64
_NAMES_BYTES_MAX: Final = 1024
_SHAPES_MAX: Final = 256
# The value of any header; the parser has refused what it may not hold.
_ANY: Final = rb"([^\n]*)"
_KEEP_ALIVE: Final = rb"[ \t]*((?i:keep-alive))[ \t]*"


class Shape:
    """Which headers a client sends, and how it writes their names: the same in all of its requests.

    Args:
        names: as they are sent, in their order, and plain.
    """

    __slots__ = ("_announced", "index", "match")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        pattern = re.escape(BEGINNING)
        self.index: dict[str, int] = {}
        for group, name in enumerate(names, 1):
            lower = name.lower().decode("ascii")
            pattern += re.escape(name) + b":" + (_KEEP_ALIVE if lower == _CONNECTION else _ANY) + rb"\r\n"
            self.index[lower] = group
        self._announced = self.index.get(_CONTENT_LENGTH, 0)
        for name_asked in _ASKED_FOR:
            if name_asked.lower() in self.index:
                self.index[name_asked] = self.index[name_asked.lower()]
        self.match: Callable[[bytes], re.Match[bytes] | None] = re.compile(pattern + rb"\r\n").match

    def announced_by(self, match: re.Match[bytes]) -> int:
        """Return the length of the body that a head announces; -1 where that is no number."""
        announced: bytes = match[self._announced].strip(_BLANKS)
        return int(announced) if announced.isdigit() else -1


class Shapes:
    """The shapes of the clients that were met.

    To make one takes milliseconds, and anybody can send any names: there are so many at the most, and none is made in
    the place of another.
    """

    __slots__ = ("_by_names",)

    def __init__(self) -> None:
        self._by_names: dict[tuple[bytes, ...], Shape] = {}

    def find(self, names: tuple[bytes, ...]) -> Shape | None:
        """Return the shape that has these names; None if they are not plain, or there is no room for another shape."""
        shape = self._by_names.get(names)
        if shape is None and len(self._by_names) < _SHAPES_MAX and _are_plain(names):
            shape = self._by_names[names] = Shape(names)
        return shape


def names_of(data: bytes) -> tuple[bytes, ...]:
    """Return the names of the headers in a whole head, with which some bytes begin."""
    lines = data[: data.find(END_OF_HEAD)].split(b"\r\n")
    return tuple([line.partition(b":")[0] for line in lines[1:]])


def _are_plain(names: tuple[bytes, ...]) -> bool:
    lower = [name.lower().decode("ascii", "replace") for name in names]
    distinct = frozenset(lower)
    return (
        len(distinct) == len(names) <= _HEADERS_MAX
        and sum(map(len, names)) <= _NAMES_BYTES_MAX
        and distinct >= _NEEDED
        and _UNUSUAL.isdisjoint(distinct)
        and all(name.isascii() for name in names)
    )


# Matches no head.
NO_SHAPE: Final = Shape((b"\n",))
NO_HEADERS: Final[Mapping[str, str]] = {}


class Headers(Mapping[str, str]):
    """The headers of a plain request, by name in any case, decoded when they are asked for.

    Args:
        match: of the head with its shape.
        index: where in it the values are, by names in lower case and as they are asked for.
    """

    __slots__ = ("_index", "_match")

    def __init__(self, match: re.Match[bytes], index: dict[str, int]) -> None:
        self._match = match
        self._index = index

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str | T) -> str | T: ...
    def get(self, name: str, /, default: str | T | None = None) -> str | T | None:
        """Return a header's value; `Mapping.get` raises and catches where there is none."""
        group = self._index.get(name) or self._index.get(name.lower())
        return default if group is None else self._match[group].strip(_BLANKS).decode("utf-8", "surrogateescape")

    def __getitem__(self, name: str) -> str:
        """Return a header's value."""
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        """Give the names, in lower case."""
        return (name for name in self._index if name not in _ASKED_FOR)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._match.groups())
