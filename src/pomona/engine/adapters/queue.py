"""Rows that get their adapters, and those that wait in order until there is room for theirs."""

from typing import Generic, Protocol, TypeVar

from pomona.core.errors import PomonaError
from pomona.core.generation import Prompt
from pomona.engine.adapters.bank import AdapterBank
from pomona.engine.adapters.terms import LoadedAdapter


class Asking(Protocol):
    """A row, as far as its adapter goes."""

    prompt: Prompt
    adapter: LoadedAdapter | None
    awaits_adapter: bool

    @property
    def order(self) -> tuple[int, int]:
        """Its place among all rows, the lowest first."""
        ...


Row = TypeVar("Row", bound=Asking)


class AdapterQueue(Generic[Row]):
    """Rows of one engine. While one waits, those with adapters that come after it wait too: it must not be overtaken for ever."""

    def __init__(self, bank: AdapterBank) -> None:
        self._bank = bank
        self._waiting: dict[Row, None] = {}
        self._ready: list[Row] = []
        self._freed = False

    @property
    def has_work(self) -> bool:
        """`advance` may get further."""
        return bool(self._ready) or (self._freed and bool(self._waiting))

    def add(self, row: Row) -> None:
        """A new row; if its prompt names an adapter, it gets that or waits. Raises AdapterUnusable."""
        if row.prompt.adapter is None:
            return
        if not self._waiting:
            row.adapter = self._bank.acquire(row.prompt.adapter)
        if row.adapter is None:
            row.awaits_adapter = True
            self._waiting[row] = None
        else:
            self._ready.append(row)

    def advance(self) -> list[tuple[Row, PomonaError]]:
        """Let rows have what others have left; those whose adapters cannot be used."""
        failures: list[tuple[Row, PomonaError]] = []
        if not self._freed:
            return failures
        self._freed = False
        for row in sorted(self._waiting, key=lambda row: row.order):
            try:
                row.adapter = self._bank.acquire(row.prompt.adapter or "")
            except PomonaError as error:
                failures.append((row, error))
                continue
            if row.adapter is None:
                break
            row.awaits_adapter = False
            del self._waiting[row]
            self._ready.append(row)
        return failures

    def take_ready(self) -> list[Row]:
        """Rows that have got their adapters since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def forget(self, row: Row) -> None:
        """The row has ended: its adapter, or its turn, is free."""
        if row.prompt.adapter is None:
            return
        self._bank.release(row.adapter)
        self._freed = self._freed or row in self._waiting or (row.adapter is not None and not row.adapter.rows)
        self._waiting.pop(row, None)
        if row in self._ready:
            self._ready.remove(row)
