"""Who goes when another model needs the room. Pure: no clocks, no tasks."""

from collections.abc import Sequence

from pomona.fleet.residency.slots import Slot


def choose(slots: Sequence[Slot], *, bytes_short: int, places_short: int) -> list[Slot] | None:
    """The models that are to go, fewest first in harm: idle ones by last use, then busy ones by time in memory; None if all is not enough.

    Pinned models, and those that load or go already, are never chosen; the default model goes last among the idle.
    """
    able = [slot for slot in slots if slot.stay is not None and slot.stay.open and not slot.pinned]
    chosen: list[Slot] = []
    for slot in sorted(able, key=_harm):
        if bytes_short <= 0 and places_short <= 0:
            break
        chosen.append(slot)
        bytes_short -= planned(slot)
        places_short -= 1
    return chosen if bytes_short <= 0 and places_short <= 0 else None


def planned(slot: Slot) -> int:
    """Bytes that are planned for it now."""
    return slot.stay.plan.total if slot.stay else 0


def _harm(slot: Slot) -> tuple[bool, bool, float]:
    """Idle before busy. Among the busy the one that had its turn for longest: so all get their turn."""
    stay = slot.stay
    if stay is None:
        return False, False, 0.0
    busy = stay.leases > 0
    return busy, slot.default and not busy, stay.loaded_at if busy else stay.used_at
