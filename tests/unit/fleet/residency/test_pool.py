"""Leases, loads and evictions, by hand."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from pomona.core.errors import Cancelled, Conflict, DoesNotFit, EngineFailed, ModelNotFound, ModelUnusable, Overloaded
from pomona.core.events import ErrorOccurred, ModelInvalidated, ModelLoaded, ModelUnloaded
from pomona.core.settings import ResidencySettings
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.survival.breaker import PAUSE_SECONDS
from tests.unit.fleet.residency.street import Street, settle


async def use(street: Street, pool: ResidentPool, name: str) -> None:
    """A request from beginning to end."""
    async with street.using(pool, name):
        await asyncio.sleep(0)


async def test_a_model_is_loaded_once_for_all_who_wait_and_served_in_order() -> None:
    street, order = Street({"a": 4}, prompt=False), list[int]()
    async with street.pool() as pool:

        async def ask(number: int) -> None:
            async with street.using(pool, "a"):
                order.append(number)

        asked = [asyncio.ensure_future(ask(number)) for number in range(5)]
        await settle()
        assert order == []
        street.finish_load("a")
        await asyncio.gather(*asked)
        assert (order, street.begun) == ([0, 1, 2, 3, 4], ["a"])
        street.prompt = True


async def test_the_least_recently_used_idle_model_makes_room() -> None:
    street = Street({"a": 4, "b": 4, "c": 4})
    async with street.pool() as pool:
        for name in ("a", "b", "a", "c"):
            street.time += 1
            await use(street, pool, name)
        assert set(street.alive) == {"a", "c"}
    assert street.alive == {}
    gone = [(event.model, event.reason) for event in street.events if isinstance(event, ModelUnloaded)]
    assert gone == [("b", "evicted"), ("a", "shutdown"), ("c", "shutdown")]


async def test_memory_is_free_before_the_next_load_begins() -> None:
    street = Street({"a": 6, "b": 6})
    async with street.pool() as pool:
        await use(street, pool, "a")
        street.prompt = False
        asking = asyncio.ensure_future(use(street, pool, "b"))
        await settle()
        await settle()
        assert street.begun == ["a"]
        street.departures["a"].set_result(None)
        await settle()
        street.finish_load("b")
        await asking
        street.prompt = True


async def test_a_busy_model_is_not_unloaded_and_takes_no_new_requests_when_another_waits_for_its_room() -> None:
    street = Street({"a": 6, "b": 6})
    async with street.pool() as pool, AsyncExitStack() as busy:
        await busy.enter_async_context(street.using(pool, "a"))
        for_b = asyncio.ensure_future(use(street, pool, "b"))
        await settle()
        for_a = asyncio.ensure_future(use(street, pool, "a"))
        await settle()
        assert (set(street.alive), for_a.done(), for_b.done()) == ({"a"}, False, False)
        await busy.aclose()
        await asyncio.gather(for_a, for_b)
        assert street.begun == ["a", "b", "a"]


async def test_a_model_that_was_to_go_stays_when_those_who_wanted_its_room_have_left() -> None:
    street = Street({"a": 6, "b": 6})
    async with street.pool() as pool, street.using(pool, "a"):
        for_b = asyncio.ensure_future(use(street, pool, "b"))
        await settle()
        for_a = asyncio.ensure_future(use(street, pool, "a"))
        await settle()
        assert not for_a.done()
        for_b.cancel()
        await asyncio.wait([for_b])
        await for_a
        assert street.begun == ["a"]


async def test_a_load_that_nobody_waits_for_any_more_does_not_begin() -> None:
    street = Street({"a": 6, "b": 6})
    async with street.pool() as pool:
        async with street.using(pool, "a"):
            for_b = asyncio.ensure_future(use(street, pool, "b"))
            await settle()
            for_b.cancel()
            await asyncio.wait([for_b])
        await settle()
        assert (street.begun, set(street.alive)) == (["a"], {"a"})


async def test_the_default_model_goes_last() -> None:
    street = Street({"a": 4, "b": 4, "c": 4}, default="a")
    async with street.pool() as pool:
        for name in ("a", "b", "c"):
            street.time += 1
            await use(street, pool, name)
        assert set(street.alive) == {"a", "c"}


async def test_pinned_models_leave_no_room() -> None:
    street = Street({"a": 6, "b": 6}, pinned=frozenset({"a"}))
    async with street.pool() as pool:
        await use(street, pool, "a")
        with pytest.raises(Overloaded, match=r"no room for the model 'b' beside those that are pinned \('a'\)"):
            await use(street, pool, "b")
        pool.pin("a", pinned=False)
        await use(street, pool, "b")
        assert set(street.alive) == {"b"}


async def test_a_model_that_can_never_fit_is_refused_and_nobody_goes_for_it() -> None:
    street = Street({"a": 6, "huge": 11})
    async with street.pool() as pool:
        await use(street, pool, "a")
        with pytest.raises(DoesNotFit, match="'huge' needs") as caught:
            await use(street, pool, "huge")
        assert (caught.value.required_bytes, caught.value.available_bytes) == (11, 10)
        assert set(street.alive) == {"a"}


async def test_there_are_only_so_many_models() -> None:
    street = Street({"a": 1, "b": 1, "c": 1})
    async with street.pool(ResidencySettings(max_models=2)) as pool:
        for name in "abc":
            street.time += 1
            await use(street, pool, name)
        assert set(street.alive) == {"b", "c"}


async def test_who_waits_too_long_is_told_to_come_again() -> None:
    street = Street({"a": 6, "b": 6})
    async with street.pool(ResidencySettings(load_wait_seconds=0.02)) as pool, street.using(pool, "a"):
        with pytest.raises(Overloaded, match=r"Waited 0\.02 seconds for the model 'b'") as caught:
            await use(street, pool, "b")
        assert caught.value.retry_after > 0
        await use(street, pool, "a")


async def test_a_failed_load_is_told_to_all_who_wait_and_remembered_for_a_while() -> None:
    street = Street({"a": 4, "bad": 4}, failures={"bad": ModelUnusable("The folder holds no model.")})
    async with street.pool() as pool:
        await use(street, pool, "a")
        outcomes = await asyncio.gather(*(use(street, pool, "bad") for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in outcomes] == [ModelUnusable] * 3
        with pytest.raises(ModelUnusable, match="holds no model"):
            await use(street, pool, "bad")
        assert (street.begun, pool.slot("bad").state, set(street.alive)) == (["a", "bad"], "failed", {"a"})
        assert [event.model for event in street.events if isinstance(event, ErrorOccurred)] == ["bad"]
        street.time += PAUSE_SECONDS
        await use(street, pool, "bad")
        assert pool.slot("bad").state == "ready"


async def test_loading_on_purpose_tries_again_at_once() -> None:
    street = Street({"bad": 4}, failures={"bad": ModelUnusable("The folder holds no model.")})
    async with street.pool() as pool:
        with pytest.raises(ModelUnusable):
            await pool.load("bad")
        assert (await pool.load("bad")).state == "ready"


async def test_idle_models_go_when_their_time_is_over() -> None:
    street = Street({"a": 4, "b": 4, "c": 1}, keep_alive={"a": 10.0, "c": 10.0}, pinned=frozenset({"c"}))
    async with street.pool() as pool:
        for name in "abc":
            await use(street, pool, name)
        street.time = 9.9
        pool.expire()
        await settle()
        assert set(street.alive) == {"a", "b", "c"}
        street.time = 10.0
        async with street.using(pool, "a"):
            street.time = 100.0
            pool.expire()
            await settle()
            assert "a" in street.alive
        street.time = 110.0
        pool.expire()
        await settle()
        assert set(street.alive) == {"b", "c"}
        await use(street, pool, "a")


async def test_a_request_says_how_long_its_model_is_kept() -> None:
    street = Street({"a": 4}, keep_alive={"a": 10.0})
    async with street.pool() as pool:
        async with street.using(pool, "a", keep_alive=0):
            pass
        await settle()
        assert street.alive == {}
        async with street.using(pool, "a", keep_alive=-1):
            pass
        street.time = 1e9
        pool.expire()
        await settle()
        assert set(street.alive) == {"a"}
        async with street.using(pool, "a", keep_alive=5):
            pass
        street.time += 5
        pool.expire()
        await settle()
        assert street.alive == {}


async def test_unloading_waits_for_answers_and_later_requests_load_again() -> None:
    street = Street({"a": 4})
    async with street.pool() as pool:
        async with street.using(pool, "a"):
            unloading = asyncio.ensure_future(pool.unload("a"))
            await settle()
            later = asyncio.ensure_future(use(street, pool, "a"))
            await settle()
            assert (unloading.done(), later.done(), set(street.alive)) == (False, False, {"a"})
        report = await unloading
        assert (report.id, report.freed_bytes) == ("a", 4)
        await later
        assert street.begun == ["a", "a"]
        await pool.unload("a")
        with pytest.raises(Conflict, match="'a' is not loaded"):
            await pool.unload("a")


async def test_unloading_by_force_does_not_wait() -> None:
    street = Street({"a": 4}, forced={"a"})
    async with street.pool() as pool:
        async with street.using(pool, "a"):
            await pool.unload("a", force=True)
            assert street.alive == {}
        await use(street, pool, "a")


@pytest.mark.parametrize("force", [False, True])
async def test_unloading_breaks_off_a_load_that_no_request_waits_for(force: bool) -> None:
    street = Street({"a": 4}, prompt=False)
    async with street.pool() as pool:
        loading = asyncio.ensure_future(use(street, pool, "a") if force else pool.load("a"))
        await settle()
        unloading = asyncio.ensure_future(pool.unload("a", force=force))
        with pytest.raises(Cancelled, match="unloaded while it was loaded"):
            await loading
        await settle()
        street.departures["a"].set_result(None)
        await unloading
        assert (street.alive, street.begun) == ({}, ["a"])


async def test_requests_that_wait_for_a_load_are_answered_before_it_is_unloaded() -> None:
    street = Street({"a": 4}, prompt=False)
    async with street.pool() as pool:
        asking = [asyncio.ensure_future(use(street, pool, "a")) for _ in range(2)]
        await settle()
        unloading = asyncio.ensure_future(pool.unload("a"))
        await settle()
        street.finish_load("a")
        await asyncio.gather(*asking)
        await settle()
        assert not unloading.done()
        street.departures["a"].set_result(None)
        await unloading
        assert (street.alive, street.begun) == ({}, ["a"])


async def test_a_load_that_went_on_for_requests_is_broken_off_when_they_leave() -> None:
    street = Street({"a": 4}, prompt=False)
    async with street.pool() as pool:
        asking = asyncio.ensure_future(use(street, pool, "a"))
        await settle()
        unloading = asyncio.ensure_future(pool.unload("a"))
        await settle()
        assert "a" not in street.departures
        asking.cancel()
        await settle()
        street.departures["a"].set_result(None)
        await unloading
        assert (street.alive, asking.cancelled()) == ({}, True)


async def test_unloading_twice_does_not_break_off_the_end_of_the_process() -> None:
    street = Street({"a": 1}, prompt=False)
    async with street.pool() as pool:
        loading = asyncio.ensure_future(pool.load("a"))
        await settle()
        unloads = [asyncio.ensure_future(pool.unload("a")) for _ in range(2)]
        await settle()
        assert (set(street.alive), pool.planned, [each.done() for each in unloads]) == ({"a"}, 1, [False, False])
        street.departures["a"].set_result(None)
        await asyncio.gather(*unloads)
        assert (street.alive, pool.planned) == ({}, 0)
        with pytest.raises(Cancelled):
            await loading


async def test_the_end_waits_for_processes_that_are_on_their_way_out() -> None:
    street = Street({"a": 1}, prompt=False)
    async with street.pool() as pool:
        loading = asyncio.ensure_future(pool.load("a"))
        await settle()
        street.finish_load("a")
        await loading
        unloading = asyncio.ensure_future(pool.unload("a"))
        await settle()
        ending = asyncio.ensure_future(pool.__aexit__(None, None, None))
        await settle()
        assert (set(street.alive), ending.done()) == ({"a"}, False)
        street.departures["a"].set_result(None)
        await asyncio.gather(ending, unloading)
        assert street.alive == {}


async def test_an_engine_that_was_given_up_is_replaced_after_a_while() -> None:
    street = Street({"a": 4})
    async with street.pool() as pool:
        await use(street, pool, "a")
        street.alive["a"].state = "failed"
        with pytest.raises(EngineFailed, match="it died"):
            await use(street, pool, "a")
        await settle()
        assert (street.alive, pool.slot("a").state) == ({}, "failed")
        street.time += PAUSE_SECONDS
        await use(street, pool, "a")
        assert [event.reason for event in street.events if isinstance(event, ModelInvalidated)] == ["error"]
        assert [event.model for event in street.events if isinstance(event, ModelLoaded)] == ["a", "a"]


async def test_the_end_is_told_to_those_who_wait() -> None:
    street = Street({"a": 6, "b": 6}, prompt=False)
    async with street.pool() as pool:
        asking = [asyncio.ensure_future(use(street, pool, name)) for name in ("a", "b")]
        await settle()
        street.prompt = True
    for each in asking:
        with pytest.raises(Cancelled, match="shutting down"):
            await each
    assert street.alive == {}


async def test_names_that_nobody_knows() -> None:
    async with Street({"a": 4}).pool() as pool:
        with pytest.raises(ModelNotFound, match="'b'"):
            await pool.load("b")
