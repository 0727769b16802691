"""The engine benchmark's arithmetic, on an engine and a clock that are written down."""

from dataclasses import dataclass, field

import pytest

from pomona.core.errors import ModelNotFound
from pomona.core.generation import Prompt, TokenStep
from pomona.core.settings import EngineSettings, ModelsSettings, Settings
from pomona.core.status import EngineCounters
from pomona.engine.scheduling.outlook import Outlook
from pomona.ops.engine_bench import measure, order_for, random_prompts

Script = list[list[tuple[str, TokenStep]]]


@dataclass(slots=True)
class WrittenEngine:
    """Replays steps; each takes one second of `clock`."""

    script: Script
    added: list[Prompt] = field(default_factory=list[Prompt])
    seconds: float = 0.0
    outlook: Outlook = field(default_factory=lambda: Outlook(compiling=False))

    @property
    def has_work(self) -> bool:
        return bool(self.script)

    def add(self, prompt: Prompt, /) -> None:
        self.added.append(prompt)

    def cancel(self, row_id: str, /) -> None:
        raise AssertionError(row_id)

    def pause(self, row_id: str, /) -> None:
        raise AssertionError(row_id)

    def resume(self, row_id: str, /) -> None:
        raise AssertionError(row_id)

    def shrink(self, *, disk: bool = False) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError

    def step(self) -> list[tuple[str, TokenStep]]:
        self.seconds += 1
        return self.script.pop(0)

    def stats(self) -> EngineCounters:
        return EngineCounters(kv_bytes=7, device_peak_bytes=99)

    def clock(self) -> float:
        return self.seconds


def made(*rows: str) -> list[tuple[str, TokenStep]]:
    """One token for each row; a row with a dot ends."""
    return [(row.rstrip("."), TokenStep(token_ids=(1,), finish_reason="length" if row.endswith(".") else None)) for row in rows]


def prompts(*names: str, tokens: int) -> list[Prompt]:
    one = random_prompts(1, tokens=tokens, output_tokens=4, vocabulary=9, seed=0)[0]
    return [Prompt(id=name, token_ids=one.token_ids, sampling=one.sampling, max_tokens=4) for name in names]


def test_speeds_come_from_the_right_spans() -> None:
    # 1: nothing, 2: a begins, 3: b begins (all have), 4 and 5: both decode, 5: a ends (2 x 2 tokens in 2 s), 6: b ends
    engine = WrittenEngine([[], made("a"), made("a", "b"), made("a", "b"), made("a.", "b"), made("b.")])

    result = measure(engine, prompts("a", "b", tokens=30), "cpu", engine.clock)

    assert [prompt.id for prompt in engine.added] == ["a", "b"]
    assert (result.first_token_seconds, result.seconds) == (2.0, 6.0)
    assert result.prefill_tokens_per_second == pytest.approx(60 / 3)
    assert result.decode_tokens_per_second == pytest.approx(4 / 2)
    assert result.total_tokens_per_second == pytest.approx(8 / 6)
    assert (result.kv_bytes, result.peak_bytes, result.batch) == (7, 99, 2)


def test_rows_that_never_decode_together_have_no_decode_speed() -> None:
    engine = WrittenEngine([made("a"), made("a."), made("b"), made("b.")])

    assert measure(engine, prompts("a", "b", tokens=3), "cpu", engine.clock).decode_tokens_per_second is None


def test_prompts_are_those_of_the_seed_and_never_end_early() -> None:
    first, again, other = (random_prompts(3, tokens=50, output_tokens=4, vocabulary=100, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert {prompt.token_ids for prompt in first}.isdisjoint({prompt.token_ids for prompt in other})
    assert all(max(prompt.token_ids) < 100 and prompt.stop_token_ids == () for prompt in first)


def test_an_order_makes_room_for_the_largest_batch_and_shares_nothing() -> None:
    settings = Settings(engine=EngineSettings(max_rows=4))

    order = order_for(settings, batches=(1, 32), prompt_tokens=8, output_tokens=8, seed=0)

    assert (order.launch.engine.max_rows, order.launch.engine.prefix_cache) == (32, False)
    assert order.model_validate_json(order.model_dump_json()) == order


def test_a_model_that_is_nowhere_has_no_order() -> None:
    with pytest.raises(ModelNotFound):
        order_for(Settings(models=ModelsSettings(default="nowhere")), batches=(1,), prompt_tokens=8, output_tokens=8, seed=0)
