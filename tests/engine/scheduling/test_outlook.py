"""What an engine says before long steps, by a clock that the test moves."""

from dataclasses import dataclass, field, replace

import pytest

from pomona.core.generation import SamplingParams
from pomona.engine.scheduling.outlook import ADAPTER_SECONDS, FIRST_SECONDS, MARGIN, PART_MARGIN, PICTURE_SECONDS, Outlook
from pomona.engine.scheduling.scheduler import Plan
from pomona.engine.sequence import Sequence
from tests.engine.harness import make_prompt


@dataclass
class Engine:
    """Steps that take as long as the test says."""

    compiling: bool = False
    time: float = 0.0
    told: list[tuple[float, bool]] = field(default_factory=list[tuple[float, bool]])

    def __post_init__(self) -> None:
        self.outlook = Outlook(compiling=self.compiling, clock=lambda: self.time)
        self.outlook.tell = lambda seconds, computing: self.told.append((seconds, computing))

    def step(self, plan: Plan, seconds: float) -> list[tuple[float, bool]]:
        """What was said of a step that took `seconds`."""
        self.told.clear()
        self.outlook.look(plan)
        self.time += seconds
        self.outlook.ran()
        return list(self.told)


def row(temperature: float = 0.0) -> Sequence:
    prompt = replace(make_prompt("row", [1, 2, 3]), sampling=SamplingParams(temperature=temperature))
    return Sequence(prompt=prompt, seed=0, arrival=0, tokens=list(prompt.token_ids))


def prefill(tokens: int, *rows: Sequence) -> Plan:
    return Plan(decode=[], prefill=[(each, tokens) for each in rows or (row(),)])


def decode(rows: int) -> Plan:
    return Plan(decode=[row() for _ in range(rows)], prefill=[])


def test_on_a_cpu_nothing_is_said_of_short_steps_not_even_the_first_time() -> None:
    engine = Engine()
    assert engine.step(decode(1), 0.01) == []
    assert engine.step(prefill(100), 0.2) == []
    assert engine.step(decode(8), 0.02) == []


def test_where_kernels_are_compiled_the_first_step_of_a_kind_gets_time_and_the_next_none() -> None:
    engine = Engine(compiling=True)
    assert engine.step(decode(1), 30.0) == [(FIRST_SECONDS, True)]
    assert engine.step(prefill(100), 0.1) == [(FIRST_SECONDS, True)]
    assert engine.step(prefill(120), 0.1) == []
    plan = decode(1)
    assert engine.step(plan, 0.1) == [(MARGIN * 30.0, True)]


def test_a_new_kind_gets_as_much_for_each_token_as_the_slowest_so_far() -> None:
    engine = Engine()
    engine.step(decode(1), 0.5)
    assert engine.step(prefill(100), 10.0) == [(50.0, True)]
    assert engine.step(prefill(100), 10.0) == [(MARGIN * 10.0, True)]


def test_a_new_way_of_choosing_is_compiled_too() -> None:
    engine = Engine(compiling=True)
    engine.step(prefill(100), 0.1)
    [(seconds, _)] = engine.step(prefill(100, row(temperature=1.0)), 0.1)
    assert seconds == pytest.approx(FIRST_SECONDS + MARGIN * 0.1)
    assert engine.step(prefill(100, row(temperature=1.0)), 0.1) == []


def test_what_was_slow_once_is_forgotten() -> None:
    engine = Engine()
    engine.step(decode(1), 10.0)
    told = [engine.step(decode(1), 0.01) for _ in range(30)]
    assert told[0] == [(MARGIN * 10.0, True)]
    assert told[-1] == []


def test_what_was_compiled_is_expected_once_more_and_then_forgotten() -> None:
    engine = Engine(compiling=True)
    engine.step(decode(1), 30.0)
    engine.step(decode(1), 0.1)
    assert engine.step(decode(1), 0.1) == []


def test_parts_of_a_long_step_get_shares_of_its_time() -> None:
    engine = Engine()
    engine.step(prefill(100), 10.0)
    engine.outlook.look(prefill(100))
    assert engine.outlook.announced
    engine.told.clear()
    for number in range(65):
        engine.outlook.part(number, 64, 65)
    assert {seconds for seconds, _ in engine.told} == {PART_MARGIN * 10.0 / 65}
    engine.outlook.ran()
    assert engine.step(decode(1), 0.1) == []
    assert not engine.outlook.announced


def test_where_kernels_are_compiled_the_first_layer_and_what_follows_the_last_get_all_of_it() -> None:
    engine = Engine(compiling=True)
    engine.step(prefill(64), 1.0)
    engine.step(prefill(64), 1.0)
    engine.told.clear()
    engine.outlook.look(prefill(300))
    [(whole, _)] = engine.told
    assert whole == pytest.approx(FIRST_SECONDS + 300 / 64)
    engine.told.clear()
    for number in range(66):
        engine.outlook.part(number, 64, 66)
    seconds = [each for each, _ in engine.told]
    assert seconds[0] == seconds[64] == seconds[65] == whole
    assert max(seconds[1:64]) == pytest.approx(PART_MARGIN * 300 / 64 / 66)


def test_adapters_are_read_without_the_cpu() -> None:
    engine = Engine()
    engine.outlook.look_at_adapter()
    assert engine.told == [(ADAPTER_SECONDS, False)]
    assert PICTURE_SECONDS > FIRST_SECONDS
