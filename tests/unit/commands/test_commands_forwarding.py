from __future__ import annotations

import pytest

from proxy.commands.forwarding import READ_STREAM_OPERATIONS, forwarded_operations
from proxy.commands.process import CommandError
from proxy.config import ServeSettings


def forwarded(setting: object = "auto", upstream: str = "aws") -> frozenset[str] | None:
    """Return what is forwarded with a setting."""
    settings = ServeSettings.model_validate({"forwarded_operations": setting, "upstream": upstream})
    return forwarded_operations(settings)


@pytest.mark.parametrize(
    ("upstream", "is_local"),
    [
        ("embedded", True),
        ("http://127.0.0.1:4568", True),
        ("http://[::1]:4568", True),
        ("http://localhost:4568", True),
        ("aws", False),
        ("https://kinesis.eu-central-1.amazonaws.com", False),
        ("http://10.0.0.1:4568", False),
    ],
)
def test_unless_told_otherwise_only_reads_about_streams_leave_this_machine(upstream: str, *, is_local: bool) -> None:
    """The role of the proxy does not become every caller's; a local server is everybody's own."""
    assert forwarded(upstream=upstream) == (None if is_local else READ_STREAM_OPERATIONS)


def test_read_stream_is_what_a_producer_needs_to_know() -> None:
    """Not records, not consumers, not tags."""
    assert forwarded("read-stream", "embedded") == frozenset(
        {"DescribeStream", "DescribeStreamSummary", "ListShards", "ListStreams", "DescribeLimits"}
    )


@pytest.mark.parametrize("upstream", ["aws", "embedded"])
def test_forwarding_can_be_opened_and_closed_whatever_the_upstream(upstream: str) -> None:
    """What is written wins over what the upstream would suggest."""
    assert forwarded("all", upstream) is None
    assert forwarded("none", upstream) == frozenset()


def test_a_list_is_exactly_its_operations() -> None:
    """It adds nothing to what is written, and read-stream in it stands for its own."""
    assert forwarded("ListShards") == frozenset({"ListShards"})
    assert forwarded("GetShardIterator, GetRecords") == frozenset({"GetRecords", "GetShardIterator"})
    assert forwarded(["read-stream", "GetRecords"]) == READ_STREAM_OPERATIONS | {"GetRecords"}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("ListShard", "'ListShard'; did you mean ListShards?"),
        ("ListShards,getrecords", "'getrecords'; did you mean GetRecords?"),
        ("read-streams", "did you mean read-stream?"),
        ("reads", "no operation 'reads'"),
        ("*", "no operation '*'"),
        ("PutRecord", "PutRecord is always served, through the queue"),
        ("ListShards,PutRecords", "PutRecords is always served, through the queue"),
        ("SubscribeToShard", "a stream of events"),
        ("all,ListShards", "all stands alone"),
        ("ListShards,none", "none stands alone"),
        ("auto,GetRecords", "auto stands alone"),
    ],
)
def test_what_cannot_be_forwarded_is_refused_at_the_start_with_its_reason(setting: str, told: str) -> None:
    """A mistyped name never closes, or opens, anything silently."""
    with pytest.raises(CommandError) as error:
        forwarded(setting)
    assert str(error.value).startswith("forwarded_operations: ")
    assert told in str(error.value)
