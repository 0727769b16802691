"""What was measured, one file a cell, so that a crash or the end of a lease costs one cell and not the rest.

A file is there as soon as its cell begins: a cell that killed its process is not tried again in the same folder.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One contender at one kind of work. `context` tokens are there before what is measured."""

    part: str
    shape: str
    contender: str
    rows: int = 1
    context: int = 0

    @property
    def key(self) -> str:
        """The name of its file."""
        return f"{self.part}-{self.shape}-{self.contender}-{self.rows}x{self.context}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`values` by name: tokens per second, seconds, bytes. `trouble` says why there are none."""

    cell: Cell
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    trouble: str = ""


class Store:
    """A folder of outcomes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, cell: Cell) -> bool:
        """Whether it is still to be measured; from now on it is not."""
        path = self._path(cell)
        if path.exists():
            return False
        self._write(path, Outcome(cell=cell, trouble="its process ended"))
        return True

    def end(self, cell: Cell, values: Mapping[str, float], trouble: str = "") -> None:
        """It is measured."""
        self._write(self._path(cell), Outcome(cell=cell, values=values, trouble=trouble))

    def outcomes(self) -> list[Outcome]:
        """All of them, the oldest first."""
        files = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [_read(path) for path in files]

    def _path(self, cell: Cell) -> Path:
        return self._folder / f"{cell.key}.json"

    @staticmethod
    def _write(path: Path, outcome: Outcome) -> None:
        path.write_text(json.dumps(asdict(outcome)), encoding="utf-8")


class Deadline:
    """No cell is begun behind it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())


def _read(path: Path) -> Outcome:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(cell=Cell(**document["cell"]), values=document["values"], trouble=document["trouble"])
