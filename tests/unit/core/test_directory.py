"""Which stream a caller means, and which is forgotten."""

from __future__ import annotations

from proxy.core.buffer import Buffer
from proxy.core.directory import Directory, account_of, region_of
from proxy.core.hashing import hash_key_of
from proxy.core.limits import StreamLimits
from proxy.core.record import Record
from proxy.core.shard_map import StreamSummary

OURS = "arn:aws:kinesis:eu-west-1:111111111111:stream/orders"
THEIRS = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"


def directory(streams_max: int = 10) -> Directory:
    """Return an empty directory."""
    return Directory(lambda _: StreamLimits(), Buffer(100, 1_000_000), streams_max, lambda: 0.5, str.upper)


def learn(streams: Directory, name: str = "orders", arn: str = OURS) -> None:
    """Let the summary of a stream named by name arrive."""
    stream = streams.find_or_make(name, None, 0)
    assert stream is not None
    stream.learn_summary(StreamSummary(arn, 1), 0)
    streams.learn_account(stream)


def occupy(streams: Directory, name: str, arn: str | None = None) -> None:
    """Leave an open record in a stream."""
    stream = streams.find_or_make(name, arn, 0)
    assert stream is not None
    assert stream.append([Record("a", "", 1, hash_key_of("a"), 0)], 0) == 0


def test_region_and_account_of_an_arn() -> None:
    """They are its fourth and fifth parts."""
    assert (region_of(OURS), account_of(OURS)) == ("eu-west-1", "111111111111")
    assert (region_of("orders"), account_of("orders")) == ("", "")


def test_a_summary_without_an_arn_teaches_nothing() -> None:
    """Local servers may give none."""
    streams = directory()
    learn(streams, arn="orders")
    assert streams.account_id is None


def test_a_stream_by_name_and_by_arn_of_our_account_is_one() -> None:
    """Both share one queue, hence order and limits."""
    streams = directory()
    learn(streams)
    assert streams.find_or_make("orders", OURS, 0) is streams.find_or_make("orders", None, 0)


def test_our_account_holds_for_every_stream() -> None:
    """The account learned from one stream resolves the ARNs of all others."""
    streams = directory()
    learn(streams, "payments", "arn:aws:kinesis:eu-west-1:111111111111:stream/payments")
    assert streams.find_or_make("orders", OURS, 0) is streams.find_or_make("orders", None, 0)


def test_a_stream_of_another_account_is_never_the_one_of_that_name() -> None:
    """It has its own queue, and its ARN goes on the wire."""
    streams = directory()
    learn(streams)
    theirs = streams.find_or_make("orders", THEIRS, 0)
    assert theirs is not streams.find_or_make("orders", None, 0)
    assert theirs is not None
    assert theirs.arn == THEIRS


def test_an_arn_is_not_guessed_to_be_ours() -> None:
    """While our account is unknown a stream named by ARN has its own queue."""
    streams = directory()
    assert streams.find_or_make("orders", OURS, 0) is not streams.find_or_make("orders", None, 0)


def test_the_account_of_a_stream_named_by_arn_says_nothing_of_ours() -> None:
    """The summary of a stream that was named by ARN may be another account's."""
    streams = directory()
    theirs = streams.find_or_make("orders", THEIRS, 0)
    assert theirs is not None
    theirs.learn_summary(StreamSummary(THEIRS, 1), 0)
    streams.learn_account(theirs)
    assert streams.account_id is None


def test_a_queue_by_arn_is_left_only_when_it_is_empty() -> None:
    """Open records in it would be overtaken by newer ones in the other."""
    streams = directory()
    occupy(streams, "orders", OURS)
    learn(streams)
    by_arn = streams.find_or_make("orders", OURS, 0)
    assert by_arn is not None
    assert by_arn.arn == OURS
    by_arn.abandon("over")
    by_arn.take_settled()
    assert streams.find_or_make("orders", OURS, 0) is streams.find("orders", None)


def test_an_idle_stream_is_forgotten_for_a_new_one_and_its_counts_are_kept() -> None:
    """At the limit the idle stream that has been known longest goes."""
    streams = directory(streams_max=2)
    occupy(streams, "busy")
    idle = streams.find_or_make("idle", None, 0)
    assert idle is not None
    idle.counters.received_records = 7
    assert streams.find_or_make("new", None, 0) is not None
    assert list(streams.streams) == ["busy", "new"]
    assert {label: counts.received_records for label, counts in streams.forgotten.items()} == {"IDLE": 7}


def test_no_stream_is_forgotten_while_its_records_are_open() -> None:
    """If all are busy there is no room for another."""
    streams = directory(streams_max=1)
    occupy(streams, "busy")
    assert streams.find_or_make("new", None, 0) is None
    assert list(streams.streams) == ["busy"]


def test_a_queue_by_arn_is_left_for_good() -> None:
    """Something to fetch makes it busy again; a record that came back to it would pass those of its key by the name."""
    streams = directory()
    left = streams.find_or_make("orders", OURS, 0)
    learn(streams)
    by_name = streams.find_or_make("orders", OURS, 0)
    assert by_name is not left is not None
    left.want_summary(0)
    assert left.summary_due(3600 * 10**9)
    assert not left.idle
    assert streams.find_or_make("orders", OURS, 0) is by_name
    assert streams.find("orders", OURS) is by_name
