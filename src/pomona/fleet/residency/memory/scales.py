"""Weighs models in memory, corrects their plans, and remembers for the next time."""

from collections.abc import Callable
from dataclasses import replace

from pomona.core.status import MemoryPlan
from pomona.fleet.residency.memory.measuring import Measure, MeasureBook
from pomona.fleet.residency.memory.planning import PROCESS_BYTES, Measured
from pomona.fleet.residency.slots import Slot, Stay

WORTH_NOTING = 1.05
"""The book is written again when what it says grows by more than this."""


class Scales:
    """`key` names a model as it is run here: another device or type of keys and values is another entry."""

    def __init__(self, book: MeasureBook, measure: Measure, key: Callable[[Slot], str]) -> None:
        self._book = book
        self._measure = measure
        self._key = key

    def known(self, slot: Slot) -> Measured | None:
        """What it took in earlier times."""
        return self._book.get(self._key(slot))

    def weigh(self, slot: Slot) -> None:
        """Measure it now. The first time, right after loading, tells what it takes at rest; later ones what work takes at most."""
        stay = slot.stay
        if stay is None or stay.resident is None:
            return
        report = stay.resident.engine.report()
        taken = self._measure(report)
        if taken is None:
            return
        first = stay.resting is None
        slot.measured = taken if first else max(slot.measured or 0, taken)
        bare = max(1, taken - report.counters.kv_bytes)
        stay.resting = bare if stay.resting is None else stay.resting
        stay.working = max(stay.working, bare - stay.resting)
        stay.plan = _corrected(stay.plan, stay.resting, stay.working)
        self._note(slot, stay.resting, stay)

    def _note(self, slot: Slot, resting: int, stay: Stay) -> None:
        key = self._key(slot)
        known = self._book.get(key)
        working = max(stay.working, known.working if known else 0)
        if known is None or known.resting != resting or working > known.working * WORTH_NOTING:
            self._book.put(key, Measured(resting=resting, working=working))


def _corrected(plan: MemoryPlan, resting: int, working: int) -> MemoryPlan:
    process = min(PROCESS_BYTES, resting)
    return replace(plan, process=process, weights=resting - process, activations=max(plan.activations, working))
