"""What an answer is in any version of HTTP: its date and its pace.

Must never know: how either version writes it.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.kinesis.http import Reply

# A paced body leaves in pieces of this share of a second.
_PACE_SECONDS = 0.05


def http_date() -> str:
    """Return the present as a Date header has it, formatted once a second."""
    return _format_date(int(time.time()))


@lru_cache(maxsize=1)
def _format_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def pace_of(reply: Reply) -> tuple[int, float]:
    """Return how many bytes of a paced body go at once, and how many seconds that stands for."""
    piece_bytes = max(1, round(reply.pace_bytes_per_second * _PACE_SECONDS))
    return piece_bytes, piece_bytes / reply.pace_bytes_per_second
