"""The two formats of bodies: how each is named, read and written.

Must never know: what the members mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proxy.kinesis import cbor_body, json_body

if TYPE_CHECKING:
    from collections.abc import Callable


class Codec(NamedTuple):
    """One format.

    Args:
        content_type: its name in Content-Type.
        decode: a body to its one object; raises SerializationException.
        encode: an output to a body.
    """

    content_type: str
    decode: Callable[[bytes], dict[str, Any]]
    encode: Callable[[object], bytes]


JSON = Codec("application/x-amz-json-1.1", json_body.decode, msgspec.json.encode)
CBOR = Codec("application/x-amz-cbor-1.1", cbor_body.decode, cbor_body.encode)
