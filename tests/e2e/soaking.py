"""A soak in pieces: each writes down how memory went, and what they say together is judged."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

JUDGED_SECONDS = 600
"""Less says nothing: caches fill, and the allocator keeps what it once had."""
MOST_GROWTH = 48 * 2**20
"""Bytes an hour: a gateway of 130 MiB would then need a night to double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One server's life under load. `growth` is in bytes an hour, over the last two thirds of `seconds`."""

    seconds: float
    answered: int
    left: int
    early_bytes: int
    late_bytes: int
    growth: float


def piece_of(readings: Sequence[int], seconds: float, *, answered: int, left: int) -> Piece:
    """What `readings` of memory, in equal steps over `seconds`, say."""
    third = len(readings) // 3
    return Piece(
        seconds=seconds,
        answered=answered,
        left=left,
        early_bytes=max(readings[third : 2 * third]),
        late_bytes=max(readings[2 * third :]),
        growth=slope(readings[third:]) * len(readings) / seconds * 3600,
    )


def slope(values: Sequence[float]) -> float:
    """Change from one value to the next, by least squares."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    above = sum((index - middle) * (value - mean) for index, value in enumerate(values))
    return above / (sum((index - middle) ** 2 for index in range(len(values))) or 1.0)


def note(file: Path | None, piece: Piece) -> list[Piece]:
    """Add `piece` to those in `file`, if there is one; all of them."""
    if file is None:
        return [piece]
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(piece)) + "\n")
    return [Piece(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def growth_of(pieces: Sequence[Piece]) -> float:
    """Bytes an hour over all of them, long ones counting more: a slope is as certain as the cube of its time."""
    weight = sum(piece.seconds**3 for piece in pieces)
    return sum(piece.growth * piece.seconds**3 for piece in pieces) / weight
