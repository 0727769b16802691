"""Nobody starves, whoever asks for whatever: order, ageing, shares of callers, classes."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import Priority
from pomona.engine.scheduling.places import MOST_PARKINGS
from pomona.engine.scheduling.shares import Shares
from pomona.engine.scheduling.waiting import STARTS_BETWEEN, WaitingRows
from pomona.engine.sequence import Sequence
from tests.engine.harness import make_prompt
from tests.engine.scheduling.simulated import CORES, GPU, Simulated, jain

CLASSES: tuple[Priority, ...] = ("high", "normal", "low")


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[int, str, Priority, int, int]]:
    """(step, caller, class, prompt tokens, tokens of answer), in order of steps."""
    row = st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.sampled_from(CLASSES), st.integers(2, 600), st.integers(1, 40))
    return sorted(draw(st.lists(row, min_size=1, max_size=25)), key=lambda each: each[0])


@settings(max_examples=40, deadline=None)
@given(rows=arrivals(), places=st.integers(1, 6), pages=st.integers(25, 80), slow=st.booleans())
def test_every_step_gets_on_and_every_row_ends(
    rows: list[tuple[int, str, Priority, int, int]], places: int, pages: int, *, slow: bool
) -> None:
    """Work conserving, with few places and pages too: while a row is unfinished, no step is empty. In the end nothing is left over."""
    device = Simulated(CORES, max_rows=places, pages=pages, high_gap_seconds=0.004 if slow else 0.1)
    step = 0
    while rows or device.scheduler.has_work:
        while rows and rows[0][0] <= step:
            _, caller, priority, tokens, outputs = rows.pop(0)
            device.add(str(len(device.stories)), tokens, outputs, caller=caller, priority=priority)
        busy = device.scheduler.has_work
        plan = device.step()
        assert bool(plan.decode or plan.prefill) == busy
        assert len(plan.decode) + sum(count for _, count in plan.prefill) <= (device.settings.step_token_budget or 0)
        assert len(device.scheduler.running) <= places
        device.cache.check_integrity(device.scheduler.rows())
        step += 1
        assert step < 5000
    assert all(story.end is not None for story in device.stories.values())
    assert (device.cache.groups[0].allocator.held, len(device.scheduler.waiting)) == (0, 0)


@settings(max_examples=100, deadline=None)
@given(works=st.lists(st.integers(1, 5000), min_size=2, max_size=40), taken=st.lists(st.booleans(), min_size=80, max_size=80))
def test_a_row_is_overtaken_by_less_work_than_its_own(works: list[int], taken: list[bool]) -> None:
    """One caller's rows of any sizes, started at any times between their arrivals: the bound of shortest first with ageing."""
    waiting, started, asked = WaitingRows(), list[int](), 0
    queue = list(enumerate(works))
    for take in [*taken, *[True] * len(works)]:
        if take and len(waiting):
            row = waiting.next(lambda _: 0.0, ())
            assert row is not None
            waiting.remove(row)
            started.append(row.arrival)
        elif queue:
            arrival, work = queue.pop(0)
            row = Sequence(prompt=make_prompt(str(arrival), [1]), seed=0, arrival=arrival, tokens=[1])
            row.turn.key = asked + 2 * work
            asked += work
            waiting.add(row)
    while (row := waiting.next(lambda _: 0.0, ())) is not None:
        waiting.remove(row)
        started.append(row.arrival)
    assert sorted(started) == list(range(len(works)))
    for place, arrival in enumerate(started):
        assert sum(works[other] for other in started[:place] if other > arrival) < works[arrival]


def test_short_prompts_go_first_but_a_long_one_does_not_wait_for_ever() -> None:
    """One caller, one place: a long prompt, and a short one more in each step."""
    device = Simulated(GPU, max_rows=1)
    device.add("first", 40, 5)
    device.step()
    device.add("long", 3000, 5)
    count = 0
    while device.stories["long"].first is None:
        device.add(f"short-{count}", 40, 5)
        device.step()
        count += 1
    assert device.order.index("long") > 5
    work = 3000 + 2 * 5
    assert sum(40 + 2 * 5 for id in device.order[: device.order.index("long")] if id.startswith("short")) < work + 50


@pytest.mark.parametrize("above", ["high", "normal"])
def test_a_class_that_waits_gets_every_so_manieth_start(above: Priority) -> None:
    """However many rows of a higher class there are, and whoever sends them; a parked row that comes back has one of these starts."""
    places = 2
    device = Simulated(GPU, max_rows=places)
    for number in range(5):
        device.add(f"low-{number}", 40, 3, priority="low")
    count = 0
    while any(device.stories[f"low-{number}"].first is None for number in range(5)):
        while len(device.scheduler.waiting) < 20:
            device.add(f"above-{count}", 40, 3, priority=above, caller=str(count % 7))
            count += 1
        device.step()
    starts = sorted(story.row.turn.place for id, story in device.stories.items() if id.startswith("low"))
    most = (STARTS_BETWEEN + 1) * (1 + places * MOST_PARKINGS)
    assert all(later - earlier <= most for earlier, later in pairwise([0, *starts]))
    assert starts[0] <= STARTS_BETWEEN + 1


def test_callers_with_unequal_demand_get_equal_shares() -> None:
    """Long prompts, long answers, many small requests: while all three have work waiting, each gets a third of the work done."""
    device = Simulated(CORES, max_rows=6)
    shapes = {"reader": (900, 10), "writer": (20, 300), "many": (60, 20)}
    count = 0
    while device.now < 60.0:
        for caller, (tokens, outputs) in shapes.items():
            while sum(row.prompt.caller == caller for row in device.scheduler.waiting) < (40 if caller == "many" else 3):
                device.add(f"{caller}-{count}", tokens, outputs, caller=caller)
                count += 1
        device.step()
    assert jain(device.served.values()) >= 0.95


@pytest.mark.parametrize("scheduling", ["adaptive", "arrival"])
def test_a_thousand_requests_of_one_client_do_not_starve_another(scheduling: str) -> None:
    """The light client's first tokens take as long as a place takes to come free, not as long as the other's queue."""
    device = Simulated(CORES, max_rows=8, scheduling=scheduling)
    for number in range(300):
        device.add(f"greedy-{number}", 200, 100, caller="greedy")
    firsts: list[float] = []
    device.run(1.0)
    for number in range(5):
        story = device.add(f"light-{number}", 50, 20, caller="light")
        device.finish(f"light-{number}")
        assert story.first is not None
        firsts.append(story.first)
        if scheduling == "arrival":
            break
    greedy_left = sum(story.end is None for id, story in device.stories.items() if id.startswith("greedy"))
    if scheduling == "arrival":
        assert greedy_left < 20
    else:
        assert max(firsts) < 3.0
        assert greedy_left > 200
    device.finish()


def test_a_rest_earns_no_credit() -> None:
    """Who comes back shares evenly from then on, however much the other had meanwhile."""
    device = Simulated(CORES, max_rows=4)
    device.add("late-0", 50, 5, caller="late")
    device.finish()
    for number in range(400):
        device.add(f"steady-{number}", 100, 30, caller="steady")
    device.run(15.0)
    before = dict(device.served)
    for number in range(100):
        device.add(f"late-{number + 1}", 100, 30, caller="late")
    device.run(10.0)
    gained = {caller: work - before[caller] for caller, work in device.served.items()}
    assert gained["late"] / gained["steady"] == pytest.approx(1.0, abs=0.25)


@settings(max_examples=100, deadline=None)
@given(moves=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["enter", "leave", "charge"]), st.integers(1, 1000)), max_size=80))
def test_nobody_comes_back_ahead_of_those_who_stayed(moves: list[tuple[str, str, int]]) -> None:
    """Who enters stands no lower than the least served of the others, and no lower than it left."""
    shares, rows, left = Shares(), dict.fromkeys("abcd", 0), dict.fromkeys("abcd", 0.0)
    for caller, move, work in moves:
        present = [shares.level(other) for other, count in rows.items() if count]
        if move == "enter":
            fresh = not rows[caller]
            shares.enter(caller)
            rows[caller] += 1
            if fresh:
                assert shares.level(caller) >= max(left[caller], min(present, default=0.0))
        elif rows[caller] and move == "charge":
            shares.charge(caller, work)
        elif rows[caller]:
            left[caller] = shares.level(caller)
            rows[caller] -= 1
            shares.leave(caller)


def test_what_comes_out_of_the_cache_is_free_and_what_is_computed_again_too() -> None:
    """Two callers with equal answers: the prompts of one are in the cache, so it is charged for its answers alone."""
    device = Simulated(CORES, prefix_cache=True)
    device.add("first", 640, 5, caller="one")
    device.finish()
    before = device.served["one"]
    device.add("again", 640, 5, caller="one")
    device.finish()
    assert device.served["one"] - before < 50
    assert device.stories["again"].row.cached_tokens == 608


def test_rows_that_wait_for_the_same_beginning_hold_nobody_up() -> None:
    device = Simulated(CORES, prefix_cache=True, max_rows=3)
    for number in range(6):
        device.add(f"same-{number}", 640, 5, caller="one")
    device.add("other", 33, 5, caller="two")
    device.finish()
    assert device.order.index("other") == 0
