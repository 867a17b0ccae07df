"""What becomes of a call that its client has left, and what that may cost."""

from __future__ import annotations

import gc
import sys

from proxy.core.record import Record, State
from proxy.frontend.answers import answer_of_put_records, bytes_of
from proxy.frontend.outputs import PutRecordsOutput
from tests.unit.frontend.call_bench import CLIENT_GONE, SECOND_NS, Bench, attempt_of, signed, turns
from tests.unit.frontend.frontend_fakes import put_record_request, put_records_request

# Leaving


async def test_client_that_leaves_takes_its_unsent_records_with_it() -> None:
    """All of them, and nothing is kept of the call."""
    bench = Bench()
    first = await bench.begin(signed(put_records_request(3)))
    await first.leave()
    assert first.status == CLIENT_GONE
    assert bench.queue.withdrawn == bench.queue.queued
    assert bench.calls.known == 0
    assert bench.frontend.counters.abandoned_requests == 1
    assert bench.frontend.counters.requests == {}


async def test_attempt_at_a_withdrawn_call_queues_it_again() -> None:
    """It was never sent."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    await first.leave()
    second = await bench.begin(attempt_of(2))
    assert [record.state for record in bench.queue.queued] == [State.WITHDRAWN, State.QUEUED]
    bench.queue.finish(1)
    await turns()
    assert second.output["SequenceNumber"] == "1"
    assert bench.calls.known == 0


async def test_call_of_which_a_record_was_sent_is_kept_whole() -> None:
    """The next attempt asks for one outcome, and gets it."""
    bench = Bench()
    first = await bench.begin(signed(put_records_request(3)))
    bench.queue.send(1)
    await first.leave()
    assert bench.queue.withdrawn == []
    second = await bench.begin(signed(put_records_request(3), 2))
    bench.queue.finish(0, 1, 2)
    await turns()
    assert [result["SequenceNumber"] for result in second.output["Records"]] == ["0", "1", "2"]
    assert len(bench.queue.queued) == 3


async def test_record_that_waits_to_be_sent_again_counts_as_sent() -> None:
    """It may have been written."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    bench.queue.send(0)
    bench.queue.queued[0].state = State.QUEUED
    await first.leave()
    assert bench.queue.withdrawn == []
    assert bench.calls.known == 1


async def test_call_without_an_id_leaves_only_what_is_in_flight() -> None:
    """Nobody can ask for its outcome again."""
    bench = Bench()
    first = await bench.begin(put_records_request(3))
    bench.queue.send(1)
    await first.leave()
    assert bench.queue.withdrawn == [bench.queue.queued[0], bench.queue.queued[2]]
    bench.queue.finish(1)
    assert bench.calls.known == 0


async def test_records_stay_while_another_attempt_waits_for_them() -> None:
    """Whichever of them leaves."""
    for leaver in (0, 1):
        bench = Bench()
        attempts = [await bench.begin(attempt_of(number)) for number in (1, 2)]
        await attempts[leaver].leave()
        assert bench.queue.withdrawn == []
        bench.queue.finish(0)
        await turns()
        assert attempts[1 - leaver].output["SequenceNumber"] == "0"


async def test_answer_is_kept_if_the_newest_attempt_has_left() -> None:
    """The client gave up the older connection long ago, even if nobody has noticed yet."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    second = await bench.begin(attempt_of(2))
    await second.leave()
    bench.queue.finish(0)
    await turns()
    assert first.status == 200
    assert bench.calls.undelivered == 1
    third = await bench.begin(attempt_of(3))
    assert third.output == first.output
    assert bench.calls.known == 0


async def test_older_attempt_that_leaves_after_the_newest_was_answered_changes_nothing() -> None:
    """The client has its answer."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    await bench.begin(attempt_of(2))
    bench.queue.finish(0)
    await turns()
    await first.leave()
    assert bench.calls.known == 0


async def test_handler_that_is_cancelled_counts_as_left() -> None:
    """The server ends it when its time is over."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    first.task.cancel()
    await turns()
    assert first.task.cancelled()
    assert bench.queue.withdrawn == bench.queue.queued
    second = await bench.begin(attempt_of(2))
    bench.queue.send(1)
    second.task.cancel()
    await turns()
    assert bench.calls.known == 1
    bench.queue.finish(1)
    assert bench.calls.undelivered == 1


async def test_client_may_leave_and_its_handler_be_cancelled_at_once() -> None:
    """In either order, before the handler has its turn."""
    for sent in (False, True):
        bench = Bench()
        first = await bench.begin(attempt_of(1))
        if sent:
            bench.queue.send(0)
        first.request.leave()
        first.task.cancel()
        await turns()
        assert first.task.cancelled()
        if sent:
            bench.queue.finish(0)
        assert bench.calls.undelivered == sent
        assert len(bench.queue.withdrawn) == (not sent)


async def test_request_whose_client_has_left_before_it_is_read_is_not_queued() -> None:
    """It was reset in the breath that sent it."""
    bench = Bench()
    request = attempt_of(1)
    request.leave()
    attempt = await bench.begin(request)
    assert attempt.status == CLIENT_GONE
    assert bench.queue.queued == []


async def test_attempt_whose_client_has_left_before_it_is_read_takes_no_answer_away() -> None:
    """The answer waits for one that listens."""
    bench = Bench()
    await bench.orphan(attempt_of(1))
    request = attempt_of(2)
    request.leave()
    await bench.begin(request)
    assert bench.calls.undelivered == 1


# Bounds


async def test_undelivered_answers_are_bounded_in_number_and_the_oldest_go_first() -> None:
    """A flood of clients that leave costs what is allowed."""
    bench = Bench(calls_max=10)
    for number in range(50):
        await bench.orphan(attempt_of(1, invocation_id=f"id{number}"))
        assert bench.calls.undelivered == bench.calls.known <= 10
    assert (await bench.begin(attempt_of(2, invocation_id="id39"))).waits
    assert (await bench.begin(attempt_of(2, invocation_id="id40"))).output["SequenceNumber"] == "40"


async def test_undelivered_answers_are_bounded_in_bytes() -> None:
    """The answers of large calls are large."""
    bench = Bench(bytes_max=100_000)
    for number in range(20):
        place = len(bench.queue.queued)
        attempt = await bench.begin(signed(put_records_request(100), 1, f"id{number}"))
        bench.queue.send(place)
        await attempt.leave()
        bench.queue.finish(*range(place, place + 100))
        assert 0 < bench.calls.undelivered_bytes <= 100_000
    assert bench.calls.undelivered == 3


async def test_answer_that_is_larger_than_all_bounds_is_not_kept() -> None:
    """The bounds are bounds."""
    bench = Bench(bytes_max=10)
    await bench.orphan(attempt_of(1))
    assert (bench.calls.known, bench.calls.undelivered, bench.calls.undelivered_bytes) == (0, 0, 0)


async def test_undelivered_answer_is_forgotten_in_time() -> None:
    """At its instant, and not before."""
    bench = Bench(keep_ns=60 * SECOND_NS)
    await bench.orphan(attempt_of(1))
    await bench.orphan(attempt_of(1, invocation_id="another"))
    bench.now_ns = 60 * SECOND_NS - 1
    assert (await bench.begin(attempt_of(2))).status == 200
    bench.now_ns = 60 * SECOND_NS
    assert (await bench.begin(attempt_of(2, invocation_id="another"))).waits
    assert bench.calls.undelivered == 0


async def test_what_has_been_kept_for_too_long_goes_when_something_is_to_be_kept() -> None:
    """Although there is room."""
    bench = Bench(keep_ns=SECOND_NS)
    await bench.orphan(attempt_of(1, invocation_id="old"))
    bench.now_ns = 2 * SECOND_NS
    await bench.orphan(attempt_of(1, invocation_id="new"))
    assert bench.calls.undelivered == 1


def test_estimate_of_an_answers_memory_is_no_less_than_its_size() -> None:
    """The bound of the bytes rests on it."""
    records = [Record("k", "", 1, 0, 0) for _ in range(100)]
    for place, record in enumerate(records[:50]):
        record.state = State.ACKNOWLEDGED
        record.sequence_number = f"{10**55 + place}"
        record.shard_id = f"shardId-{place:012}"
    for place, record in enumerate(records[50:]):
        record.state = State.REFUSED
        record.error_code = "InternalFailure"
        record.error_message = f"é{place}" * 100
    answer = answer_of_put_records(records)
    assert isinstance(answer, PutRecordsOutput)
    size_bytes = sys.getsizeof(answer) + sys.getsizeof(answer.Records)
    for result in answer.Records:
        texts = (result.SequenceNumber, result.ShardId, result.ErrorCode, result.ErrorMessage)
        size_bytes += sys.getsizeof(result) + sum(sys.getsizeof(text) for text in texts if text is not None)
    assert size_bytes <= bytes_of(answer) < 5 * size_bytes


async def test_answered_call_leaves_nothing_to_the_collector() -> None:
    """A cycle for each call would cost a collection for every few hundred."""
    bench = Bench()
    gc.collect()
    gc.disable()
    try:
        for request in (attempt_of(1), signed(put_records_request(3), 1, "another"), put_record_request()):
            place = len(bench.queue.queued)
            attempt = await bench.begin(request)
            bench.queue.finish(*range(place, len(bench.queue.queued)))
            await turns()
            assert attempt.status == 200
        bench.queue.queued.clear()
        del attempt, request
        await turns()
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_call_keeps_no_body() -> None:
    """A hash is enough to know it again."""
    bench = Bench()
    data = "A" * 100_000
    request = attempt_of(1, Data=data)
    before = sys.getrefcount(request.body)
    first = await bench.begin(request)
    meanwhile = sys.getrefcount(request.body)
    bench.queue.send(0)
    await first.leave()
    after = sys.getrefcount(request.body)
    assert bench.calls.known == 1
    assert (meanwhile, after) == (before, before)
    second = await bench.begin(attempt_of(2, Data=data))
    bench.queue.finish(0)
    await turns()
    assert second.output["SequenceNumber"] == "0"
