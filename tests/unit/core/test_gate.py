from __future__ import annotations

from proxy.core.backoff import Backoff
from proxy.core.gate import Gate
from tests.unit.core.builders import MS, SECOND, unlimited

FEW_KEYS = 3


def gate_of(*, random: float = 0.5, **limits: int) -> Gate:
    """Return a gate that backs off from 50 ms to a second, with dice that always show the same."""
    return Gate(unlimited(**limits), Backoff(50 * MS, 1000 * MS, lambda: random))


def test_what_is_ready_goes_at_once_when_nothing_is_in_flight() -> None:
    """A quiet stream pays no waiting."""
    gate = gate_of()
    gate.linger(0, waited=False)
    assert gate.may_start(0)
    assert gate.may_go(0, FEW_KEYS)


def test_what_is_ready_waits_for_company_while_a_request_is_in_flight() -> None:
    """A busy stream fills its batches."""
    gate = gate_of()
    gate.started(0)
    gate.linger(0, waited=False)
    assert gate.may_start(0)
    assert not gate.may_go(0, FEW_KEYS)


def test_what_has_lingered_goes() -> None:
    """Five milliseconds after the last request, not a nanosecond before."""
    gate = gate_of(linger_ns=5 * MS)
    gate.started(10 * MS)
    gate.linger(11 * MS, waited=False)
    gate.linger(12 * MS, waited=False)
    assert not gate.may_go(15 * MS - 1, FEW_KEYS)
    assert gate.may_go(15 * MS, FEW_KEYS)


def test_what_comes_after_a_pause_waits_for_no_company() -> None:
    """Where the last request went longer ago than the linger none would come."""
    gate = gate_of(linger_ns=5 * MS)
    gate.started(0)
    gate.linger(5 * MS, waited=False)
    assert gate.may_go(5 * MS, FEW_KEYS)


def test_each_request_lingers_for_its_own_company() -> None:
    """When nothing was ready in between."""
    gate = gate_of(linger_ns=5 * MS)
    gate.started(0)
    gate.linger(1 * MS, waited=False)
    gate.emptied()
    gate.started(100 * MS)
    gate.linger(101 * MS, waited=False)
    assert not gate.may_go(105 * MS - 1, FEW_KEYS)
    assert gate.may_go(105 * MS, FEW_KEYS)


def test_what_has_already_waited_for_tokens_does_not_linger() -> None:
    """Its waiting was company enough."""
    gate = gate_of(linger_ns=5 * MS)
    gate.started(0)
    gate.linger(0, waited=True)
    assert gate.may_go(0, FEW_KEYS)


def test_a_full_batch_goes_at_once() -> None:
    """Exactly at the limit."""
    gate = gate_of(batch_records_max=500)
    gate.started(0)
    gate.linger(0, waited=False)
    assert not gate.may_go(0, 499)
    assert gate.may_go(0, 500)


def test_no_more_requests_start_than_may_be_in_flight() -> None:
    """One that returns makes room for one."""
    gate = gate_of(in_flight_max=2)
    gate.started(0)
    assert gate.may_start(0)
    gate.started(0)
    assert not gate.may_start(0)
    gate.returned(0, 0, answered=True)
    assert gate.may_start(0)


def test_a_failed_request_shuts_the_gate_for_a_backoff() -> None:
    """Half of 50 ms by these dice, and twice that after the next failure."""
    gate = gate_of()
    gate.failed(0, 0)
    assert not gate.may_start(25 * MS - 1)
    assert gate.may_start(25 * MS)
    gate.failed(25 * MS, 25 * MS)
    assert not gate.may_start(75 * MS - 1)
    assert gate.may_start(75 * MS)


def test_after_a_failure_one_request_at_a_time_finds_out_whether_the_trouble_is_over() -> None:
    """Until one is answered; then the gate is as open as ever, and the next failure counts as the first."""
    gate = gate_of(random=0.0, in_flight_max=8)
    gate.failed(0, 0)
    gate.started(0)
    assert not gate.may_start(0)
    gate.returned(0, 0, answered=True)
    gate.succeeded()
    for _ in range(8):
        assert gate.may_start(0)
        gate.started(0)
    assert not gate.may_start(0)


def test_a_success_makes_the_next_failure_the_first() -> None:
    """Failures are counted in a row."""
    gate = gate_of()
    for _ in range(5):
        gate.failed(0, 0)
    gate.succeeded()
    gate.failed(1000 * MS, 1000 * MS)
    assert gate.may_start(1025 * MS)


def test_requests_that_were_in_flight_together_meet_one_trouble() -> None:
    """Eight connections that break at once are one reason to wait, not eight that double it."""
    gate = gate_of()
    for now_ns in (10 * MS, 11 * MS, 12 * MS):
        gate.failed(5 * MS, now_ns)
    assert gate.may_start(35 * MS)
    gate.failed(10 * MS, 40 * MS)
    assert not gate.may_start(90 * MS - 1)
    assert gate.may_start(90 * MS)


def test_late_news_of_a_failure_shuts_a_gate_that_opened_up_meanwhile() -> None:
    """After a success there is no failure to be older than."""
    gate = gate_of()
    gate.failed(0, 10 * MS)
    gate.succeeded()
    gate.failed(5 * MS, 60 * MS)
    assert not gate.may_start(85 * MS - 1)


def test_a_gate_with_everything_in_flight_opens_by_an_event_alone() -> None:
    """No timer brings a response."""
    gate = gate_of(in_flight_max=1)
    gate.started(0)
    gate.linger(0, waited=False)
    assert gate.opens_at_ns(anything_ready=True, anything_split=True, lanes_wake_ns=3 * MS) is None


def test_a_gate_with_nothing_to_do_opens_never() -> None:
    """Nothing ready, nothing split, no lane waiting."""
    assert gate_of().opens_at_ns(anything_ready=False, anything_split=False, lanes_wake_ns=None) is None


def test_the_gate_opens_at_the_first_of_linger_and_waiting_lane() -> None:
    """Whichever comes first lets something go."""
    gate = gate_of(linger_ns=5 * MS)
    gate.started(0)
    gate.linger(0, waited=False)
    assert gate.opens_at_ns(anything_ready=True, anything_split=False, lanes_wake_ns=3 * MS) == 3 * MS
    assert gate.opens_at_ns(anything_ready=True, anything_split=False, lanes_wake_ns=9 * MS) == 5 * MS


def test_the_gate_never_opens_before_its_backoff_is_over() -> None:
    """Neither for what is ready, nor for a split part, nor for a lane."""
    gate = gate_of()
    gate.failed(0, 0)
    assert gate.opens_at_ns(anything_ready=True, anything_split=False, lanes_wake_ns=None) == 25 * MS
    assert gate.opens_at_ns(anything_ready=False, anything_split=True, lanes_wake_ns=None) == 25 * MS
    assert gate.opens_at_ns(anything_ready=False, anything_split=False, lanes_wake_ns=3 * MS) == 25 * MS
    assert gate.opens_at_ns(anything_ready=False, anything_split=False, lanes_wake_ns=40 * MS) == 40 * MS


def test_a_split_part_waits_for_no_company() -> None:
    """It has been in a batch before."""
    gate = gate_of(in_flight_max=2)
    gate.started(0)
    opens_at_ns = gate.opens_at_ns(anything_ready=False, anything_split=True, lanes_wake_ns=None)
    assert opens_at_ns is not None
    assert opens_at_ns <= 0


def test_the_round_trip_is_what_requests_take_of_late() -> None:
    """The first as it is, the others smoothed: an eighth of the difference each."""
    gate = gate_of()
    for sent_at_ns, returned_at_ns in ((0, 80 * MS), (100 * MS, 340 * MS)):
        gate.started(0)
        gate.returned(sent_at_ns, returned_at_ns, answered=True)
    assert gate.round_trip_ns == 100 * MS


def test_what_was_not_answered_says_nothing_about_a_round_trip() -> None:
    """After an outage of time-outs keys would be judged by those, for seconds."""
    gate = gate_of()
    gate.started(0)
    gate.returned(0, 80 * MS, answered=True)
    gate.started(0)
    gate.returned(0, 2000 * MS, answered=False)
    assert gate.round_trip_ns == 80 * MS


def test_an_answer_takes_a_round_trip_and_a_quarter_but_no_more_than_a_quarter_of_a_records_life() -> None:
    """Were it more than a life nothing would be sent any more, and nothing show that the service is well again."""
    gate = gate_of(delivery_timeout_ns=2500 * MS)
    assert gate.answer_ns == 0
    gate.started(0)
    gate.returned(0, 80 * MS, answered=True)
    assert gate.answer_ns == 100 * MS
    for _ in range(20):
        gate.started(0)
        gate.returned(0, 2400 * MS, answered=True)
    assert gate.answer_ns == 625 * MS


def test_the_gate_stays_shut_for_no_more_than_half_of_a_records_life() -> None:
    """Asked to wait ten seconds, it would fail all that comes in nine of them, where it can as well ask again."""
    gate = gate_of(random=0, delivery_timeout_ns=2500 * MS)
    gate.failed(0, 0, retry_after_ns=10 * SECOND)
    assert not gate.may_start(1250 * MS - 1)
    assert gate.may_start(1250 * MS)


def test_the_service_says_how_long_to_stay_shut_at_the_least() -> None:
    """Whatever the dice say; and a longer backoff of our own counts as before."""
    gate = gate_of(random=0)
    gate.failed(0, 0, retry_after_ns=SECOND)
    assert not gate.may_start(SECOND - 1)
    assert gate.may_start(SECOND)
    gate = gate_of(random=0.5)
    gate.failed(0, 0, retry_after_ns=MS)
    assert not gate.may_start(25 * MS - 1)
