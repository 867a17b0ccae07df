from __future__ import annotations

import json

import pytest

from tests.benchmarks.instructions import CountError, change, instructions_of, kept_figures
from tests.benchmarks.parts import ANSWER, CORE, LOOP, PARSE, PARTS, REST, UPSTREAM, WRITE, part_of, shares_of
from tests.benchmarks.record_path import CASES, LUMP_RECORDS, send
from tests.support.processes import ProcessError
from tests.support.virtual_time import run

ROOT = "<module> (proxy/__main__.py:8);run (asyncio/runners.py:190);run (asyncio/runners.py:118)"


@pytest.mark.parametrize("name", CASES)
def test_every_case_of_the_counted_path_is_answered(name: str) -> None:
    """Each case sends what it should, with limits or without, and every call is answered well."""
    case = CASES[name]
    calls = 4 * LUMP_RECORDS if case.operation == "PutRecord" else 4
    assert run(send(case, 4 * LUMP_RECORDS)) == calls


def test_count_is_read_from_what_valgrind_says() -> None:
    """Thousands are parted by commas, and the process's number stands before."""
    assert instructions_of("==7== \n==7== I   refs:      1,185,520,559\n") == 1_185_520_559


def test_output_without_a_count_is_an_error() -> None:
    """A valgrind that counted nothing must not pass for no instructions."""
    with pytest.raises(CountError):
        instructions_of("==7== Memcheck, a memory error detector")


def test_figures_of_another_python_are_not_compared_with() -> None:
    """Another build of Python takes other instructions for the same."""
    text = json.dumps({"CPython 3.11.7": {"PutRecord": 100}})
    assert kept_figures(text, "CPython 3.11.7") == {"PutRecord": 100}
    assert kept_figures(text, "CPython 3.12.1") == {}


def test_change_is_told_in_per_cent_of_what_was_kept() -> None:
    """More instructions than before is a plus."""
    assert change(103, 100) == "+3.00 %"
    assert change(100, None) == "–"  # noqa: RUF001 - a dash


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        ("LeanConnection.data_received (proxy/transport/lean.py:250)", PARSE),
        ("Frontend.start (proxy/frontend/handler.py:170);decode (proxy/kinesis/json_body.py:40)", PARSE),
        ("Driver.append (proxy/driver.py:120);Stream.append (proxy/core/stream.py:90)", CORE),
        ("Driver._advance (proxy/driver.py:210);heappush (heapq.py:3)", CORE),
        ("AwsUpstream.put (proxy/upstream/aws.py:90);ClientSession._request (aiohttp/client.py:500)", UPSTREAM),
        ("ResponseHandler.data_received (aiohttp/client_proto.py:300)", UPSTREAM),
        (
            "Driver._advance (proxy/driver.py:2);Call.settle (proxy/frontend/calls.py:1);encode (proxy/kinesis/x.py:6)",
            ANSWER,
        ),
        ("Call.settle (proxy/frontend/calls.py:160);Histogram.observe (proxy/core/counters.py:6)", ANSWER),
        ("Call.settle (proxy/frontend/calls.py:160);head_of (proxy/transport/head.py:6)", ANSWER),
        ("Call.settle (proxy/frontend/calls.py:160);LeanConnection._reply (proxy/transport/lean.py:380)", WRITE),
        ("run (uvloop/__init__.py:92);Runner.run (asyncio/runners.py:118)", LOOP),
        ("publish (prometheus_client/metrics.py:5)", REST),
    ],
)
def test_sample_belongs_to_its_innermost_part(frames: str, part: str) -> None:
    """What a part calls is the part's, and what is below an outcome is the answer's but for core and upstream."""
    assert part_of(f"{ROOT};{frames}") == part


def test_shares_are_of_all_samples() -> None:
    """Stacks count as often as they were seen, and every part has a share."""
    shares = shares_of(
        [f"{ROOT};append (proxy/core/stream.py:90) 3", f"{ROOT};data_received (proxy/transport/lean.py:2) 1"]
    )
    assert shares == {**dict.fromkeys(PARTS, 0.0), CORE: 0.75, PARSE: 0.25}


def test_thread_that_waits_for_work_is_not_counted() -> None:
    """The threads of a pool cost nothing while they wait, whatever the sampler makes of them."""
    waiting = "Thread.run (threading.py:982);_worker (concurrent/futures/thread.py:81) 50"
    assert shares_of([waiting, f"{ROOT};append (proxy/core/stream.py:90) 1"])[CORE] == 1.0


def test_no_sample_at_all_is_an_error() -> None:
    """A profile of nothing must not pass for one in which nothing cost anything."""
    with pytest.raises(ProcessError):
        shares_of([])
