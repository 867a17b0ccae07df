"""An AWS configuration of the test's own: nothing of the machine's reaches it, and no metadata service is asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - the one of AWS's documentation


def use_aws_environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Replace every AWS variable by the given ones; no profile, no files, no proxy, no metadata service."""
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def use_static_credentials(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Replace every AWS variable by those of a user with an access key, and the given ones."""
    use_aws_environment(monkeypatch, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY, **variables)
