"""Where rows' time goes: exactly, by a clock that the test moves, and without gaps in a real engine."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pomona.core.generation import TokenStep
from pomona.core.tracing.times import RowTimes, Stage
from pomona.engine.timeline.timeline import MOST_PASSES, TOLD_SECONDS, Timeline
from pomona.engine.timeline.watch import MOST_DELAYS, MOST_SPANS, TOLD_DELAYS, RowWatch
from tests.engine.disk.engines import STEM, answer, engine_on
from tests.engine.harness import make_engine, make_prompt


@dataclass
class Turn:
    """As much of what a scheduler notes."""

    parked: bool = False


@dataclass(eq=False)
class Row:
    """As much of a row as its watch looks at."""

    id: str
    prefill_left: int = 0
    watch: RowWatch = field(default_factory=RowWatch)
    paused: bool = False
    held: bool = False
    awaits_adapter: bool = False
    awaits_pages: bool = False
    shares: bool = False
    turn: Turn = field(default_factory=Turn)


@dataclass
class Queues:
    """As much of a scheduler."""

    running: list[Row] = field(default_factory=list[Row])
    waiting: list[Row] = field(default_factory=list[Row])
    set_back: int = 0
    blocked: Stage = "turn"


class Bench:
    """An engine whose passes last as long as the test says. Times are sums of powers of two, so that they are exact."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timeline = Timeline(lambda: self.now)
        self.queues = Queues()
        self.fresh = True

    def add(self, *rows: Row) -> None:
        for row in rows:
            self.queues.waiting.append(row)
            self.timeline.add(row)

    def admit(self, *rows: Row) -> None:
        for row in rows:
            self.queues.waiting.remove(row)
            self.queues.running.append(row)

    def plan(self) -> None:
        self.timeline.begin(idle=self.fresh)
        self.fresh = False
        self.timeline.look(self.queues)

    def decode(self, seconds: float, *rows: Row) -> None:
        self.plan()
        self.now += seconds
        self.timeline.ended(rows)

    def prefill(self, seconds: float, *chunks: tuple[Row, int]) -> None:
        self.plan()
        self.now += seconds
        for row, tokens in chunks:
            row.prefill_left -= tokens
        self.timeline.ended([row for row, _ in chunks], [tokens for _, tokens in chunks])

    def end(self, row: Row) -> RowTimes:
        self.queues.running.remove(row)
        times = self.timeline.tell(row, last=True)
        assert times is not None
        assert sum(span.seconds for span in times.spans) == times.seconds
        starts = [span.start for span in times.spans]
        assert starts == [sum(span.seconds for span in times.spans[:place]) for place in range(len(starts))]
        return times

    def running(self, id: str) -> Row:
        """A row that makes tokens."""
        row = Row(id)
        self.add(row)
        self.admit(row)
        self.plan()
        return row


def spans(times: RowTimes) -> list[tuple[str, float, float, float]]:
    return [(span.name, span.seconds, span.own, span.behind) for span in times.spans]


def test_a_row_alone_computes_its_prompt_and_makes_tokens() -> None:
    bench, row = Bench(), Row("a", prefill_left=64)
    bench.add(row)
    bench.admit(row)
    bench.prefill(2.0, (row, 32))
    bench.prefill(1.0, (row, 32))
    bench.decode(0.5, row)
    bench.decode(0.5, row)
    times = bench.end(row)
    assert spans(times) == [("prefill", 3.0, 3.0, 0.0), ("decode", 1.0, 1.0, 0.0)]
    assert (times.prefill_passes, times.prefill_tokens, times.decode_passes, times.decode_share) == (2, 64, 2, 1.0)
    assert (times.began, times.delays) == (100.0, ())


def test_a_stream_beside_prompts_is_told_whose_they_were_and_how_long_each_took() -> None:
    bench = Bench()
    stream, long, short = bench.running("stream"), Row("long", prefill_left=96), Row("short", prefill_left=32)
    bench.add(long, short)
    bench.admit(long, short)
    bench.decode(0.5, stream)
    bench.prefill(4.0, (long, 96), (short, 32))
    bench.decode(0.5, stream, long, short)
    times = bench.end(stream)
    assert spans(times) == [("decode", 5.0, 1.0, 4.0)]
    assert times.decode_share == 0.5 + 0.5 / 3
    assert [(delay.by, delay.seconds, delay.tokens, delay.decoding) for delay in times.delays] == [
        ("long", 3.0, 96, True),
        ("short", 1.0, 32, True),
    ]
    assert spans(bench.end(short)) == [("prefill", 4.5, 4.0, 0.0), ("decode", 0.5, 0.5, 0.0)]


def test_a_prompt_behind_another_waits_for_it_before_and_between_its_own_chunks() -> None:
    bench, first, second = Bench(), Row("first", prefill_left=96), Row("second", prefill_left=32)
    bench.add(first, second)
    bench.admit(first)
    bench.prefill(2.0, (first, 32))
    bench.admit(second)
    bench.prefill(2.0, (first, 32))
    bench.prefill(1.0, (second, 32))
    times = bench.end(second)
    assert spans(times) == [("turn", 2.0, 0.0, 2.0), ("prefill", 3.0, 1.0, 2.0)]
    assert [(delay.by, delay.seconds, delay.tokens, delay.decoding) for delay in times.delays] == [("first", 4.0, 64, False)]


def test_what_came_in_the_midst_of_a_pass_waited_for_the_rest_of_it_only() -> None:
    bench, first, late = Bench(), Row("first", prefill_left=32), Row("late")
    bench.add(first)
    bench.admit(first)
    bench.plan()
    bench.now += 1.5
    bench.add(late)
    bench.now += 0.5
    bench.timeline.ended([first], [32])
    bench.admit(late)
    bench.plan()
    assert spans(bench.end(late)) == [("turn", 0.5, 0.0, 0.5)]


def test_a_wait_is_divided_by_what_the_engine_was_short_of() -> None:
    bench, stream, row = Bench(), Row("stream"), Row("row")
    bench.add(stream)
    bench.admit(stream)
    bench.add(row)
    waits: tuple[tuple[Stage, float], ...] = (("rows", 4.0), ("pages", 2.0), ("turn", 1.0))
    for blocked, seconds in waits:
        bench.queues.blocked = blocked
        bench.decode(seconds, stream)
    bench.admit(row)
    bench.decode(0.5, stream, row)
    assert spans(bench.end(row)) == [("rows", 4.0, 0.0, 0.0), ("pages", 2.0, 0.0, 0.0), ("turn", 1.0, 0.0, 0.0), ("decode", 0.5, 0.5, 0.0)]


def test_prompts_are_not_blamed_while_there_was_no_row_anyway() -> None:
    bench, other, row = Bench(), Row("other", prefill_left=64), Row("row")
    bench.add(other, row)
    bench.admit(other)
    bench.queues.blocked = "rows"
    bench.prefill(2.0, (other, 64))
    bench.admit(row)
    bench.plan()
    times = bench.end(row)
    assert (spans(times), times.delays) == ([("rows", 2.0, 0.0, 0.0)], ())


@pytest.mark.parametrize(
    ("flag", "stage"), [("awaits_adapter", "adapter"), ("awaits_pages", "disk"), ("paused", "reader"), ("shares", "beginning")]
)
def test_a_row_that_waits_for_something_of_its_own_blames_nobody(flag: str, stage: str) -> None:
    bench, other, row = Bench(), Row("other", prefill_left=64), Row("row")
    setattr(row, flag, True)
    bench.add(other, row)
    bench.admit(other)
    bench.prefill(2.0, (other, 64))
    setattr(row, flag, False)
    bench.admit(row)
    bench.decode(1.0, other, row)
    times = bench.end(row)
    assert (spans(times), times.delays) == ([(stage, 2.0, 0.0, 0.0), ("decode", 1.0, 1.0, 0.0)], ())


def test_a_row_that_is_paused_parked_put_back_and_held_says_so() -> None:
    bench = Bench()
    row, other = bench.running("row"), bench.running("other")
    bench.decode(1.0, row, other)
    row.paused = True
    bench.decode(2.0, other)
    row.paused = False
    bench.decode(1.0, row, other)
    bench.queues.running.remove(row)
    bench.queues.waiting.append(row)
    bench.queues.set_back += 1
    row.turn.parked = True
    bench.decode(8.0, other)
    row.turn.parked = False
    row.prefill_left = 32
    bench.decode(4.0, other)
    bench.admit(row)
    bench.prefill(1.0, (row, 32))
    row.held = True
    bench.decode(2.0, other)
    row.held = False
    bench.decode(1.0, row, other)
    assert [(name, seconds) for name, seconds, *_ in spans(bench.end(row))] == [
        ("decode", 1.0),
        ("reader", 2.0),
        ("decode", 1.0),
        ("parked", 8.0),
        ("put_back", 4.0),
        ("prefill", 1.0),
        ("grammar", 2.0),
        ("decode", 1.0),
    ]


def test_seconds_without_work_belong_to_nobody() -> None:
    bench = Bench()
    row = bench.running("row")
    bench.decode(1.0, row)
    row.paused = True
    bench.fresh = True
    bench.plan()
    bench.now += 8.0
    row.paused = False
    bench.fresh = True
    bench.plan()
    bench.decode(1.0, row)
    assert spans(bench.end(row)) == [("decode", 1.0, 1.0, 0.0), ("reader", 8.0, 0.0, 0.0), ("decode", 1.0, 1.0, 0.0)]


def test_times_are_told_at_first_now_and_then_and_at_the_end() -> None:
    bench = Bench()
    row = bench.running("row")
    told: list[bool] = []
    for _ in range(8):
        bench.decode(TOLD_SECONDS / 4, row)
        told.append(bench.timeline.tell(row, last=False) is not None)
    assert told == [True, False, False, False, True, False, False, False]
    assert bench.end(row).seconds == 2 * TOLD_SECONDS


def test_a_restless_row_stays_small_and_loses_no_second() -> None:
    bench = Bench()
    row, other = bench.running("row"), bench.running("other")
    for _ in range(4 * MOST_SPANS):
        bench.decode(0.25, row, other)
        row.paused = not row.paused
    times = bench.timeline.tell(row, last=True)
    assert times is not None
    assert len(times.spans) <= MOST_SPANS + 1
    assert sum(span.seconds for span in times.spans) == times.seconds == MOST_SPANS


def test_many_prompts_are_told_as_the_largest_and_the_rest() -> None:
    bench = Bench()
    row = bench.running("row")
    count = 3 * MOST_DELAYS
    for number in range(count):
        prompt = Row(str(number), prefill_left=32)
        bench.add(prompt)
        bench.admit(prompt)
        bench.prefill(8.0 if number < TOLD_DELAYS else 0.25, (prompt, 32))
    times = bench.end(row)
    assert {delay.by for delay in times.delays} == {*map(str, range(TOLD_DELAYS)), ""}
    assert sum(delay.seconds for delay in times.delays) == times.spans[0].behind == 8.0 * TOLD_DELAYS + 0.25 * (count - TOLD_DELAYS)
    assert sum(delay.tokens for delay in times.delays) == 32 * count


def test_the_log_is_bounded() -> None:
    bench = Bench()
    waiting, other = Row("waiting"), Row("other")
    bench.add(waiting, other)
    bench.admit(other)
    for _ in range(3 * MOST_PASSES):
        other.prefill_left = 1
        bench.prefill(0.25, (other, 1))
    bench.admit(waiting)
    bench.plan()
    times = bench.end(waiting)
    assert times.seconds == 0.75 * MOST_PASSES
    assert MOST_PASSES * 0.25 <= times.spans[0].behind <= 0.5 * MOST_PASSES


def test_in_a_real_engine_every_second_of_a_row_is_in_a_span_and_stalls_have_names() -> None:
    engine, ended = make_engine("llama", step_token_budget=32), dict[str, TokenStep]()
    engine.add(make_prompt("stream", range(3, 13), max_tokens=24))
    for _ in range(4):
        engine.step()
    engine.add(make_prompt("long", [5 + place % 90 for place in range(150)], max_tokens=2))
    while engine.has_work:
        ended |= {id: step for id, step in engine.step() if step.finish_reason}
    stream, long = ended["stream"].times, ended["long"].times
    assert stream is not None
    assert long is not None
    for times in (stream, long):
        assert sum(span.seconds for span in times.spans) == pytest.approx(times.seconds)
    assert [delay.by for delay in stream.delays if delay.decoding] == ["long"]
    assert stream.delays[0].tokens == long.prefill_tokens == 149
    assert sum(delay.seconds for delay in stream.delays) == pytest.approx(sum(span.behind for span in stream.spans))
    assert [span.name for span in long.spans if span.own] == ["prefill", "decode"]
    assert (long.prefill_passes > 1, stream.decode_passes) == (True, 24)


@pytest.mark.parametrize("name", ["llama", "qwen3_next"])
def test_pages_from_disk_are_told_apart_from_those_in_memory(name: str, tmp_path: Path) -> None:
    answer(tmp_path, name, make_prompt("before", STEM[:70], max_tokens=4))
    with engine_on(tmp_path, name) as engine:
        found: list[RowTimes] = []
        for id in ("from disk", "from memory"):
            engine.add(make_prompt(id, STEM[:70], max_tokens=4))
            while engine.has_work:
                found += [step.times for _, step in engine.step() if step.finish_reason and step.times]
    assert [times.disk_tokens for times in found] == [64, 0]
    assert [any(span.name == "disk" for span in times.spans) for times in found] == [True, False]
