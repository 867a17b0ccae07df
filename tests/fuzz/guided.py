"""Fuzzes one surface, led by coverage: `python -m tests.fuzz.guided SURFACE [options of libFuzzer]`.

libFuzzer ends the process, with what it found in a file and status 77; `campaign` starts one for each surface.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # installed beside this, if at all

with atheris.instrument_imports(include=["proxy", "h2", "hpack", "hyperframe"]):
    from tests.fuzz.surfaces import SURFACES


def main(name: str, options: list[str]) -> None:
    """Fuzz a surface until libFuzzer ends the process."""
    with SURFACES[name].opened() as check:
        atheris.Setup([name, *options], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
