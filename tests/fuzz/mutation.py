"""Makes cases out of others, without knowing what they are: for a short run, and where no coverage can lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from tests.fuzz.surface import Surface

_CHANGES_MAX = 5
_PIECE_BYTES_MAX = 64


def cases(surface: Surface, random: Random, count: int) -> Iterator[bytes]:
    """Give a surface's seeds, and as many cases made of them."""
    yield from surface.seeds
    for _ in range(count):
        case = random.choice(surface.seeds)
        for _ in range(random.randint(1, _CHANGES_MAX)):
            case = _changed(case, surface, random)
        yield case


def _changed(case: bytes, surface: Surface, random: Random) -> bytes:
    """Change one place of a case."""
    at = random.randint(0, len(case))
    end = min(len(case), at + random.randint(0, _PIECE_BYTES_MAX))
    head, piece, tail = case[:at], case[at:end], case[end:]
    other = random.choice(surface.seeds)
    word = random.choice(surface.words)
    return random.choice(
        (
            head + bytes((random.randrange(256),)) + case[at + 1 :],
            head + bytes(byte ^ 1 << random.randrange(8) for byte in case[at : at + 1]) + case[at + 1 :],
            head + tail,
            head + piece * random.randint(2, 4) + tail,
            head,
            head + other[random.randint(0, len(other)) :],
            head + word + tail,
            head + word + piece + tail,
        )
    )
