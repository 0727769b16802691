"""Costs learned from machines whose costs are known."""

import random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.engine.scheduling.costs import FIRST_CHUNK, GROWTH, PassCosts, pairs_of
from tests.engine.scheduling.simulated import CORES, GPU, LAPTOP_70B, Machine

MACHINES = pytest.mark.parametrize("machine", [GPU, CORES, LAPTOP_70B])


def teach(costs: PassCosts, machine: Machine, *, passes: int, seed: int, noise: float = 0.0, outliers: float = 0.0) -> None:
    """Passes as they come in use; each size comes more than once."""
    source = random.Random(seed)
    for _ in range(passes):
        slow = 50.0 if source.random() < outliers else 1.0
        shake = slow * source.lognormvariate(0, noise)
        lines, tokens, start = source.choice([1, 2, 3, 5, 8, 16, 24, 32]), source.choice([32, 64, 128, 256, 512]), source.randrange(4096)
        context = lines * source.randrange(64, 2048)
        costs.learn_decode(lines, context, shake * machine.decoding(lines, context))
        costs.learn_prefill(tokens, pairs_of(tokens, start), shake * machine.reading(tokens, start))


@MACHINES
def test_a_known_machine_is_learned(machine: Machine) -> None:
    costs = PassCosts()
    teach(costs, machine, passes=300, seed=1)
    for lines, context in ((1, 500), (4, 4000), (12, 9000), (30, 30_000)):
        assert costs.decode_seconds(lines, context) == pytest.approx(machine.decoding(lines, context), rel=0.15)
    for tokens, start in ((16, 0), (100, 3000), (300, 100), (512, 4000)):
        assert costs.prefill_seconds(tokens, start) == pytest.approx(machine.reading(tokens, start), rel=0.15)


@MACHINES
def test_passes_that_compiled_or_met_a_busy_machine_do_not_count(machine: Machine) -> None:
    """One pass in twelve takes fifty times as long, and all of them shake."""
    costs = PassCosts()
    teach(costs, machine, passes=600, seed=2, noise=0.2, outliers=1 / 12)
    errors = [
        costs.prefill_seconds(tokens, start) / machine.reading(tokens, start) for tokens in (48, 96, 200, 512) for start in (0, 1000, 4000)
    ]
    assert 0.7 < median(errors) < 1.5
    assert max(errors) < 2.5
    assert costs.decode_seconds(8, 8000) == pytest.approx(machine.decoding(8, 8000), rel=0.5)


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 20_000),
    seconds=st.floats(1e-3, 30),
    machine=st.sampled_from([GPU, CORES, LAPTOP_70B]),
    shares=st.booleans(),
)
def test_a_chunk_is_the_largest_that_fits(start: int, seconds: float, machine: Machine, shares: bool) -> None:
    costs = _taught(machine)
    tokens = costs.tokens_within(seconds, start, shares_pass=shares)
    assert 0 <= tokens <= costs.largest_chunk
    sizes = 2.0 if not shares else 1 + 1e-6  # sizes of a bucket differ by a factor of 1.4, and one step more may be tried
    if tokens > 1:
        assert costs.prefill_seconds(tokens, start, shares_pass=shares) <= seconds * sizes
    if tokens < costs.largest_chunk:
        assert costs.prefill_seconds(tokens + 1, start, shares_pass=shares) >= seconds / sizes


def test_the_first_chunk_is_small_and_the_next_ones_grow() -> None:
    """Whatever was never tried is approached in steps: a pass of a large model on a slow machine must not take a minute."""
    costs, chunks = PassCosts(), list[int]()
    for _ in range(6):
        chunks.append(min(costs.tokens_within(1e9, 0), 8192))
        costs.learn_prefill(chunks[-1], pairs_of(chunks[-1], 0), GPU.reading(chunks[-1], 0))
    assert chunks == [FIRST_CHUNK * GROWTH**step for step in range(5)] + [8192]


def test_a_slow_machine_is_asked_for_less_after_one_chunk() -> None:
    costs = PassCosts()
    costs.learn_prefill(FIRST_CHUNK, pairs_of(FIRST_CHUNK, 0), LAPTOP_70B.reading(FIRST_CHUNK, 0))
    assert costs.tokens_within(1.0, 0) <= FIRST_CHUNK
    assert costs.prefill_seconds(FIRST_CHUNK, 0) == pytest.approx(LAPTOP_70B.reading(FIRST_CHUNK, 0), rel=0.01)


def test_a_machine_that_becomes_slower_is_noticed_within_a_few_passes() -> None:
    costs = PassCosts()
    teach(costs, CORES, passes=300, seed=3)
    before = costs.tokens_within(0.05, 1000)
    for _ in range(12):
        costs.learn_prefill(256, pairs_of(256, 1000), 4 * CORES.reading(256, 1000))
        costs.learn_decode(8, 8000, 4 * CORES.decoding(8, 8000))
    assert costs.prefill_seconds(256, 1000) > 2.5 * CORES.reading(256, 1000)
    assert costs.tokens_within(0.05, 1000) < 0.5 * before
    assert costs.decode_seconds(8, 8000) == pytest.approx(4 * CORES.decoding(8, 8000), rel=0.1)


def test_rows_that_cannot_share_a_pass_cost_one_each() -> None:
    costs = PassCosts()
    costs.batches = False
    for _ in range(20):
        costs.learn_decode(1, 500, CORES.decoding(1, 500))
    assert costs.decode_seconds(6, 3000) == pytest.approx(6 * CORES.decoding(1, 500), rel=0.05)


def _taught(machine: Machine) -> PassCosts:
    if machine not in _TAUGHT:
        _TAUGHT[machine] = PassCosts()
        teach(_TAUGHT[machine], machine, passes=200, seed=4)
    return _TAUGHT[machine]


_TAUGHT: dict[Machine, PassCosts] = {}


def test_passes_that_compiled_kernels_are_soon_forgotten() -> None:
    """The first one sets the scale, since there is nothing else to go by: a larger one that took less time says that it was wrong."""
    costs = PassCosts()
    costs.learn_prefill(32, pairs_of(32, 0), 2.5)
    for tokens in (64, 128, 512, 512):
        costs.learn_prefill(tokens, pairs_of(tokens, 0), GPU.reading(tokens, 0))
    assert costs.prefill_seconds(512, 0) == pytest.approx(GPU.reading(512, 0), rel=0.3)
    assert costs.tokens_within(1.0, 0) == costs.largest_chunk
