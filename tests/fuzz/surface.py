"""What a surface is that hostile bytes can reach: where to begin, and what must hold whatever arrives."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.kinesis.errors import KinesisError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Surface:
    """One surface.

    Args:
        seeds: cases to begin with, from which others are made; good input, and near misses.
        words: what is worth putting into a case.
        opened: gives, for the time of a block, the check of one case; it raises if the contract does not hold.
    """

    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    opened: Callable[[], AbstractContextManager[Callable[[bytes], None]]]


def pure(check: Callable[[bytes], None]) -> Callable[[], AbstractContextManager[Callable[[bytes], None]]]:
    """Open a check that needs nothing."""

    @contextmanager
    def opened() -> Iterator[Callable[[bytes], None]]:
        yield check

    return opened


def error_of(call: Callable[[], object]) -> KinesisError | None:
    """Return the error of the service that a call ends with; any other is a finding."""
    try:
        call()
    except KinesisError as error:
        return error
    return None


def outcome_of(call: Callable[[], object]) -> object:
    """Return what a call returns, or the error of the service that it ends with; any other is a finding."""
    try:
        return call()
    except KinesisError as error:
        return type(error), error.message
