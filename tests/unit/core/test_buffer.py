from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.buffer import Buffer
from proxy.core.record import RECORD_OVERHEAD_BYTES
from tests.unit.core.builders import record_of

if TYPE_CHECKING:
    from proxy.core.record import Record


def take(buffer: Buffer, record: Record) -> str | None:
    """Take a record if there is room for it; return what is full otherwise."""
    full = buffer.lacks_room_for(record)
    if full is None:
        buffer.take(record)
    return full


def test_the_last_record_that_fits_is_taken_and_the_next_is_not() -> None:
    """The limit is the number that may be held, not one less."""
    buffer = Buffer(records_max=2, bytes_max=1_000_000)
    assert [take(buffer, record_of()) for _ in range(3)] == [None, None, "buffer of 2 records"]
    assert buffer.records == 2


def test_the_last_byte_that_fits_is_taken_and_the_next_is_not() -> None:
    """The limit in bytes may be reached exactly."""
    held_bytes = 4 + RECORD_OVERHEAD_BYTES
    buffer = Buffer(records_max=100, bytes_max=2 * held_bytes)
    assert [take(buffer, record_of(data="YQ==")) for _ in range(2)] == [None, None]
    assert buffer.bytes == buffer.bytes_max
    assert take(buffer, record_of()) == f"buffer of {2 * held_bytes} bytes"


def test_a_refused_record_takes_no_room() -> None:
    """What does not fit leaves the counts as they were."""
    buffer = Buffer(records_max=100, bytes_max=RECORD_OVERHEAD_BYTES)
    assert take(buffer, record_of(data="YQ==")) is not None
    assert (buffer.records, buffer.bytes) == (0, 0)


def test_bytes_held_are_those_in_memory() -> None:
    """Data is held as base64 text, whatever the service counts, and each record costs its overhead."""
    buffer = Buffer(records_max=100, bytes_max=1_000_000)
    buffer.take(record_of(data="YWJjZA==", size_bytes=5))
    assert buffer.bytes == 8 + RECORD_OVERHEAD_BYTES


def test_room_given_back_can_be_taken_again() -> None:
    """After its outcome a record counts no more."""
    buffer = Buffer(records_max=1, bytes_max=1_000_000)
    record = record_of(data="YQ==")
    buffer.take(record)
    buffer.give(record)
    assert (buffer.records, buffer.bytes) == (0, 0)
    assert take(buffer, record_of()) is None
