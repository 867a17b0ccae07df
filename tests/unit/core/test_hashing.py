from __future__ import annotations

from proxy.core.hashing import HASH_KEY_MAX, hash_key_of


def test_hash_key_is_the_md5_of_the_partition_key() -> None:
    """Sixteen bytes, most significant first."""
    assert hash_key_of("a") == 16955237001963240173058271559858726497


def test_partition_key_is_hashed_as_utf_8() -> None:
    """Beyond ASCII the encoding decides the shard."""
    assert hash_key_of("né") == 0x4B412F217A89113F3E321F48D3273A0A


def test_explicit_hash_key_wins_over_the_partition_key() -> None:
    """It is the hash key, in decimal, up to the very last one."""
    assert hash_key_of("a", "0") == 0
    assert hash_key_of("a", "340282366920938463463374607431768211455") == HASH_KEY_MAX
