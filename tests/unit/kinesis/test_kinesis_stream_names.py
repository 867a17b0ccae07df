"""How a request names its stream."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kinesis.errors import InvalidArgumentException
from proxy.kinesis.stream_names import (
    STREAM_ARN_MATCHER,
    STREAM_ARN_PATTERN,
    is_stream_arn,
    is_stream_name,
    resolve_stream,
    stream_name_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
ARN_PARTS = ["arn:aws", ":kinesis:", "kinesis:", ":123456789012", ":stream/", ":123456789012:stream/", "a", " ", "\n"]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("a", True),
        ("A-z_0.9", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("a/b", False),
        ("a\n", False),
        ("é", False),
        ("\u0661", False),
    ],
)
def test_stream_name_has_its_letters_and_length(text: str, valid: bool) -> None:  # noqa: FBT001 - a parameter of the case
    """1 to 128 of the letters a-z, A-Z, 0-9, underscore, dot and dash."""
    assert is_stream_name(text) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (ARN, True),
        ("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b", True),
        ("arn:aws:kinesis:us-east-1:12345678901:stream/a", False),
        (
            "arn:aws:kinesis:us-east-1:\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661:stream/a",
            False,
        ),
        ("arn:aws:firehose:us-east-1:123456789012:stream/a", False),
        (f"{ARN}/{'a' * 2048}", False),
        ("", False),
    ],
)
def test_stream_arn_has_its_form_and_length(text: str, valid: bool) -> None:  # noqa: FBT001 - a parameter of the case
    """The model's pattern, and at most 2048 characters."""
    assert is_stream_arn(text) is valid


@pytest.mark.parametrize("check", [is_stream_name, is_stream_arn])
def test_text_that_is_too_long_is_not_remembered(check: Callable[[str], bool]) -> None:
    """It can have the size of a body."""
    text = "a" * 2049
    held = sys.getrefcount(text)
    assert not check(text)
    assert sys.getrefcount(text) == held


@given(st.lists(st.sampled_from(ARN_PARTS), max_size=9).map("".join))
def test_matcher_of_an_arn_takes_what_the_models_pattern_takes(rest: str) -> None:
    """It differs in the time that it takes, and in nothing else."""
    text = f"arn:aws{rest}"
    matched = re.fullmatch(STREAM_ARN_MATCHER, text, re.ASCII)
    assert bool(matched) is bool(re.fullmatch(STREAM_ARN_PATTERN, text, re.ASCII))


def test_stream_is_named_by_name_or_arn_or_both() -> None:
    """The ARN's last part is the name."""
    assert resolve_stream("orders", None) == "orders"
    assert resolve_stream(None, ARN) == "orders"
    assert resolve_stream("orders", ARN) == "orders"


@pytest.mark.parametrize(
    ("stream_name", "stream_arn"),
    [(None, None), ("other", ARN), (None, f"{ARN}/consumer/c:1"), (None, f"{ARN}{'a' * 128}")],
)
def test_stream_that_is_not_named_is_refused(stream_name: str | None, stream_arn: str | None) -> None:
    """No name, two names, or the ARN of something else."""
    with pytest.raises(InvalidArgumentException):
        resolve_stream(stream_name, stream_arn)


def test_reserved_stream_id_is_refused() -> None:
    """StreamId cannot be resolved here, so it is not silently ignored."""
    with pytest.raises(InvalidArgumentException, match=r"^StreamId is not supported"):
        stream_name_of({"StreamName": "orders", "StreamId": "abcdefghijklmnopqrst-abc"})
    assert stream_name_of({"StreamName": "orders"}) == "orders"
