"""Every second of a request belongs to one item, whatever became of it."""

import pytest

from pomona.core.tracing.marks import MOST_SLOW_WRITES, RequestTrace
from pomona.core.tracing.times import Span
from pomona.server.tracing.dividing import Item, divide, sums
from tests.unit.server.tracing.story import Clock, answer_it, arrive, go_to_engine, times


def names(items: list[Item]) -> list[tuple[str, float]]:
    return [(item.name, item.seconds) for item in items]


def check_complete(trace: RequestTrace) -> list[Item]:
    items = divide(trace)
    assert sum(item.seconds for item in items) == trace.end - trace.began
    assert [item.start for item in items] == [sum(item.seconds for item in items[:place]) for place in range(len(items))]
    assert all(sum(seconds for _, seconds in item.parts) == item.seconds for item in items)
    return items


def test_a_request_from_its_first_byte_to_its_last() -> None:
    clock = Clock()
    items = check_complete(answer_it(arrive(clock), clock).trace)
    assert names(items) == [
        ("receive", 1.0),
        ("read", 0.5),
        ("control", 0.5),
        ("load", 2.0),
        ("threads", 0.25),
        ("template", 0.75),
        ("submit", 0.25),
        ("turn", 1.0),
        ("prefill", 4.0),
        ("decode", 8.0),
        ("parse", 0.125),
        ("deliver", 0.375),
    ]
    found = sums(items)
    assert (found["behind"], found["stall"], found["prefill"], found["prefill_rest"]) == (2.5, 2.0, 2.0, 0.5)
    assert (found["decode"], found["decode_rest"], "turn" in found) == (5.0, 1.0, False)


def test_a_request_that_runs_is_told_up_to_now() -> None:
    clock = Clock()
    trace = arrive(clock)
    answer = go_to_engine(trace, clock)
    clock.pass_(2.0)
    assert names(check_complete(trace))[-1] == ("engine", 2.0)
    clock.pass_(2.0)
    answer.note_awaited()
    answer.note_times(times(clock.now - 3.0, (Span(name="prefill", start=0.0, seconds=3.0, own=3.0),), ()), last=False)
    clock.pass_(0.5)
    assert names(check_complete(trace))[-2:] == [("submit", 1.0), ("prefill", 3.5)]


def test_a_refused_request_has_no_answer() -> None:
    clock = Clock()
    trace = arrive(clock)
    trace.close()
    assert names(check_complete(trace)) == [("receive", 1.0), ("read", 0.5)]


def test_what_the_engine_did_not_tell_before_it_was_left_counts_as_what_it_did_last() -> None:
    clock = Clock()
    trace = arrive(clock)
    answer = go_to_engine(trace, clock)
    clock.pass_(13.0)
    answer.note_awaited()
    answer.note_times(times(clock.now - 13.0), last=False)
    clock.pass_(0.5)
    answer.close()
    trace.close()
    items = check_complete(trace)
    assert names(items)[-2:] == [("prefill", 4.0), ("decode", 8.5)]
    assert dict(items[-1].parts) == {"decode": 5.5, "stall": 2.0, "decode_rest": 1.0}


def test_an_engine_that_died_and_one_that_took_over() -> None:
    clock = Clock()
    trace = arrive(clock)
    answer = go_to_engine(trace, clock)
    answer.note_times(times(clock.now, (Span(name="decode", start=0.0, seconds=2.0, own=2.0),), ()), last=False)
    clock.pass_(7.0)
    spans = (Span(name="prefill", start=0.0, seconds=1.0, own=1.0), Span(name="decode", start=1.0, seconds=3.0, own=3.0))
    answer.note_times(times(clock.now - 4.0, spans, ()), last=True)
    answer.close()
    trace.close()
    assert names(check_complete(trace))[-4:] == [("decode", 2.0), ("restart", 1.0), ("prefill", 1.0), ("decode", 3.0)]


def test_a_slow_client_is_to_blame_only_for_what_came_behind_the_engine() -> None:
    clock = Clock()
    trace = arrive(clock)
    answer = go_to_engine(trace, clock)
    start = clock.now
    trace.note_write(start + 10.0, start + 15.0)
    clock.pass_(20.0)
    answer.note_times(times(start), last=True)
    answer.close()
    trace.close()
    assert names(check_complete(trace))[-2:] == [("write", 2.0), ("deliver", 5.0)]


def test_many_slow_writes_stay_few_and_lose_nothing() -> None:
    clock = Clock()
    trace = arrive(clock)
    answer = go_to_engine(trace, clock)
    answer.note_times(times(clock.now), last=True)
    clock.pass_(13.0)
    for _ in range(2 * MOST_SLOW_WRITES):
        start = clock.now
        clock.pass_(0.125)
        trace.note_write(start, clock.now)
    answer.close()
    trace.close()
    assert len(trace.slow_writes) == MOST_SLOW_WRITES
    assert sums(check_complete(trace))["write"] == trace.written == 0.25 * MOST_SLOW_WRITES


def test_of_several_answers_the_last_one_to_end_is_told() -> None:
    clock = Clock()
    trace = arrive(clock)
    first, second = trace.answer("a-0"), trace.answer("a-1")
    for each in (first, second):
        each.enter("template")
        clock.pass_(1.0)
        each.enter_engine()
    clock.pass_(2.0)
    second.close()
    clock.pass_(2.0)
    first.close()
    trace.close()
    assert names(check_complete(trace)) == [("receive", 1.0), ("read", 0.5), ("template", 1.0), ("engine", 5.0)]


def test_answers_one_after_the_other_leave_a_gap_with_a_name() -> None:
    clock = Clock()
    trace = arrive(clock)
    first = trace.answer("a-0")
    clock.pass_(3.0)
    first.close()
    second = trace.answer("a-1")
    clock.pass_(1.0)
    second.close()
    trace.close()
    assert names(check_complete(trace)) == [("receive", 1.0), ("read", 0.5), ("before", 3.0), ("control", 1.0)]


@pytest.mark.parametrize("shift", [-50.0, 50.0])
def test_an_engine_whose_clock_is_not_ours_does_no_harm(shift: float) -> None:
    clock = Clock()
    trace = arrive(clock)
    answer = go_to_engine(trace, clock)
    clock.pass_(15.0)
    answer.note_times(times(clock.now + shift), last=True)
    answer.close()
    trace.close()
    check_complete(trace)
