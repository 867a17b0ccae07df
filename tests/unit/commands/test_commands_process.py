from __future__ import annotations

import errno
import gc
import socket

import pytest

from proxy.commands.process import CommandError, listen, spare_what_start_up_made
from proxy.config import Address

ADDRESS = Address("127.0.0.1", 4567)


async def fail(error: OSError) -> None:
    """Stand for a listener that cannot start."""
    raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "is in use by another program"),
        (OSError(errno.EADDRNOTAVAIL, "not available"), "is no address of this machine"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "is no address of this machine"),
        (OSError(errno.EACCES, "denied"), "needs more rights than the program has"),
        (OSError(errno.EMFILE, "Too many open files"), "cannot be listened on (Too many open files)"),
    ],
)
async def test_a_listener_that_cannot_start_says_which_address_and_flag(error: OSError, reason: str) -> None:
    """The user knows what to change."""
    with pytest.raises(CommandError) as told:
        await listen("admin_listen", ADDRESS, fail(error))
    assert str(told.value) == f"admin_listen 127.0.0.1:4567 {reason}: choose another with --admin-listen"


def test_what_start_up_made_is_not_gone_through_again() -> None:
    """A collection afterwards has only what came since to look at."""
    try:
        spare_what_start_up_made()
        assert gc.get_freeze_count() > 0
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()
