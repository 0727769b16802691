"""How a soak is judged."""

from pathlib import Path

import pytest

from tests.e2e.soaking import growth_of, note, piece_of, slope


def test_growth_is_seen_through_noise() -> None:
    noisy = [100.0 + 2.0 * second + (5.0 if second % 2 else -5.0) for second in range(300)]
    assert slope(noisy) == pytest.approx(2.0, abs=0.01)
    assert slope([7.0] * 10) == 0.0


def test_what_fills_in_the_beginning_is_no_growth() -> None:
    piece = piece_of([100 + second for second in range(100)] + [200] * 200, 600, answered=5, left=1)
    assert (piece.growth, piece.early_bytes, piece.late_bytes) == (0.0, 200, 200)
    leaking = piece_of(range(1000, 1300), 600, answered=5, left=1)
    assert leaking.growth == pytest.approx(1800)


def test_pieces_are_judged_together(tmp_path: Path) -> None:
    file = tmp_path / "soak.jsonl"
    flat, rising = (piece_of(readings, 100, answered=1, left=0) for readings in ([9] * 30, range(30)))
    assert note(None, flat) == [flat]
    assert note(file, flat) == [flat]
    assert note(file, rising) == [flat, rising]
    assert growth_of([flat, rising]) == pytest.approx(rising.growth / 2)
