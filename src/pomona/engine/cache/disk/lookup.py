"""What one row wants from disk, and how much of it there is: plain data and one plan, for the device thread and the reader."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

STATE = -1
"""In the place of a group: recurrent states."""

Key = tuple[int, bytes]
"""(group or STATE, block hash)."""


def file_name(key: Key) -> str:
    """Of the file that holds it."""
    group, block = key
    return f"{block.hex()}.{'state' if group == STATE else f'pages{group}'}"


def key_of(name: str) -> Key:
    """What the file of that name holds."""
    digits, _, kind = name.partition(".")
    return (STATE if kind == "state" else int(kind.removeprefix("pages")), bytes.fromhex(digits))


@dataclass(frozen=True, slots=True)
class Rules:
    """What going on behind some blocks takes. `needed`: per group, the blocks that a row with so many blocks still needs."""

    needed: Sequence[Callable[[int], Sequence[int]]]
    windowed: Sequence[bool]
    recurrent: bool

    def most_blocks(self, least: int, most: int, there: Callable[[int, int], bool]) -> int:
        """The most blocks, up to `most`, behind which a row can go on; `least` if none. `there(group, block)`; STATE is a group."""
        whole = [group for group, windowed in enumerate(self.windowed) if not windowed]
        leading = next((block for block in range(most) if not all(there(group, block) for group in whole)), most)
        return next((blocks for blocks in range(leading, least, -1) if self._complete(blocks, there)), least)

    def wanted(self, blocks: int) -> list[tuple[int, int]]:
        """(group, block) of all that a row with `blocks` blocks needs; what decides over all comes first, then block by block."""
        pages = [(group, block) for group, needed in enumerate(self.needed) for block in needed(blocks)]
        pages.sort(key=lambda page: page[1])
        return [(STATE, blocks - 1), *pages] if self.recurrent else pages

    def _complete(self, blocks: int, there: Callable[[int, int], bool]) -> bool:
        if self.recurrent and not there(STATE, blocks - 1):
            return False
        windows = [group for group, windowed in enumerate(self.windowed) if windowed]
        return all(there(group, block) for group in windows for block in self.needed[group](blocks))


@dataclass(slots=True, eq=False)
class Piece:
    """Some files of one group, as read: `data` (files, data_bytes) of bytes."""

    group: int
    blocks: list[bytes]
    data: np.ndarray


@dataclass(slots=True, eq=False)
class Lookup:
    """A row's wish. The reader appends `pieces` and sets `finished`; the device thread sets `dropped` when it wants no more."""

    hashes: list[bytes]
    in_memory: frozenset[Key]
    known_blocks: int
    """Those that need not come from disk."""
    deadline: float
    pieces: deque[Piece] = field(default_factory=deque[Piece])
    finished: threading.Event = field(default_factory=threading.Event)
    dropped: bool = False

    def plan(self, rules: Rules, has: Callable[[Key], bool]) -> list[Key]:
        """What to read, in order."""

        @cache
        def there(group: int, block: int) -> bool:
            key = (group, self.hashes[block])
            return key in self.in_memory or has(key)

        blocks = rules.most_blocks(self.known_blocks, len(self.hashes), there)
        if blocks == self.known_blocks:
            return []
        keys = [(group, self.hashes[block]) for group, block in rules.wanted(blocks)]
        return [key for key in keys if key not in self.in_memory]
