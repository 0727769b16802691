"""Plans, measurements, and the levels of the guard, with memory that the tests decide."""

import asyncio
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import Overloaded
from pomona.core.events import ErrorOccurred, ModelUnloaded, RuntimeStatus
from pomona.core.settings import EngineSettings, ModelOverrides, ResidencySettings, Settings
from pomona.core.status import EngineCounters, EngineReport, GuardLevel, ModelFacts
from pomona.fleet.residency.maintenance import SHRINK_SECONDS, Maintenance
from pomona.fleet.residency.memory.guard import GIB, LEVELS, SLACK, MemoryGuard
from pomona.fleet.residency.memory.measuring import MeasureBook, measure_engine
from pomona.fleet.residency.memory.planning import PROCESS_BYTES, Measured, Needs, estimate, kv_token_bytes
from pomona.fleet.residency.memory.scales import Scales
from pomona.fleet.residency.overriding import idle_seconds, keep_alive_of, overrides_of, settings_for
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.residency.slots import Slot
from pomona.models.device import Memory, memory
from pomona.models.probe import budget_of, probe_of
from pomona.models.references import ResolvedModel, bundled_folder
from pomona.models.validation import inspect_folder
from tests.unit.fleet.residency.street import Street, settle

TINY = inspect_folder(bundled_folder())
BOUNDS = (3.0, 2.0, 1.0, 0.5)


class Meter:
    """Free memory in GiB, as a test sets it."""

    def __init__(self, free: float = 10.0) -> None:
        self.free = free

    def __call__(self) -> Memory:
        return Memory(total_bytes=16 * GIB, free_bytes=int(self.free * GIB))


def guard(meter: Meter, *, enabled: bool = True, park_seconds: float = 5.0) -> MemoryGuard:
    return MemoryGuard(meter, BOUNDS, enabled=enabled, park_seconds=park_seconds)


@pytest.mark.parametrize(
    ("free", "level"),
    [(3.0, "safe"), (2.99, "caution"), (2.0, "caution"), (1.99, "warning"), (0.99, "critical"), (0.49, "emergency"), (0.0, "emergency")],
)
def test_the_level_follows_free_memory(free: float, level: GuardLevel) -> None:
    watched = guard(Meter(free))
    assert (watched.check(), watched.at_least(level)) == (level, True)


def test_a_level_is_left_only_with_some_slack() -> None:
    meter = Meter()
    watched = guard(meter)
    told: list[tuple[GuardLevel, GuardLevel]] = []
    watched.changed = lambda old, new: told.append((old, new))
    for free in (1.9, 2.1, 2.19, 2.21, 3.2, 3.31, 0.4, 0.54, 0.56, 10.0):
        meter.free = free
        watched.check()
    assert told == [
        ("safe", "warning"),
        ("warning", "caution"),
        ("caution", "safe"),
        ("safe", "emergency"),
        ("emergency", "critical"),
        ("critical", "safe"),
    ]


@given(st.lists(st.floats(0, 5), max_size=30))
def test_the_level_is_never_better_than_memory_nor_worse_than_with_slack(readings: list[float]) -> None:
    meter = Meter()
    watched = guard(meter)
    for meter.free in readings:
        level = LEVELS.index(watched.check())
        assert sum(meter.free * GIB < int(bound * GIB) - 1 for bound in BOUNDS) <= level
        assert level <= sum(meter.free < bound * SLACK + 1e-6 for bound in BOUNDS)


async def test_an_emergency_refuses_everybody_and_says_why() -> None:
    watched = guard(Meter(0.25))
    watched.check()
    for priority in ("low", "normal", "high"):
        with pytest.raises(Overloaded, match=r"0\.25 GiB free, memory status emergency") as caught:
            await watched.admit(priority)
        assert caught.value.retry_after > 0


async def test_low_priority_waits_while_memory_is_short() -> None:
    meter = Meter(1.5)
    watched = guard(meter)
    watched.check()
    await watched.admit("normal")
    waiting = asyncio.ensure_future(watched.admit("low"))
    await settle()
    assert not waiting.done()
    meter.free = 9.0
    watched.check()
    await waiting


async def test_low_priority_does_not_wait_for_ever() -> None:
    watched = guard(Meter(1.5), park_seconds=0.01)
    watched.check()
    with pytest.raises(Overloaded, match="low priority"):
        await watched.admit("low")


async def test_a_guard_that_is_off_still_tells_what_is_free() -> None:
    watched = guard(Meter(0.1), enabled=False)
    assert (watched.check(), watched.free) == ("safe", int(0.1 * GIB))
    await watched.admit("low")


async def use(street: Street, pool: ResidentPool, name: str) -> None:
    async with street.using(pool, name):
        await settle()


async def test_what_each_level_does() -> None:
    street, meter = Street({"a": 2, "b": 2, "c": 2, "d": 2}, pinned=frozenset({"b"})), Meter()
    async with street.pool() as pool:
        watched = guard(meter)
        maintenance = Maintenance(pool, watched, street.means)
        maintenance.look()
        for name in "ab":
            street.time += 1
            await use(street, pool, name)

        meter.free = 2.5  # caution: somebody has to go before somebody comes
        maintenance.look()
        await use(street, pool, "c")
        assert set(street.alive) == {"b", "c"}
        assert [street.alive[name].shrunk for name in "bc"] == [0, 0]

        meter.free = 1.5  # warning: engines shrink, now and every so often
        for seconds in (0, 1, SHRINK_SECONDS):
            street.time += seconds
            maintenance.look()
        assert [street.alive[name].shrunk for name in "bc"] == [2, 2]

        async with street.using(pool, "c"):
            meter.free = 0.8  # critical: what is idle and not pinned goes
            maintenance.look()
            await settle()
            assert set(street.alive) == {"b", "c"}
        maintenance.look()
        await settle()
        assert set(street.alive) == {"b"}

        meter.free = 0.2
        maintenance.look()
        with pytest.raises(Overloaded):
            await watched.admit("high")
        meter.free = 9.0
        maintenance.look()
        await use(street, pool, "d")
        assert set(street.alive) == {"b", "d"}
    assert [event.reason for event in street.events if isinstance(event, ModelUnloaded)][:2] == ["evicted", "guard"]
    told = [event.message for event in street.events if isinstance(event, ErrorOccurred)]
    assert [text.rpartition(" ")[2] for text in told] == ["caution.", "warning.", "critical.", "emergency."]
    assert [event.status for event in street.events if isinstance(event, RuntimeStatus)] == ["error", "ready"]


async def test_a_model_waits_while_memory_is_short_and_comes_when_it_is_not() -> None:
    street, meter = Street({"a": 2, "b": 2}, pinned=frozenset({"a"})), Meter()
    async with street.pool() as pool:
        maintenance = Maintenance(pool, guard(meter), street.means)
        await use(street, pool, "a")
        meter.free = 2.5
        maintenance.look()
        asking = asyncio.ensure_future(use(street, pool, "b"))
        await settle()
        assert set(street.alive) == {"a"}
        meter.free = 9.0
        maintenance.look()
        await asking


def test_a_plan_from_the_files_of_the_bundled_model() -> None:
    engine = EngineSettings(kv_cache_bytes=2**25)
    expanded = estimate(TINY, engine, expanded=True, budget=2**34)
    stored = estimate(TINY, engine, expanded=False, budget=2**34)
    assert (expanded.weights, stored.weights) == (TINY.parameters * 4, TINY.weight_bytes)
    plan = expanded.plan(2**34)
    assert plan is not None
    assert (plan.kv, plan.process, plan.total) == (2**25, PROCESS_BYTES, expanded.fixed + 2**25)
    assert expanded.plan(expanded.least - 1) is None


def test_models_for_vectors_are_planned_by_the_tokens_of_a_pass() -> None:
    facts = inspect_folder(Path("tests/data/encoders/bert"))
    few = estimate(facts, EngineSettings(), expanded=True, budget=2**34, pass_tokens=1024)
    many = estimate(facts, EngineSettings(), expanded=True, budget=2**34, pass_tokens=8192)
    assert (few.kv_most, many.activations) == (0, 8 * few.activations)
    assert few.activations == 1024 * (8 * 32 + 3 * 48) * 4 + 1024 * 96
    longest = estimate(replace(facts, max_context=8192), EngineSettings(), expanded=True, budget=2**34, pass_tokens=1024)
    assert longest.activations > many.activations, "a text that is longer than a pass goes alone"


def test_keys_and_values_per_token() -> None:
    assert kv_token_bytes(TINY.config, 4) == 10 * 2 * 2 * 64 * 4
    assert (
        kv_token_bytes(TINY.config, 2, kv_bits=8) == 10 * 2 * 2 * 64 * (8 + 1) // 8 + 10 * 2 * 2 * 64 * 2 * 2 // 64 - 10 * 2 * 2 * 64 // 8
    )
    assert kv_token_bytes({"text_config": {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}}, 2) == 2 * 2 * 64 * 2
    assert kv_token_bytes({"model_type": "mystery"}, 2) is None


@given(st.integers(0, 2**36))
def test_a_plan_never_exceeds_its_room_and_takes_no_more_than_it_can_use(room: int) -> None:
    needs = Needs(weights=2**30, activations=2**20, process=2**27, kv_least=2**26, kv_most=2**32, kv_share=0.3)
    plan = needs.plan(room)
    assert (plan is None) == (room < needs.least)
    if plan is not None:
        assert plan.total <= room
        assert needs.kv_least <= plan.kv <= needs.kv_most


def test_the_longest_context_has_room_wherever_the_budget_allows_it() -> None:
    needs = estimate(TINY, EngineSettings(), expanded=True, budget=2**34)
    token = kv_token_bytes(TINY.config, 4)
    assert TINY.max_context is not None
    assert token is not None
    assert needs.kv_least >= TINY.max_context * token
    assert needs.kv_most <= 64 * needs.kv_least
    small = estimate(TINY, EngineSettings(), expanded=True, budget=needs.fixed + 2**26)
    assert small.kv_least <= 0.3 * 2**26 + 1


def test_what_was_measured_replaces_what_was_guessed() -> None:
    guessed = estimate(TINY, EngineSettings(), expanded=True, budget=2**34)
    known = estimate(TINY, EngineSettings(), expanded=True, budget=2**34, measured=Measured(resting=2**30, working=2**28))
    assert (known.weights + known.process, known.activations) == (2**30, 2**28)
    assert known.fixed > guessed.fixed


FACTS = ModelFacts(
    architecture="Double", device="cpu (this)", max_context=64, vocabulary=10, weight_bytes=1, kv_budget_bytes=1, load_seconds=0.0
)
REPORT = EngineReport(model="a", state="ready", seconds_since_step=0.0, facts=FACTS, counters=EngineCounters(device_peak_bytes=100))


def test_a_process_is_measured() -> None:
    here = measure_engine(replace(REPORT, pid=os.getpid()))
    assert here is not None
    assert here > 2**20
    gpu = replace(REPORT, pid=os.getpid(), facts=replace(FACTS, device="cuda (H200)"), counters=EngineCounters(device_peak_bytes=2**40))
    on_gpu = measure_engine(gpu)
    assert on_gpu is not None
    assert on_gpu > 2**40
    assert measure_engine(REPORT) is None
    assert measure_engine(replace(REPORT, pid=2**22 + 1)) is None


async def test_models_are_weighed_and_remembered(tmp_path: Path) -> None:
    taken = [1000]
    book = MeasureBook(tmp_path / "deep" / "measured.json")
    scales = Scales(book, lambda _: taken[0], lambda slot: slot.name)
    street = Street({"a": 4}, weigh=scales.weigh)
    async with street.pool() as pool:
        await use(street, pool, "a")
        slot = pool.slot("a")
        assert scales.known(slot) == Measured(resting=1000)
        taken[0] = 1500
        scales.weigh(slot)
        taken[0] = 1200
        scales.weigh(slot)
        assert (scales.known(slot), slot.measured) == (Measured(resting=1000, working=500), 1500)
        assert slot.stay is not None
        assert slot.stay.plan.total == 1500
        assert pool.planned == 1500
    assert MeasureBook(tmp_path / "deep" / "measured.json").get("a") == Measured(resting=1000, working=500)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": 5}', '{"a": {"resting": "x"}}', '{"a": {"resting": -1, "working": 0}}'])
def test_a_book_that_makes_no_sense_is_an_empty_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(text)
    book = MeasureBook(path)
    assert book.get("a") is None
    book.put("a", Measured(resting=5))
    assert MeasureBook(path).get("a") == Measured(resting=5)


def test_a_book_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    book = MeasureBook(tmp_path / "file" / "measured.json")
    book.put("a", Measured(resting=5))
    assert book.get("a") == Measured(resting=5)


def test_a_book_that_cannot_be_replaced_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "measured.json").mkdir()
    MeasureBook(tmp_path / "measured.json").put("a", Measured(resting=5))
    assert [path.name for path in tmp_path.iterdir()] == ["measured.json"]


def test_the_budget_is_a_share_of_memory_unless_it_is_given() -> None:
    there = Memory(total_bytes=100 * GIB, free_bytes=GIB)
    assert budget_of(ResidencySettings(memory_share=0.5), there) == 50 * GIB
    assert budget_of(ResidencySettings(memory_bytes=7 * GIB), there) == 7 * GIB
    found = probe_of(Settings().models)()
    assert found.total_bytes == memory().total_bytes


@pytest.mark.parametrize(("gib", "seconds"), [(128, 600), (64, 600), (48, 300), (24, 300), (16, 180)])
def test_idle_models_stay_longer_where_there_is_more_memory(gib: int, seconds: float) -> None:
    assert idle_seconds(gib * GIB) == seconds


def test_what_is_set_for_one_model_wins() -> None:
    settings = Settings.model_validate(
        {
            "engine": {"max_context": 100, "kv_bits": 8, "kv_cache_bytes": 8192},
            "residency": {"keep_alive_seconds": 60},
            "models": {"chat_template": "general.jinja", "overrides": {"fast": {"max_context": 50, "keep_alive_seconds": -1}}},
        }
    )
    model = ResolvedModel(id="tiny", path=Path("/x"), kind="folder", reference="tiny")
    given = overrides_of(model, ("other", "fast"), settings)
    made = settings_for(given, settings, default=False, kv_bytes=4096)
    assert (made.engine.max_context, made.engine.kv_bits, made.engine.kv_cache_bytes) == (50, 8, 4096)
    assert made.models.chat_template is None
    assert settings_for(given, settings, default=True, kv_bytes=None).models.chat_template == Path("general.jinja")
    assert settings_for(given, settings, default=True, kv_bytes=None).engine.kv_cache_bytes == 8192
    assert keep_alive_of(given, settings, default=False) is None
    assert keep_alive_of(ModelOverrides(), settings, default=True) == 60
    assert keep_alive_of(ModelOverrides(keep_alive_seconds=0), settings, default=True) == 0
    assert keep_alive_of(ModelOverrides(), Settings(), default=True) is None
    assert keep_alive_of(ModelOverrides(), Settings(), default=False) == idle_seconds(memory().total_bytes)


def test_three_small_models_share_a_machine_of_8_gb() -> None:
    """Of the shape of Qwen 2.5 0.5B in 4 bits: each gets all that one row of its longest context needs, the first ones more."""
    shape = {"num_hidden_layers": 24, "hidden_size": 896, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864}
    facts = replace(TINY, config=shape, weight_bytes=280 * 2**20, max_context=32768, vocabulary=151_936)
    budget = int(0.8 * 8 * GIB)
    needs, room, plans = estimate(facts, EngineSettings(), expanded=False, budget=budget), budget, list[int]()
    for _ in range(3):
        plan = needs.plan(room)
        assert plan is not None
        room -= plan.total
        plans.append(plan.kv)
    assert all(kv >= needs.kv_least >= 32768 * 24 * 2 * 128 * 2 for kv in plans)
    assert plans == sorted(plans, reverse=True)


async def test_a_model_takes_less_for_keys_and_values_before_it_sends_another_away() -> None:
    needs = Needs(weights=3, activations=0, process=0, kv_least=1, kv_most=6, kv_share=1.0)
    street = Street({"a": 4, "b": 4}, budget=13)
    async with ResidentPool(replace(street.means, estimate=partial(_ready, needs)), ResidencySettings(), 13) as pool:
        await use(street, pool, "a")
        await use(street, pool, "b")
        plans = [slot.stay.plan.kv for slot in pool.slots if slot.stay is not None]
    assert plans == [6, 1]


async def _ready(needs: Needs, _: Slot) -> Needs:
    return needs
