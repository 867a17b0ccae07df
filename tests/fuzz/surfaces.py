"""Every surface, by name."""

from __future__ import annotations

from tests.fuzz.data import DATA
from tests.fuzz.front_door import FRONT_DOOR
from tests.fuzz.http1_bytes import HTTP1_BYTES
from tests.fuzz.http2_frames import HTTP2_FRAMES
from tests.fuzz.puts import CBOR_INPUTS, CBOR_PUTS, JSON_INPUTS, JSON_PUTS
from tests.fuzz.signatures import SIGNATURES

SURFACES = {
    "base64": DATA,
    "json_puts": JSON_PUTS,
    "json_inputs": JSON_INPUTS,
    "cbor_puts": CBOR_PUTS,
    "cbor_inputs": CBOR_INPUTS,
    "front_door": FRONT_DOOR,
    "signatures": SIGNATURES,
    "http1_bytes": HTTP1_BYTES,
    "http2_frames": HTTP2_FRAMES,
}
