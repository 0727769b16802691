"""How many guesses pay, by measured costs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.engine.speculation.costs import MARGIN, Costs, Curve, Point, choose


class Settled(Curve):
    """What was measured stands; `teach` measures."""

    def learn(self, lines: int, seconds: float) -> None:
        del lines, seconds

    def teach(self, lines: int, seconds: float) -> None:
        super().learn(lines, seconds)


def costs_of(seconds_by_lines: dict[int, float], *, waiting: float = 0.0) -> Costs:
    """As if each size had been measured; `waiting` is what passes cost more that waited for tokens. A draft model's take 2 ms."""
    ahead, waited, draft = Settled(), Settled(), Settled()
    costs = Costs(ahead, waited, draft)
    for lines, seconds in seconds_by_lines.items():
        for _ in range(2):
            ahead.teach(lines, seconds)
            waited.teach(lines, seconds + waiting)
            draft.teach(lines, 0.002)
    return costs


def test_nothing_is_guessed_before_anything_was_measured() -> None:
    assert choose(Costs(), 1, [[0.99, 0.98]]) == ([0], 1.0)


def test_where_lines_cost_nothing_all_guesses_are_checked() -> None:
    flat = costs_of(dict.fromkeys(range(1, 17), 0.01))
    counts, gain = choose(flat, 2, [[0.9, 0.8, 0.7], [0.5]])
    assert counts == [3, 1]
    assert gain == pytest.approx((2 + 0.9 + 0.8 + 0.7 + 0.5) / 2)


def test_where_each_line_costs_as_much_as_a_row_none_is() -> None:
    """A large batch on a machine that is busy with it: even certain guesses bring only what they cost."""
    linear = costs_of({lines: 0.01 * lines for lines in (*range(1, 17), 32, 64, 128)})
    assert choose(linear, 32, [[1.0] * 4] * 32) == ([0] * 32, 1.0)


def test_likelier_guesses_go_first() -> None:
    """One row copies, the other writes freely: the first gets all the guesses that pay."""
    steep = costs_of({1: 0.01, 2: 0.01, 4: 0.011, 6: 0.013, 8: 0.03, 16: 0.08})
    counts, _ = choose(steep, 2, [[0.2, 0.04], [0.95, 0.9, 0.86, 0.81]])
    assert counts == [0, 4]


def test_the_wait_for_tokens_is_counted() -> None:
    """What a step loses because nothing was built ahead must come back too."""
    chances = [[0.3]]
    free, dear = costs_of({1: 0.01, 2: 0.0101}), costs_of({1: 0.01, 2: 0.0101}, waiting=0.004)
    assert choose(free, 1, chances)[0] == [1]
    assert choose(dear, 1, chances)[0] == [0]


def test_drafting_is_counted() -> None:
    flat = costs_of(dict.fromkeys(range(1, 9), 0.01))
    assert choose(flat, 1, [[0.6]], extra_seconds=0.002)[0] == [1]
    assert choose(flat, 1, [[0.6]], extra_seconds=0.008)[0] == [0]


@settings(deadline=None)
@given(
    seconds=st.lists(st.floats(0.001, 1.0), min_size=12, max_size=12),
    offers=st.lists(st.lists(st.floats(0.0, 1.0), max_size=4).map(lambda chances: sorted(chances, reverse=True)), min_size=1, max_size=3),
)
def test_no_other_choice_is_better(seconds: list[float], offers: list[list[float]]) -> None:
    costs = costs_of(dict(enumerate(sorted(seconds), 1)))
    rows = len(offers)

    def rate(counts: list[int]) -> float:
        gained = rows + sum(sum(chances[:count]) for chances, count in zip(offers, counts, strict=True))
        return gained / (costs.checking(rows + sum(counts), rows) or 1.0)

    counts, gain = choose(costs, rows, offers)
    assert all(count <= len(chances) for count, chances in zip(counts, offers, strict=True))
    plain = rows / (costs.plain(rows) or 1.0)
    best = max(rate([min(take, len(chances)) for chances in offers]) for take in range(5))
    assert max(gain, MARGIN) * plain >= best * (1 - 1e-9)


def test_measurements_are_averaged_and_outliers_cut() -> None:
    curve = Curve()
    for seconds in (9.0, 1.0, 1.0, 1.0, 100.0):
        curve.learn(4, seconds)
    assert curve.seconds(4) == pytest.approx(0.8 + 0.2 * 4)  # the first, where kernels are compiled, is left out


def test_between_and_beyond_what_was_measured() -> None:
    curve = Curve()
    assert curve.seconds(3) is None
    for lines, seconds in ((4, 1.0), (8, 2.0)):
        curve.learn(lines, seconds)
        curve.learn(lines, seconds)
    assert curve.seconds(6) == pytest.approx(1.5)
    assert curve.seconds(2) == 1.0
    assert curve.seconds(2, Point(1, 0.4)) == pytest.approx(0.6)
    assert curve.seconds(16) == pytest.approx(4.0)
    curve.forget()
    assert curve.seconds(6) is None
