"""Speculation that weighs its costs: on where it pays, off where it does not, and never anything but the same text."""

from collections.abc import Callable

import pytest

from pomona.core.generation import Prompt
from pomona.engine.engine import Engine
from pomona.engine.sequence import Sequence
from pomona.engine.speculation.costs import Costs, Curve
from pomona.engine.speculation.draft_model import plan_draft
from pomona.engine.speculation.speculator import FORGET_AFTER, LONGEST_REST, Speculator
from tests.engine.harness import alone, drive, family, loaded_family, make_engine, make_prompt, settings
from tests.engine.speculation.drafting import STEM, repetitive
from tests.engine.speculation.test_costs import costs_of

FLAT = dict.fromkeys((*range(1, 17), 32, 64, 128), 0.01)
LINEAR = {lines: 0.01 * lines for lines in FLAT}


class Stopwatch:
    """Time that passes when it is looked at."""

    def __init__(self, seconds: float = 0.001) -> None:
        self._now, self._seconds = 0.0, seconds

    def __call__(self) -> float:
        self._now += self._seconds
        return self._now


def auto(costs: Costs, draft: str | None = None, **changes: object) -> Engine:
    asked = settings(speculation="auto", **changes)
    drafting = None
    if draft:
        asked, drafting = plan_draft(loaded_family(family("llama")), loaded_family(family(draft)), asked)
    engine = make_engine("llama", **asked.model_dump())
    engine.speculate(Speculator(asked, draft=drafting, costs=costs, clock=Stopwatch(0.0)))
    return engine


def looping(count: int) -> list[Prompt]:
    """Rows that soon say one token over and over: each time makes it likelier."""
    return [make_prompt(str(i), STEM[: 10 + i], max_tokens=60, frequency_penalty=-2.0) for i in range(count)]


def test_copies_are_guessed_where_lines_are_cheap() -> None:
    rows = looping(3)
    engine = auto(costs_of(FLAT))
    results = drive(engine, {0: rows})
    for prompt in rows:
        assert results[prompt.id].tokens == alone("llama", prompt).tokens
        assert results[prompt.id].accepted_tokens > 20
    assert engine.stats().steps < 50


def test_nothing_is_guessed_where_lines_cost_as_much_as_rows() -> None:
    rows = looping(3)
    engine = auto(costs_of(LINEAR))
    results = drive(engine, {0: rows})
    assert engine.stats().drafted_tokens == 0
    assert [results[row.id].tokens for row in rows] == [alone("llama", row).tokens for row in rows]


def test_rows_that_do_not_repeat_are_left_alone_after_a_while() -> None:
    """A model of random weights hardly ever says what followed the last time: after some tries nobody guesses for it."""
    engine = auto(costs_of(FLAT, waiting=0.003), scheduling="arrival")  # who runs with whom, and so what pays, would go by the clock
    early = drive(engine, {0: [repetitive(str(text), text, 60, max_tokens=60, temperature=1.0, seed=text) for text in range(4)]})
    late = drive(engine, {0: [repetitive(str(text), text, 60, max_tokens=60, temperature=1.0, seed=text) for text in range(4, 8)]})
    drafted = [sum(result.drafted_tokens for result in results.values()) for results in (early, late)]
    assert drafted[1] <= drafted[0]
    assert drafted[1] < 24


def test_a_good_draft_model_is_used_and_a_bad_one_given_up() -> None:
    rows = [make_prompt(str(i), STEM[: 10 + i], max_tokens=60) for i in range(3)]
    shares: list[float] = []
    for draft in ("llama", "qwen3"):
        engine = auto(costs_of(FLAT), draft, speculation_tokens=4)
        results = drive(engine, {0: rows})
        for prompt in rows:
            assert results[prompt.id].tokens == alone("llama", prompt).tokens
        shares.append(engine.stats().drafted_tokens / 180)
    assert shares[0] > 0.6
    assert shares[1] < 0.4


def test_costs_are_measured_by_the_clock() -> None:
    costs = Costs()
    asked = settings(speculation="auto")
    engine = make_engine("llama", speculation="auto")
    engine.speculate(Speculator(asked, costs=costs, clock=Stopwatch(0.001)))
    drive(engine, {0: looping(2)})
    assert costs.plain(2) == pytest.approx(0.001, rel=0.01)
    assert engine.stats().drafted_tokens > 0


def looks(costs: Costs, steps: int, clock: Callable[[], float]) -> list[bool]:
    """Whether guesses were hoped for, step by step, for a row whose text repeats."""
    speculator = Speculator(settings(speculation="auto"), costs=costs, clock=clock)
    row = Sequence(prompt=make_prompt("a", [1, 2, 3] * 5, max_tokens=10**6), seed=0, arrival=0, tokens=[1, 2, 3] * 5)
    found: list[bool] = []
    for _ in range(steps):
        found.append(speculator.hopeful([row]))
        row.tokens.append(row.tokens[-3])
    return found


def test_what_did_not_pay_is_tried_again_in_the_end() -> None:
    """Dear passes were measured once; when that is forgotten, guesses are tried again."""
    dear = costs_of({1: 0.01})
    dear.waited = Curve()
    for lines in (1, 1, 5, 5):
        dear.waited.learn(lines, 1.0)
    found = looks(dear, FORGET_AFTER * (LONGEST_REST + 2), Stopwatch())
    assert not any(found[:200])
    assert any(found)


def test_off_means_off() -> None:
    engine = make_engine("llama", speculation="off")
    drive(engine, {0: looping(2)})
    assert engine.stats().drafted_tokens == 0


def test_a_step_keeps_its_budget_of_lines() -> None:
    """Many rows with many guesses: no pass has more lines than the step may have tokens."""
    engine = make_engine("llama", speculation="lookup", speculation_tokens=16, step_token_budget=16)
    rows = looping(12)
    results = drive(engine, {0: rows})
    assert [results[row.id].tokens for row in rows] == [alone("llama", row).tokens for row in rows]
    assert engine.stats().accepted_tokens > 0
