"""Percentiles and sums on outcomes that are known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.generation import Usage
from pomona.ops.load.plan import Call
from pomona.ops.load.report import Spread, percentile, summarise
from pomona.ops.load.run import LoadRun, Outcome

SOME_FLOATS = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(SOME_FLOATS, st.floats(0, 1))
def test_percentiles_are_those_of_numpy(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(np.percentile(values, share * 100), rel=1e-9, abs=1e-9)


def test_a_spread_of_known_values() -> None:
    spread = Spread.of([float(value) for value in range(101)])

    assert (spread.count, spread.mean, spread.p50, spread.p90, spread.p99, spread.most) == (101, 50, 50, 90, 99, 100)


def test_a_spread_of_nothing_is_empty() -> None:
    spread = Spread.of([])

    assert (spread.count, spread.mean, spread.p50, spread.most) == (0, None, None, None)


def outcome(index: int, **changes: Any) -> Outcome:
    made = Outcome(call=Call(index=index, at=None, prompt_tokens=10, output_tokens=5, seed=0))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_run_is_summed_up() -> None:
    usage = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=5)
    run = LoadRun(seconds=2.0, most_under_way=2)
    run.outcomes = [
        outcome(0, usage=usage, first=0.5, last=0.9, gaps=[0.1, 0.3], total=1.0),
        outcome(1, usage=usage, first=0.7, last=1.1, gaps=[0.2, 0.2], total=1.25),
        outcome(2, problem="overloaded", total=0.01),
        outcome(3, problem="unfinished", first=0.2, last=0.3, gaps=[5.0], total=1.5),
    ]

    report = summarise(run)

    assert (report.sent, report.finished, report.failures) == (4, 2, {"overloaded": 1, "unfinished": 1})
    assert (report.prompt_tokens, report.cached_tokens, report.completion_tokens) == (20, 8, 10)
    assert (report.requests_per_second, report.completion_tokens_per_second, report.prompt_tokens_per_second) == (1.0, 5.0, 10.0)
    assert report.first_token_seconds.p50 == pytest.approx(0.6)
    assert report.token_gap_seconds.most == pytest.approx(0.3)
    assert report.seconds_per_token.mean == pytest.approx(0.1)
    assert report.answer_tokens_per_second.most == pytest.approx(5.0)


def test_a_run_without_answers_has_a_report() -> None:
    report = summarise(LoadRun())

    assert (report.sent, report.finished, report.requests_per_second) == (0, 0, 0.0)
    assert report.first_token_seconds.p99 is None
