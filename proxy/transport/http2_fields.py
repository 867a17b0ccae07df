"""Header fields on the wire of HTTP/2 (HPACK, RFC 7541), for connections that carry few requests.

The h2 library takes any codec with the face of hpack's. hpack's own is general; these do what a server of small
requests needs, at a fifth of the cost: the decoder the same as hpack's, the encoder without memory, for answers whose
fields are short and mostly new.

Must never know: what the fields mean.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.table import HeaderTable

from proxy.transport import huffman

if TYPE_CHECKING:
    from collections.abc import Iterable

# How a representation begins; the rest of its first byte is an integer, or its beginning.
_INDEXED = 0x80
_TO_BE_INDEXED = 0x40
_TABLE_SIZE, _TABLE_SIZE_MASK = 0x20, 0xE0
_EMPTY_TABLE = b"\x20"
_HUFFMAN = 0x80
_MORE = 0x80

_FIELD_OVERHEAD_BYTES = 32
# Of an integer that does not fit its first byte: 32 bits, as hpack has it.
_INTEGER_BITS_MAX = 28


class FieldDecoder(Decoder):
    """Decodes what a client sends."""

    def decode(self, data: bytes, raw: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - as it is declared there
        """Decode a block of fields into pairs of bytes.

        Raises:
            HPACKDecodingError: it is none.
            OversizedHeaderListError: it is larger than the limit.
        """
        del raw
        try:
            return self._decode_block(data)
        except IndexError as error:
            raise HPACKDecodingError("Truncated header block") from error

    def _decode_block(self, data: bytes) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        room_bytes = self.max_header_list_size
        table = self.header_table
        position, end = 0, len(data)
        while position < end:
            byte = data[position]
            if byte & _INDEXED:
                index, position = _integer(data, position, 0x7F)
                field = table.get_by_index(index)
            elif byte & _TABLE_SIZE_MASK == _TABLE_SIZE:
                if fields:
                    raise HPACKDecodingError("Table size update not at the start of the block")
                position = self._resize_table(data, position)
                continue
            else:
                index, position = _integer(data, position, 0x3F if byte & _TO_BE_INDEXED else 0x0F)
                if index:
                    name = table.get_by_index(index)[0]
                else:
                    name, position = _text(data, position)
                value, position = _text(data, position)
                field = (name, value)
                if byte & _TO_BE_INDEXED:
                    table.add(name, value)
            fields.append(field)
            room_bytes -= _FIELD_OVERHEAD_BYTES + len(field[0]) + len(field[1])
            if room_bytes < 0:
                raise OversizedHeaderListError("Header list is larger than the limit")
        if self.header_table_size > self.max_allowed_table_size:
            raise InvalidTableSizeError("Encoder did not shrink its table")
        return fields

    def _resize_table(self, data: bytes, position: int) -> int:
        size_bytes, position = _integer(data, position, 0x1F)
        if size_bytes > self.max_allowed_table_size:
            raise InvalidTableSizeError("Encoder exceeded the table's size")
        self.header_table_size = size_bytes
        return position


class FieldEncoder(Encoder):
    """Encodes answers, each field as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._announced = False

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:  # noqa: FBT001, FBT002 - as it is declared there
        """Encode pairs of bytes."""
        del huffman
        # A client that asks for a smaller table must be told that it is; nothing is smaller than none.
        parts = [] if self._announced else [_EMPTY_TABLE]
        self._announced = True
        for name, value in headers:
            parts += (_encoded_name(name), _encoded_integer(len(value), 0x7F), value)
        return b"".join(parts)


def _integer(data: bytes, position: int, mask: int) -> tuple[int, int]:
    """Read an integer whose first byte has it under the mask; return it and what follows."""
    number = data[position] & mask
    position += 1
    if number < mask:
        return number, position
    shift = 0
    while True:
        byte = data[position]
        position += 1
        number += (byte & 0x7F) << shift
        if byte < _MORE:
            return number, position
        shift += 7
        if shift >= _INTEGER_BITS_MAX:
            raise HPACKDecodingError("Integer is too long")


def _text(data: bytes, position: int) -> tuple[bytes, int]:
    is_huffman = data[position] & _HUFFMAN
    length, position = _integer(data, position, 0x7F)
    after = position + length
    if after > len(data):
        raise HPACKDecodingError("Truncated header block")
    text = data[position:after]
    return (huffman.decode(text) if is_huffman else text), after


def _encoded_integer(number: int, mask: int, first_bits: int = 0) -> bytes:
    if number < mask:
        return bytes((first_bits | number,))
    encoded = [first_bits | mask]
    number -= mask
    while number >= _MORE:
        encoded.append(number & 0x7F | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


@lru_cache(maxsize=256)
def _encoded_name(name: bytes) -> bytes:
    """Encode the beginning of a field that no table takes up: its name, by its index where all know it."""
    known = HeaderTable.STATIC_TABLE_MAPPING.get(name)
    if known is not None:
        return _encoded_integer(known[0], 0x0F)
    return b"\x00" + _encoded_integer(len(name), 0x7F) + name
