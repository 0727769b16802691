"""Steps that were announced are computed in parts: rows get the tokens that they get otherwise, and somebody is told of each part."""

import pytest

from pomona.engine.scheduling.outlook import Outlook
from tests.engine.harness import drive, make_engine, make_prompt
from tests.engine.test_laws import STEM, expect_alone


class Watched(Outlook):
    """Takes every step for a long one, or none, and keeps what it is told."""

    def __init__(self, *, slow: bool) -> None:
        super().__init__(compiling=False)
        self.slow = slow
        self.parts: list[tuple[int, int, int]] = []

    @property
    def announced(self) -> bool:
        return self.slow

    def part(self, number: int, layers: int, parts: int) -> None:
        self.parts.append((number, layers, parts))


@pytest.mark.parametrize("launch_ahead", ["off", "on"])
@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3_next", "stories260K"])
def test_rows_get_the_same_tokens_in_parts(name: str, launch_ahead: str) -> None:
    engine = make_engine(name, launch_ahead=launch_ahead)
    engine.outlook = watched = Watched(slow=True)
    rows = [make_prompt(str(n), STEM[n : n + 30 + n], max_tokens=12, temperature=0.8 * (n % 2), seed=n) for n in range(4)]
    results = drive(engine, {0: rows[:2], 3: rows[2:]})
    expect_alone(name, rows, {id: result.tokens for id, result in results.items()})
    assert {number for number, _, _ in watched.parts} == set(range(max(count for _, _, count in watched.parts)))
    assert all(number < count >= layers > 0 for number, layers, count in watched.parts)


def test_passes_that_are_not_announced_are_not_divided() -> None:
    engine = make_engine("llama")
    engine.outlook = watched = Watched(slow=False)
    assert len(drive(engine, {0: [make_prompt("row", STEM[:20])]})["row"].tokens) == 12
    assert watched.parts == []
