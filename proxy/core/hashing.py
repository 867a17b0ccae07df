"""From partition key to hash key.

Source: PutRecord API reference (MD5 of the key's UTF-8 bytes as an unsigned 128-bit integer;
ExplicitHashKey overrides).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    # CPython's own takes half the time of the way through OpenSSL's providers
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:  # another interpreter, or one built without it
    from functools import partial
    from hashlib import md5 as _openssl_md5

    md5 = partial(_openssl_md5, usedforsecurity=False)

HASH_KEY_MAX: Final = 2**128 - 1
# Enough to tell one key from another, and to confirm a suspect; nothing to find a key out by.
HASH_KEY_DIGITS_SHOWN: Final = 8

# Found once: a record's way is made of such steps. Big-endian is the default.
_md5_of: Final[Callable[[bytes], Any]] = md5
_int_of: Final[Callable[[bytes], int]] = int.from_bytes


def hash_key_of(partition_key: str, explicit_hash_key: str | None = None) -> int:
    """Return the 128-bit hash key that decides a record's shard.

    Args:
        partition_key: any text; hashed as UTF-8.
        explicit_hash_key: decimal text in 0..2^128-1, validated by the caller; wins over the partition key.
    """
    if explicit_hash_key is not None:
        return int(explicit_hash_key)
    return hash_key_of_encoded(partition_key.encode())


def hash_key_of_encoded(partition_key: bytes) -> int:
    """Return the hash key of a partition key that is encoded already."""
    return _int_of(_md5_of(partition_key).digest())


def shown_hash_key(hash_key: int) -> str:
    """Return what may be shown of a hash key: the first digits, as `printf %s KEY | md5sum` prints them."""
    return f"{hash_key:032x}"[:HASH_KEY_DIGITS_SHOWN]
