from __future__ import annotations

import pytest

from proxy.config.values import (
    Address,
    OrderingRule,
    StreamSpec,
    ordering_mode_of,
    parse_address,
    parse_faults,
    parse_orderings,
    parse_region,
    parse_streams,
    parse_truth,
    parse_upstream,
    parse_words,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4567", Address("127.0.0.1", 4567)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),  # noqa: S104 - parsed, not bound
        ("[::1]:4567", Address("::1", 4567)),
        ("localhost:80", Address("localhost", 80)),
        ("proxy-1.example.internal:65535", Address("proxy-1.example.internal", 65535)),
    ],
)
def test_an_address_is_host_and_port_and_writes_itself_as_it_was_read(text: str, address: Address) -> None:
    """Reading what an address writes gives the same address."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4567",
        ":4567",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:٣",
        "::1:4567",
        "[127.0.0.1]:4567",
        "[::1:4567",
        "256.0.0.1:4567",
        "127.1:4567",
        "http://127.0.0.1:4567",
        "a b:1",
    ],
)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    """A mistyped address never becomes another one."""
    with pytest.raises(ValueError, match=r"HOST:PORT|port must be|brackets"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - judged, not bound
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_only_this_machine_reaches_a_loopback_address(host: str, *, is_loopback: bool) -> None:
    """Whatever is not surely loopback counts as reachable."""
    assert Address(host, 1).is_loopback is is_loopback


def test_streams_come_as_one_text_or_as_a_list() -> None:
    """The environment gives one text with commas, flags and files give lists."""
    wanted = (StreamSpec("orders", 4), StreamSpec("clicks", 1))
    assert parse_streams("orders:4, clicks:1") == wanted
    assert parse_streams(["orders:4", "clicks:1"]) == wanted
    assert parse_streams(wanted) == wanted


@pytest.mark.parametrize(
    "text", ["orders", "orders:", "orders:0", "orders:10001", "or ders:1", ":1", "orders:x", "a" * 129 + ":1"]
)
def test_a_stream_without_a_good_name_or_number_of_shards_is_refused(text: str) -> None:
    """A stream is never made otherwise than asked."""
    with pytest.raises(ValueError, match=r"shards|NAME:SHARDS"):
        parse_streams(text)


def test_a_stream_given_twice_is_refused() -> None:
    """Two numbers of shards for one stream contradict each other."""
    with pytest.raises(ValueError, match="orders is given twice"):
        parse_streams("orders:1,orders:2")


def test_faults_come_as_text_list_or_table() -> None:
    """The environment gives one text with commas, flags a list, the file a table."""
    wanted = ("latency_ms=50", "throttle_ratio=0.1")
    assert parse_faults("latency_ms=50, throttle_ratio=0.1") == wanted
    assert parse_faults(["latency_ms=50", "throttle_ratio=0.1"]) == wanted
    assert parse_faults({"latency_ms": 50, "throttle_ratio": 0.1}) == wanted


@pytest.mark.parametrize("text", ["latency_ms", "=5", "latency_ms="])
def test_a_fault_without_name_or_value_is_refused(text: str) -> None:
    """A fault is never injected with a value that nobody gave."""
    with pytest.raises(ValueError, match="name=value"):
        parse_faults(text)


@pytest.mark.parametrize(
    ("value", "truth"),
    [(True, True), (False, False), ("true", True), ("false", False), ("True", True), ("FALSE", False)],
)
def test_true_and_false_are_written_so(value: object, *, truth: bool) -> None:
    """As TOML, or whatever makes the environment, writes them."""
    assert parse_truth(value) is truth


@pytest.mark.parametrize("value", ["yes", "no", "on", "1", "0", "t", 1, 0, "", None])
def test_nothing_else_is_true_or_false(value: object) -> None:
    """The bounds say true or false; a setting that opens a door has no third way to be written."""
    with pytest.raises(ValueError, match="is not true or false"):
        parse_truth(value)


@pytest.mark.parametrize(
    "text", ["aws", "embedded", "http://127.0.0.1:4568", "https://kinesis.eu-central-1.amazonaws.com"]
)
def test_an_upstream_is_aws_embedded_or_a_url(text: str) -> None:
    """The three kinds of upstream are taken as they are written."""
    assert parse_upstream(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "amazon", "localhost:4568", "ftp://host", "http://", "http://host/path", "http://host:x", "http://host?q"],
)
def test_what_is_no_upstream_is_refused(text: str) -> None:
    """A mistyped upstream never becomes another one."""
    with pytest.raises(ValueError, match=r"write aws, embedded, or the URL|must end after"):
        parse_upstream(text)


def test_credentials_in_the_upstream_url_are_refused_without_repeating_them() -> None:
    """A password put in the wrong place does not reach a log through the message that refuses it."""
    with pytest.raises(ValueError, match="must not carry credentials") as refusal:
        parse_upstream("https://user:hunter2@kinesis.example.com")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "EU", "eu-central-1.example.com", "eu central"])
def test_a_region_that_could_change_the_host_name_is_refused(text: str) -> None:
    """A region becomes a label of the endpoint's host name."""
    with pytest.raises(ValueError, match="AWS region"):
        parse_region(text)


@pytest.mark.parametrize("value", ["ListShards, GetRecords,ListShards", ["ListShards", "GetRecords"]])
def test_words_come_as_text_or_list_each_once(value: object) -> None:
    """Written twice is written once, in the order of the first."""
    assert parse_words(value) == ("ListShards", "GetRecords")


@pytest.mark.parametrize("value", ["", " , ", []])
def test_no_word_at_all_is_a_mistake(value: object) -> None:
    """An empty text says neither all nor none."""
    with pytest.raises(ValueError, match="at least one word"):
        parse_words(value)


def test_an_ordering_is_a_mode_for_every_stream_or_a_pattern_with_one() -> None:
    """The rule for every stream comes last, wherever it was written; without one it is strict."""
    general = OrderingRule("*", "call")
    assert parse_orderings("call, clicks-*=none, orders=relaxed") == (
        OrderingRule("clicks-*", "none"),
        OrderingRule("orders", "relaxed"),
        general,
    )
    assert parse_orderings(["clicks=none"]) == (OrderingRule("clicks", "none"), OrderingRule("*", "strict"))
    assert parse_orderings((general,)) == (general,)
    assert [str(rule) for rule in parse_orderings("call,clicks=none")] == ["clicks=none", "call"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("stream_name", "mode"), [("clicks", "strict"), ("clicks-eu", "none"), ("clicks-us-1", "none"), ("x", "relaxed")]
)
def test_the_first_rule_that_matches_a_stream_counts(stream_name: str, mode: str) -> None:
    """With * and ? for any characters."""
    rules = parse_orderings("clicks-*=none,clicks-eu=call,?=relaxed")
    assert ordering_mode_of(rules, stream_name) == mode  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["fifo", "orders=fifo", "=none", "orders:none", "or ders=none", "a[b]=none", "orders="]
)
def test_an_ordering_that_is_none_is_refused_with_the_form_that_is_wanted(text: str) -> None:
    """Better than a stream in an order that nobody chose."""
    with pytest.raises(ValueError, match="strict, call, relaxed, none, or PATTERN=MODE"):
        parse_orderings(text)


def test_two_orderings_for_one_pattern_are_refused() -> None:
    """One of them would be lost."""
    with pytest.raises(ValueError, match="clicks is given twice"):
        parse_orderings("clicks=none,clicks=call")
