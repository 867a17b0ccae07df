"""Which attempts join which call, and get its outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.record import State
from tests.unit.frontend.call_bench import CLIENT_GONE, THROTTLED, Attempt, Bench, attempt_of, signed, turns
from tests.unit.frontend.frontend_fakes import (
    ALL,
    Rejection,
    acknowledged,
    failed,
    put_record_request,
    put_records_request,
)

if TYPE_CHECKING:
    from proxy.kinesis.http import Request

# Joining


@pytest.mark.parametrize("sent", [False, True])
async def test_attempt_joins_the_call_that_it_repeats_and_both_get_its_outcome(sent: bool) -> None:  # noqa: FBT001
    """Queued or in flight, its records are queued once."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    if sent:
        bench.queue.send(0)
    second = await bench.begin(attempt_of(2))
    assert first.waits
    assert second.waits
    bench.queue.finish(0)
    await turns()
    assert first.output == second.output == {"ShardId": "shardId-000000000000", "SequenceNumber": "0"}
    assert len(bench.queue.queued) == 1
    assert bench.frontend.counters.joined_requests == 1
    assert bench.calls.known == 0


async def test_attempt_joins_a_call_that_its_client_has_left_in_flight() -> None:
    """As it does in life: the first connection is cut, the second asks for the same."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    bench.queue.send(0)
    await first.leave()
    second = await bench.begin(attempt_of(2))
    bench.queue.finish(0)
    await turns()
    assert second.output["SequenceNumber"] == "0"
    assert len(bench.queue.queued) == 1
    assert (bench.calls.known, bench.queue.withdrawn) == (0, [])


async def test_attempt_gets_an_answer_that_has_reached_nobody_at_once() -> None:
    """The outcome came after its client had left."""
    bench = Bench()
    await bench.orphan(attempt_of(1))
    assert bench.calls.undelivered == 1
    second = await bench.begin(attempt_of(2))
    assert second.output["SequenceNumber"] == "0"
    assert (bench.calls.known, bench.calls.undelivered, bench.calls.undelivered_bytes) == (0, 0, 0)


async def test_attempt_gets_an_answer_whose_connection_broke_while_it_was_written() -> None:
    """The handler was done, the transport was not."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    bench.queue.finish(0)
    await turns()
    assert first.status == 200
    await first.leave()
    second = await bench.begin(attempt_of(2))
    assert second.output == first.output
    # and so on, until one is written
    await second.leave()
    third = await bench.begin(attempt_of(3))
    assert third.output == first.output
    assert len(bench.queue.queued) == 1
    assert bench.calls.known == 0


async def test_attempt_gets_an_answer_whose_client_left_between_outcome_and_writing() -> None:
    """The last outcome has come, its reply has not left."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    bench.queue.send(0)
    bench.queue.finish(0)
    await first.leave()
    second = await bench.begin(attempt_of(2))
    assert second.output["SequenceNumber"] == "0"
    assert len(bench.queue.queued) == 1


async def test_put_records_are_joined_whole() -> None:
    """Every result in its place, although one failed."""
    bench = Bench()
    throttled = failed(State.EXPIRED, THROTTLED, "Rate exceeded")
    bench.queue.settle = lambda record, ordinal: (throttled if ordinal == 1 else acknowledged)(record, ordinal)
    first = await bench.begin(signed(put_records_request(3)))
    bench.queue.send(0, 2)
    await first.leave()
    bench.queue.finish(2, 0)
    second = await bench.begin(signed(put_records_request(3), 2))
    assert second.waits
    bench.queue.finish(1)
    await turns()
    assert [result.get("SequenceNumber") for result in second.output["Records"]] == ["0", None, "2"]
    assert len(bench.queue.queued) == 3


async def test_every_one_of_many_attempts_gets_the_same_answer() -> None:
    """Some of which have left in between."""
    bench = Bench()
    attempts = [await bench.begin(attempt_of(number)) for number in range(1, 6)]
    bench.queue.send(0)
    await attempts[1].leave()
    attempts[3].task.cancel()
    bench.queue.finish(0)
    await turns()
    assert [attempts[place].output["SequenceNumber"] for place in (0, 2, 4)] == ["0"] * 3
    assert attempts[1].status == CLIENT_GONE
    assert attempts[3].task.cancelled()
    assert bench.calls.known == 0
    assert len(bench.queue.queued) == 1


async def test_error_reaches_every_attempt_that_waits() -> None:
    """One outcome."""
    bench = Bench()
    bench.queue.settle = failed(State.REFUSED, "KMSDisabledException", "off")
    first = await bench.begin(attempt_of(1))
    second = await bench.begin(attempt_of(2))
    bench.queue.finish(0)
    await turns()
    assert first.output == second.output == {"__type": "KMSDisabledException", "message": "off"}


async def test_attempt_joins_while_draining() -> None:
    """Nothing new is taken; what it asks for is in hand."""
    bench = Bench()
    first = await bench.begin(attempt_of(1))
    bench.queue.send(0)
    await first.leave()
    bench.frontend.draining = True
    second = await bench.begin(attempt_of(2))
    assert (await bench.begin(attempt_of(2, invocation_id="another"))).status == 500
    bench.queue.finish(0)
    await turns()
    assert second.output["SequenceNumber"] == "0"


# Not joining


@pytest.mark.parametrize(
    "other",
    [
        attempt_of(2, Data="Yg=="),
        attempt_of(2, StreamName="clicks"),
        attempt_of(2, caller="B"),
        attempt_of(2, invocation_id="another"),
        attempt_of(1),
        signed(put_records_request(1), 2),
    ],
    ids=["body", "stream", "caller", "id", "first attempt", "operation"],
)
@pytest.mark.parametrize("state", ["queued", "in flight", "undelivered"])
async def test_request_that_differs_in_anything_is_a_call_of_its_own(other: Request, state: str) -> None:
    """Whatever the state of the call that it resembles."""
    bench = Bench()
    if state == "undelivered":
        await bench.orphan(attempt_of(1))
    else:
        await bench.begin(attempt_of(1))
        if state == "in flight":
            bench.queue.send(0)
    own = await bench.begin(other)
    assert own.waits
    assert len(bench.queue.queued) == 2
    bench.queue.finish(1)
    await turns()
    result = own.output.get("Records", [own.output])[0]
    assert result["SequenceNumber"] == "1"
    # the first call can still be joined
    assert (await bench.begin(attempt_of(2))).waits == (state != "undelivered")
    assert len(bench.queue.queued) == 2


async def test_two_first_attempts_of_one_id_are_two_calls() -> None:
    """A client that sends the same id for ever loses nothing."""
    bench = Bench()
    attempts = [await bench.begin(attempt_of(1)) for _ in range(3)]
    assert len(bench.queue.queued) == 3
    bench.queue.finish(0, 1, 2)
    await turns()
    assert [attempt.output["SequenceNumber"] for attempt in attempts] == ["0", "1", "2"]


async def test_later_attempt_without_an_original_is_a_new_call() -> None:
    """The original went to another proxy, or was refused."""
    bench = Bench()
    attempt = await bench.begin(attempt_of(2))
    bench.queue.finish(0)
    await turns()
    assert attempt.output["SequenceNumber"] == "0"
    assert bench.frontend.counters.joined_requests == 0


@pytest.mark.parametrize("written", [True, False])
async def test_attempt_after_an_answer_that_was_written_is_really_tried(written: bool) -> None:  # noqa: FBT001
    """An error as much as a success: whoever was told and tries again wants it tried."""
    bench = Bench()
    bench.queue.settle = acknowledged if written else failed(State.EXPIRED, THROTTLED, "Rate exceeded")
    first = await bench.begin(attempt_of(1))
    bench.queue.finish(0)
    await turns()
    assert first.status == (200 if written else 400)
    assert (await bench.begin(attempt_of(2))).waits
    assert len(bench.queue.queued) == 2


async def test_attempt_after_an_unheard_answer_that_nothing_was_written_is_really_tried() -> None:
    """To have missed it writes nothing twice, and the client need not spend an attempt on hearing it."""
    bench = Bench()
    bench.queue.settle = failed(State.EXPIRED, THROTTLED, "Rate exceeded")
    await bench.orphan(attempt_of(1))
    assert bench.calls.known == 0
    await bench.orphan(signed(put_records_request(1)))
    assert bench.calls.known == 0
    assert (await bench.begin(attempt_of(2))).waits
    assert len(bench.queue.queued) == 3


async def test_attempt_after_a_rejection_at_the_door_is_really_tried() -> None:
    """Its answer is made at once; nothing of it is kept."""
    bench = Bench()
    bench.queue.rejections = [Rejection(ALL, THROTTLED, "full", 10)]
    first = await bench.begin(attempt_of(1))
    assert first.status == 400
    assert bench.calls.known == 0
    await first.leave()
    assert bench.calls.known == 0
    bench.queue.rejections = []
    assert (await bench.begin(attempt_of(2))).waits


@pytest.mark.parametrize("invocation_id", ["", "x" * 10_000, "a\x00b"])
async def test_what_is_no_id_joins_nothing(invocation_id: str) -> None:
    """Nor is it kept."""
    bench = Bench()
    for number in (1, 2):
        await bench.begin(attempt_of(number, invocation_id=invocation_id))
    assert len(bench.queue.queued) == 2
    assert bench.calls.known == 0


OPEN = {State.QUEUED, State.IN_FLIGHT}
FIELDS = st.fixed_dictionaries(
    {
        "caller": st.sampled_from(["A", "B", "AB"]),
        "invocation_id": st.sampled_from(["1", "2", "12"]),
        "operation": st.sampled_from(["PutRecord", "PutRecords"]),
        "data": st.sampled_from(["YQ==", "Yg=="]),
        "stream": st.sampled_from(["orders", "clicks"]),
        "event": st.sampled_from(["stays", "leaves", "leaves in flight", "leaves when done", "is answered"]),
    }
)


class Story:
    """Attempts whose answers are compared with where their records came from."""

    def __init__(self) -> None:
        self.bench = Bench(calls_max=3)
        self.origins: list[dict[str, str]] = []
        self.attempts: list[tuple[dict[str, str], Attempt]] = []

    async def tell(self, fields: dict[str, str]) -> None:
        """Make an attempt, and let happen to it what is to happen."""
        queue, event = self.bench.queue, fields.pop("event")
        if fields["operation"] == "PutRecord":
            request = put_record_request(Data=fields["data"], StreamName=fields["stream"])
        else:
            records = [{"PartitionKey": "a", "Data": fields["data"]}]
            request = put_records_request(0, Records=records, StreamName=fields["stream"])
        attempt = await self.bench.begin(signed(request, 2, fields["invocation_id"], fields["caller"]))
        if len(queue.queued) > len(self.origins):
            self.origins.append(fields)
        self.attempts.append((fields, attempt))
        place = len(queue.queued) - 1
        if event == "leaves in flight" and queue.queued[place].state is State.QUEUED:
            queue.send(place)
        if event in {"is answered", "leaves when done"} and queue.queued[place].state in OPEN:
            queue.finish(place)
        if event.startswith("leaves"):
            await attempt.leave()
        await turns()

    async def end(self) -> None:
        """Settle everything, and compare."""
        queue = self.bench.queue
        queue.finish(*[place for place, record in enumerate(queue.queued) if record.state in OPEN])
        await turns()
        for fields, attempt in self.attempts:
            if attempt.status != CLIENT_GONE:
                (result,) = attempt.output.get("Records", [attempt.output])
                assert self.origins[int(result["SequenceNumber"])] == fields


@given(st.lists(FIELDS, max_size=25))
def test_no_attempt_ever_joins_a_call_of_another_caller_operation_id_or_body(script: list[dict[str, str]]) -> None:
    """Whatever came before, the record that an attempt is told of is one that such an attempt brought."""

    async def play() -> None:
        story = Story()
        for fields in script:
            await story.tell(dict(fields))
        await story.end()

    asyncio.run(play())
