"""Fixtures for every test: the independent Kinesis servers, one process each for the whole run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import Independent, ProcessError, kinesalite, ministack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def kinesalite_url() -> Iterator[str]:
    """Endpoint of kinesalite: the one that KINESALITE_URL names, else one started for this run."""
    yield from _endpoint("KINESALITE_URL", kinesalite)


@pytest.fixture(scope="session")
def ministack_url() -> Iterator[str]:
    """Endpoint of ministack: the one that MINISTACK_URL names, else one started for this run."""
    yield from _endpoint("MINISTACK_URL", ministack)


def _endpoint(variable: str, start: Callable[[], Independent]) -> Iterator[str]:
    given = os.environ.get(variable)
    if given:
        yield given
        return
    try:
        server = start()
    except ProcessError as error:
        # On a developer's machine a server may be missing; where the checks decide, nothing goes unproved.
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, server.url)
        yield server.url
