from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.linked_list import Link, LinkedList

MEMBERS = [Link() for _ in range(5)]
MOVES = st.tuples(st.sampled_from(["append", "appendleft", "remove", "take_all"]), st.integers(0, 4))


def members_of(linked: LinkedList[Link]) -> list[int]:
    """Return the numbers of the members, forwards, having looked at them backwards as well."""
    forwards = list(linked)
    link, backwards = linked._last, []
    while link is not None:
        backwards.append(link)
        link = link.before
    assert backwards[::-1] == forwards
    return [MEMBERS.index(member) for member in forwards]


@given(st.lists(MOVES, max_size=40))
def test_it_is_what_a_plain_list_is(moves: list[tuple[str, int]]) -> None:
    """Whatever is done to it, and a member that stands in it twice, or not at all, is refused."""
    linked: LinkedList[Link] = LinkedList()
    plain: list[int] = []
    for move, number in moves:
        member = MEMBERS[number]
        if move == "take_all":
            assert [MEMBERS.index(taken) for taken in linked.take_all()] == plain
            plain = []
        elif (number in plain) != (move == "remove"):
            with pytest.raises(ValueError, match="it is"):
                getattr(linked, move)(member)
        else:
            getattr(linked, move)(member)
            if move == "remove":
                plain.remove(number)
            else:
                plain.insert(0 if move == "appendleft" else len(plain), number)
        assert members_of(linked) == plain
        assert len(linked) == len(plain)
        assert linked.first is (MEMBERS[plain[0]] if plain else None)
    linked.take_all()
