"""When a process is kept in spare."""

import asyncio

import pytest

from pomona.fleet.residency.maintenance import Maintenance
from pomona.fleet.residency.memory.guard import GIB, MemoryGuard
from pomona.fleet.residency.memory.planning import PROCESS_BYTES
from pomona.models.device import Memory
from tests.unit.fleet.residency.street import Street, settle


def guard(free: list[float]) -> MemoryGuard:
    """Reads the last number of `free`, in GiB."""
    return MemoryGuard(lambda: Memory(total_bytes=16 * GIB, free_bytes=int(free[-1] * GIB)), (3, 2, 1, 0.5), enabled=True, park_seconds=5)


async def test_it_goes_while_memory_is_short() -> None:
    street, free = Street({}, budget=PROCESS_BYTES), [9.0]
    async with street.pool() as pool:
        maintenance = Maintenance(pool, guard(free), street.means)
        seen: list[bool] = []
        for gib in (9.0, 2.9, 3.1, 9.0):
            free.append(gib)
            maintenance.look()
            seen.append(street.spare.has_spare)
    assert seen == [True, False, False, True]


@pytest.mark.parametrize(("beside", "kept"), [(PROCESS_BYTES, True), (PROCESS_BYTES - 1, False)])
async def test_it_counts_in_the_budget_and_goes_when_models_need_it(beside: int, kept: bool) -> None:
    street = Street({"a": 1000}, budget=1000 + beside)
    async with street.pool() as pool:
        maintenance = Maintenance(pool, guard([9.0]), street.means)
        maintenance.look()
        assert street.spare.has_spare
        async with street.using(pool, "a"):  # a spare is in nobody's way: the model comes into it
            maintenance.look()
        assert street.spare.has_spare == kept


async def test_none_is_started_while_a_model_loads_and_one_as_soon_as_it_is_there() -> None:
    street = Street({"a": 1}, budget=PROCESS_BYTES + 1, prompt=False)
    async with street.pool() as pool:
        maintenance = Maintenance(pool, guard([9.0]), street.means)
        loading = asyncio.ensure_future(pool.load("a"))
        await settle()
        async with maintenance.on_duty():
            await settle()
            assert not street.spare.has_spare
            street.finish_load("a")
            await loading
            await settle()
            assert street.spare.has_spare
        street.prompt = True


async def test_none_is_started_while_an_engine_that_died_comes_again() -> None:
    street = Street({"a": 1}, budget=PROCESS_BYTES + 1)
    async with street.pool() as pool:
        maintenance = Maintenance(pool, guard([9.0]), street.means)
        seen: list[bool] = []
        async with street.using(pool, "a"):
            for state in ("restarting", "ready"):
                street.alive["a"].state = state
                maintenance.look()
                seen.append(street.spare.has_spare)
    assert seen == [False, True]
