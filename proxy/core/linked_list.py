"""A list whose members carry its links: first, next and removal from anywhere cost the same few steps, and no memory.

An OrderedDict does the same for ten times the instructions, and 150 bytes for each member.

Must never know: what its members are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


class Link:
    """What can stand in one list at a time, between the one before it and the one after."""

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        self.before: Link | None = None
        self.after: Link | None = None


LinkT = TypeVar("LinkT", bound=Link)


class LinkedList(Generic[LinkT]):
    """Members in their order; each must be in no other list.

    `first` is None when there is none. It must not be changed while it is iterated over.
    """

    __slots__ = ("_last", "_length", "first")

    def __init__(self) -> None:
        self.first: LinkT | None = None
        self._last: Link | None = None
        self._length = 0

    def __len__(self) -> int:
        """Return how many members there are."""
        return self._length

    def __iter__(self) -> Iterator[LinkT]:
        """Give the members in their order."""
        link: Link | None = self.first
        while link is not None:
            yield cast("LinkT", link)
            link = link.after

    def append(self, member: LinkT) -> None:
        """Add a member behind all others.

        Raises:
            ValueError: it is in the list already.
        """
        self._check_new(member)
        last = self._last
        if last is None:
            self.first = member
        else:
            last.after = member
            member.before = last
        self._last = member
        self._length += 1

    def appendleft(self, member: LinkT) -> None:
        """Add a member before all others.

        Raises:
            ValueError: it is in the list already.
        """
        self._check_new(member)
        first = self.first
        if first is None:
            self._last = member
        else:
            first.before = member
            member.after = first
        self.first = member
        self._length += 1

    def remove(self, member: LinkT) -> None:
        """Take a member out.

        Raises:
            ValueError: it is in no list.
        """
        before, after = member.before, member.after
        if before is None:
            if self.first is not member:
                raise ValueError("it is not in the list")
            self.first = cast("LinkT | None", after)
        else:
            before.after = after
            member.before = None
        if after is None:
            self._last = before
        else:
            after.before = before
            member.after = None
        self._length -= 1

    def _check_new(self, member: LinkT) -> None:
        if member.before is not None or self.first is member:
            raise ValueError("it is in a list already")

    def take_all(self) -> list[LinkT]:
        """Take all members out, and return them in their order."""
        members = list(self)
        for member in members:
            member.before = member.after = None
        self.first = self._last = None
        self._length = 0
        return members
