"""A short run over every surface that hostile bytes can reach; `make fuzz` runs on and on, led by coverage."""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.fuzz.mutation import cases
from tests.fuzz.surfaces import SURFACES

CASES = int(os.environ.get("FUZZ_CASES", "1500"))


@pytest.mark.parametrize("name", SURFACES)
def test_contract_of_the_surface_holds_whatever_arrives(name: str) -> None:
    """The same cases in every run; the failing one is shown."""
    surface = SURFACES[name]
    with surface.opened() as check:
        for case in cases(surface, Random(name), CASES):  # noqa: S311 - repeatable, not secret
            try:
                check(case)
            except Exception as error:
                raise AssertionError(f"{name}: {case!r}") from error
