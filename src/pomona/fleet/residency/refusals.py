"""What those are told who cannot have their model."""

from collections.abc import Iterable
from copy import copy

from pomona.core.errors import DoesNotFit, Overloaded, PomonaError
from pomona.fleet.residency.memory.planning import Needs
from pomona.fleet.residency.slots import Slot

SWAP_SECONDS = 5.0
"""What those who waited in vain are told to wait before they try again."""


def refuse(slot: Slot, error: PomonaError) -> None:
    """Everybody who waits for `slot` gets a copy of `error`."""
    while slot.waiters:
        waiter = slot.waiters.popleft()
        if not waiter.done():
            waiter.set_exception(copy(error))


def overdue(slot: Slot, waited_seconds: float | None) -> Overloaded:
    """Waited for too long."""
    what = "it still loads" if slot.stay else "other models are busy or pinned, and there is no room for it beside them"
    return Overloaded(f"Waited {waited_seconds:g} seconds for the model {slot.name!r}: {what}. Try again later.", retry_after=SWAP_SECONDS)


def no_room(slot: Slot, slots: Iterable[Slot]) -> Overloaded:
    """Waiting is of no use."""
    pinned = ", ".join(repr(each.name) for each in slots if each.pinned and each.stay)
    return Overloaded(
        f"There is no room for the model {slot.name!r} beside those that are pinned ({pinned}). Unpin or unload one of them, "
        "or raise residency.memory_bytes or residency.max_models.",
        retry_after=SWAP_SECONDS,
    )


def does_not_fit(slot: Slot, needs: Needs, budget: int) -> DoesNotFit:
    """Not even alone."""
    return DoesNotFit(
        f"The model {slot.name!r} needs {_size(needs.least)} ({_size(needs.weights)} of them for weights); all models together may use "
        f"{_size(budget)}. Choose a smaller or quantised one, or raise residency.memory_bytes or residency.memory_share.",
        required_bytes=needs.least,
        available_bytes=budget,
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
