"""Five levels of free memory, and who may come in at each."""

import asyncio
from collections.abc import Callable, Sequence

from pomona.core.errors import Overloaded
from pomona.core.generation import Priority
from pomona.core.status import GuardLevel
from pomona.models.probe import Probe

GIB = 2**30
LEVELS: tuple[GuardLevel, ...] = ("safe", "caution", "warning", "critical", "emergency")
SLACK = 1.1
"""A level is left only when this many times its bound is free: else it would be entered and left again and again."""
RETRY_SECONDS = 5.0


class MemoryGuard:
    """`bounds` are in GiB: free memory below which it is caution, warning, critical, emergency. One event loop."""

    def __init__(self, probe: Probe, bounds: Sequence[float], *, enabled: bool, park_seconds: float) -> None:
        self._probe = probe
        self._bounds = [int(bound * GIB) for bound in sorted(bounds, reverse=True)]
        self._park_seconds = park_seconds
        self._relaxed = asyncio.Event()
        self._relaxed.set()
        self.enabled = enabled
        self.level: GuardLevel = "safe"
        self.free = 0
        """Bytes, when last looked."""
        self.changed: Callable[[GuardLevel, GuardLevel], None] = lambda _old, _new: None

    def at_least(self, level: GuardLevel) -> bool:
        """It is that bad, or worse."""
        return LEVELS.index(self.level) >= LEVELS.index(level)

    def check(self) -> GuardLevel:
        """Look, and tell `changed` of another level."""
        self.free = self._probe().free_bytes
        old, self.level = self.level, self._judge(self.free) if self.enabled else "safe"
        if self.at_least("warning"):
            self._relaxed.clear()
        else:
            self._relaxed.set()
        if self.level != old:
            self.changed(old, self.level)
        return self.level

    async def admit(self, priority: Priority) -> None:
        """Let a request in. Those of low priority wait while memory is at warning or worse. Raises Overloaded."""
        self._refuse_in_emergency()
        if priority != "low" or self._relaxed.is_set():
            return
        try:
            async with asyncio.timeout(self._park_seconds):
                await self._relaxed.wait()
        except TimeoutError:
            raise Overloaded(f"Memory is short ({self._words()}), and requests of low priority wait.", retry_after=RETRY_SECONDS) from None

    def _refuse_in_emergency(self) -> None:
        if self.level == "emergency":
            raise Overloaded(
                f"Memory is nearly used up ({self._words()}): no new requests until some is free again. Try again later.",
                retry_after=RETRY_SECONDS,
            )

    def _judge(self, free: int) -> GuardLevel:
        entered = sum(free < bound for bound in self._bounds)
        kept = sum(free < bound * SLACK for bound in self._bounds)
        return LEVELS[max(entered, min(kept, LEVELS.index(self.level)))]

    def _words(self) -> str:
        return f"{self.free / GIB:.2f} GiB free, memory status {self.level}"
