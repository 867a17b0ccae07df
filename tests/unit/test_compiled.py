"""Which modules are compiled: those of `pyproject.toml`, all together or none."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
# `make compiled` leaves it in the tree where it has compiled.
STAMP = ROOT / "compiled"


def the_hook() -> dict[str, list[str]]:
    """Return the settings of the build hook that compiles."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook: dict[str, list[str]] = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    return hook


def compiled_modules() -> list[str]:
    """Return the names of the modules that are to be compiled."""
    hook = the_hook()
    paths = [path for pattern in hook["include"] for path in ROOT.glob(pattern.removeprefix("/"))]
    names = [path.relative_to(ROOT).with_suffix("") for path in paths if path.name not in hook["exclude"]]
    return [".".join(name.parts) for name in names]


def test_every_pattern_names_modules() -> None:
    """A module that was renamed would otherwise be interpreted from then on, and nobody would know."""
    assert {"proxy.core.stream", "proxy.transport.lean", "proxy.kinesis.puts"} <= set(compiled_modules())
    for pattern in the_hook()["include"]:
        assert list(ROOT.glob(pattern.removeprefix("/"))), pattern


def test_all_modules_of_the_hot_path_are_compiled_or_none() -> None:
    """And where `make compiled` runs this, all are."""
    suffixes = set()
    for name in compiled_modules():
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        suffixes.add(Path(spec.origin).suffix)
    assert suffixes == ({".so"} if STAMP.exists() else {".py"})
