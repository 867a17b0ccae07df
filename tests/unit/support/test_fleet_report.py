from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fleet_books import ProxyBooks, Sample, StreamBooks
from tests.support.fleet_client import DELIVERED, Tally
from tests.support.fleet_generator import Summary
from tests.support.fleet_plan import CALM, FleetOptions, Stretch, clients_of, jain
from tests.support.fleet_report import broken_promises, markdown, quantiles
from tests.support.fleet_run import Calls, FleetRun, Passed
from tests.support.readback import Verdict

OPTIONS = FleetOptions(seconds=10.0, proxies=2, shards=1, overload=2.0, stretches=(Stretch(CALM, 1),))
SENT_BY_CLIENT = 10


def books_of(clients: int) -> ProxyBooks:
    """Return the accounts of a proxy that delivered everything but one record, which it gave up in flight."""
    sent = clients * SENT_BY_CLIENT
    return ProxyBooks(
        received=sent,
        delivered=sent - 1,
        failed=1,
        held=0,
        rejected=0,
        attempts=sent,
        throttled=0,
        timed_out=0,
        unknown_outcomes=2,
        regressions=0,
        singles=7,
        quick_singles=5,
        lag_seconds=0.0,
        cpu_seconds=1.0,
        resident_bytes=1,
    )


def faithful() -> FleetRun:
    """Return a run in which every account agrees with every other."""
    clients = clients_of(OPTIONS)
    each = len(clients) // 2
    tallies = {spec.number: Tally(started=10, acknowledged=10, sendings=10) for spec in clients}
    for first in (0, each):
        tallies[first] = Tally(started=10, acknowledged=9, given_up=1, sendings=10)
    sent = len(clients) * SENT_BY_CLIENT
    stream = StreamBooks(1, frozenset({"s0"}), sent + 2, 0, 0, sent, 0.5, 1.0, 1)
    after = Sample(10.0, [books_of(each), books_of(each)], stream)
    nothing = replace(books_of(0), delivered=0, failed=0)
    before = Sample(0.0, [nothing, nothing], replace(stream, accepted=0))
    calls = Calls(records=sent)
    calls.seconds[True, DELIVERED].append(0.1)
    return FleetRun(
        options=OPTIONS,
        clients=clients,
        passed=[Passed(OPTIONS.stretches[0], before, after, calls, 1.0)],
        samples=[before, after],
        summaries=[Summary(tallies, {}, {"some error": 1})],
        late=array("f", [0.0]),
        verdict=Verdict(acknowledged=sent - 2, stored=sent + 2, duplicates=2, unacknowledged=2),
        overtaken=0,
        records_read=sent + 2,
        held_most=3,
        own_cpu_seconds=1.0,
        unread_shards=[],
    )


def change_proxy(run: FleetRun, **changes: Any) -> None:  # noqa: ANN401 - members of any kind
    """Make the first proxy's last accounts say something else."""
    last = run.samples[-1]
    run.samples[-1] = replace(last, proxies=[replace(last.proxies[0], **changes), *last.proxies[1:]])


def change_tally(run: FleetRun, **changes: Any) -> None:  # noqa: ANN401 - members of any kind
    """Make a client of the first proxy have seen something else."""
    for name, value in changes.items():
        setattr(run.summaries[0].tallies[1], name, value)


def test_a_run_whose_accounts_agree_breaks_nothing() -> None:
    """Duplicates and unacknowledged records up to what the proxies admit are no breach."""
    assert broken_promises(faithful()) == []


@pytest.mark.parametrize("kind", ["lost", "inversions", "misrouted", "foreign", "regressions"])
def test_each_problem_of_the_verdict_is_a_breach(kind: str) -> None:
    """What the verifier found breaks a promise, whatever the books say."""
    run = faithful()
    setattr(run.verdict, kind, 3)
    assert broken_promises(run) == [f"3 {kind}"]


def test_duplicates_need_an_unknown_outcome_each() -> None:
    """One more than the proxies admit is a breach."""
    run = faithful()
    run.verdict.duplicates = 5
    assert "5 duplicates" in broken_promises(run)[0]


def test_unacknowledged_records_need_a_failed_or_an_unanswered_one_each() -> None:
    """What a proxy gave up, and what a client got no answer for, may be in the stream; nothing else may."""
    run = faithful()
    run.verdict.unacknowledged = 3
    assert "3 records are in the stream" in broken_promises(run)[0]
    change_tally(run, acknowledged=9, unanswered=1)
    assert broken_promises(run) == []


def test_records_behind_younger_ones_need_a_request_that_timed_out() -> None:
    """Only a request that the upstream carried out after its time may write behind a younger record."""
    run = faithful()
    run.verdict.late_duplicates = run.overtaken = 1
    change_proxy(run, timed_out=1)
    assert len(broken_promises(run)) == 1
    change_proxy(run, timed_out=2)
    assert broken_promises(run) == []


def test_everything_that_the_stream_took_must_have_been_read() -> None:
    """A reader that missed records or shards proves nothing."""
    run = faithful()
    run.records_read -= 1
    assert len(broken_promises(run)) == 1
    run = faithful()
    run.unread_shards = ["s1"]
    assert len(broken_promises(run)) == 1


def test_books_that_do_not_balance_at_any_look_are_a_breach() -> None:
    """One received record more than the account explains, in the middle of a run, is found."""
    run = faithful()
    books = run.samples[0].proxies[1]
    run.samples[0].proxies[1] = replace(books, received=books.received + 1)
    assert broken_promises(run) == ["proxy 1: its books leave 1 records unexplained"]


def test_records_without_an_outcome_in_the_end_are_a_breach() -> None:
    """A proxy at rest holds nothing."""
    run = faithful()
    failed = run.samples[-1].proxies[0].failed
    change_proxy(run, held=1, failed=failed - 1)
    assert "proxy 0: 1 records have no outcome" in broken_promises(run)


@pytest.mark.parametrize("difference", [-1, 1])
def test_every_sending_that_was_answered_must_be_in_the_books(difference: int) -> None:
    """Received and rejected together are what was sent, give or take what has no answer."""
    run = faithful()
    change_proxy(run, rejected=difference)
    assert any("are not the" in text for text in broken_promises(run))


@pytest.mark.parametrize("acknowledged", [9, 11])
def test_a_client_is_told_of_each_delivery_and_of_nothing_else(acknowledged: int) -> None:
    """Deliveries of the books are acknowledgements of the clients, but for calls without an answer."""
    run = faithful()
    change_tally(run, acknowledged=acknowledged)
    assert any("its clients were told of" in text for text in broken_promises(run))


def test_a_record_taken_in_front_of_a_refused_one_of_its_call_is_a_breach() -> None:
    """At the door, too, order holds within a key."""
    run = faithful()
    change_tally(run, passed_over=1)
    assert len(broken_promises(run)) == 1


def test_a_sequence_number_that_a_proxy_saw_fall_is_a_breach() -> None:
    """The proxy's own alarm counts."""
    run = faithful()
    change_proxy(run, regressions=1)
    assert len(broken_promises(run)) == 1


def test_the_report_shows_use_fairness_and_every_class_of_clients() -> None:
    """The figures of a run can be read from its report."""
    run = faithful()
    report = markdown(run)
    sent = len(run.clients) * SENT_BY_CLIENT
    use = (sent + 2) / (1000 * 10)
    assert f"| calm | 10.0 | {sent / 10:,.0f} | {(sent + 2) / 10:,.0f} | {use:.3f} |" in report
    assert all(spec.habit.name in report for spec in run.clients)
    assert "answered 10 of 14 PutRecord calls within 10 ms" in report
    assert "event loop was late by up to 500 ms" in report
    assert "DID NOT KEEP" in report


def test_jain_is_one_for_equals_and_the_nth_part_for_a_greedy_one() -> None:
    """Both ends of the index."""
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_quantiles_are_of_the_values_in_order() -> None:
    """Median, 99th percentile and maximum, in milliseconds."""
    assert quantiles(array("f", [number / 1000 for number in range(100, -1, -1)])) == ["50.0", "99.0", "100.0"]


def test_load_is_a_multiple_of_what_the_shards_take_be_it_records_or_bytes() -> None:
    """A shard takes a thousand records of a hundred bytes a second, and 128 of 8 KiB."""
    assert FleetOptions(seconds=1.0, data_bytes=100, shards=4, overload=3.0).records_per_second == 12_000
    assert FleetOptions(seconds=1.0, data_bytes=8192, shards=4, overload=3.0).records_per_second == 1_536


def test_every_proxy_has_the_same_clients_and_no_key_has_two() -> None:
    """Equal demand, and an order of each key that is known; together they send what was asked for."""
    options = FleetOptions(seconds=1.0)
    clients = clients_of(options)
    rates = [sum(spec.habit.records_per_second for spec in clients if spec.proxy == proxy) for proxy in range(8)]
    assert rates == [pytest.approx(1500)] * 8
    keys = [spec.partition_key(index) for spec in clients for index in range(spec.habit.partition_keys)]
    assert len(keys) == len(set(keys))
