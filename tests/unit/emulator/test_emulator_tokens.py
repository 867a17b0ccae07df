from __future__ import annotations

import base64
from typing import Any

import pytest

from proxy.emulator.tokens import ShardIterator, ShardsPage, StreamsPage, decode, encode
from proxy.kinesis.limits import SHARD_ITERATOR_CHARACTERS_MAX

ITERATOR = ShardIterator("orders", 1_700_000_000_000, 3, 42, 1_700_000_100_000)


@pytest.mark.parametrize("token", [ITERATOR, ShardsPage("a", 1, -1, "AT_LATEST", 0, 2), StreamsPage("a", 2)])
def test_a_token_survives_its_way_to_a_caller_and_back(token: ShardIterator | ShardsPage | StreamsPage) -> None:
    """What is decoded is what was encoded."""
    kind: Any = type(token)
    assert decode(encode(token), kind) == token


def test_an_iterator_starts_like_the_services_own() -> None:
    """Eight bytes that count one."""
    assert base64.b64decode(encode(ITERATOR))[:8] == bytes([0, 0, 0, 0, 0, 0, 0, 1])


def test_the_longest_iterator_is_within_the_services_limit() -> None:
    """512 characters, for the longest name and the highest numbers."""
    longest = ShardIterator("n" * 128, 2**45, 2**31 - 1, 2**63 - 1, 2**45)
    assert len(encode(longest)) <= SHARD_ITERATOR_CHARACTERS_MAX


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "AAAA", "AAAAAAAAAAE=", encode(StreamsPage("a", 2)), encode(ITERATOR)[:-4], "\u00e9"],
)
def test_what_was_not_issued_is_no_iterator(text: str) -> None:
    """Nonsense, other kinds of token and cut ones read as None."""
    assert decode(text, ShardIterator) is None
