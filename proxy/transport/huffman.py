"""Huffman decoding of header fields (RFC 7541, appendix B), a byte at a time.

hpack's own decoder takes half a byte at a time, and costs as much as all else that a small request on a connection of
its own costs. This one joins two of its steps when it first meets them: texts use a small part of all there are.

Must never know: what the fields are.
"""

from __future__ import annotations

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE

_NIBBLES = 16


class _State:
    """A state of hpack's machine, and what each byte leads to: symbols, the next state, and whether they end in it."""

    __slots__ = ("number", "steps")

    def __init__(self, number: int) -> None:
        self.number = number
        self.steps: list[tuple[bytes, _State, bool] | None] = [None] * 256


_STATES = [_State(number) for number in range(len(HUFFMAN_TABLE) // _NIBBLES)]


def decode(encoded: bytes) -> bytes:
    """Decode one text.

    Raises:
        HPACKDecodingError: it is none.
    """
    state = _STATES[0]
    complete = True
    symbols = []
    for byte in encoded:
        step = state.steps[byte]
        if step is None:
            step = state.steps[byte] = _step(state, byte)
        symbol, state, complete = step
        symbols.append(symbol)
    if not complete:
        raise HPACKDecodingError("Incomplete Huffman string")
    return b"".join(symbols)


def _step(state: _State, byte: int) -> tuple[bytes, _State, bool]:
    number, flags, symbols = state.number, 0, b""
    for nibble in (byte >> 4, byte & 0xF):
        number, flags, symbol = HUFFMAN_TABLE[number * _NIBBLES + nibble]
        if flags & HUFFMAN_FAIL:
            raise HPACKDecodingError("Invalid Huffman string")
        if flags & HUFFMAN_EMIT_SYMBOL:
            symbols += bytes((symbol,))
    return symbols, _STATES[number], bool(flags & HUFFMAN_COMPLETE)
