"""How data is shown: JSON for programs, tables for people, sizes and durations in units that people read.

Rich is imported only when a table is drawn.
"""

import json
import sys
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

Cell = tuple[str, str]
"""Text and style, such as `("failed", "red")`. Styles are those of the terminal's own palette, so they suit light and dark."""


@contextmanager
def waiting(text: str, *, quiet: bool = False) -> Generator[Callable[[], None]]:
    """A spinner on standard error until the yielded function is called or the block ends; nothing where that is no terminal."""
    context = click.get_current_context(silent=True)
    screen = console(color=context.color if context else None, error=True)
    if quiet or not screen.is_terminal:
        yield lambda: None
        return
    with screen.status(f"{text} …", spinner="dots") as status:
        yield status.stop


def print_json(data: object) -> None:
    """One JSON document, indented, on standard output."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def console(*, color: bool | None, error: bool = False) -> "Console":
    """A rich console that keeps to `color` (False: none; None: where the stream is a terminal)."""
    from rich.console import Console

    return Console(stderr=error, no_color=color is False, highlight=False, soft_wrap=error, emoji=False, markup=False)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Cell]],
    *,
    color: bool | None,
    numeric: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """A table without frames: columns apart by two spaces, names of `numeric` columns to the right.

    On a terminal that is too narrow, `optional` columns are left out in their order, and then long cells fold; elsewhere nothing is cut
    and nothing coloured, so that the output can be searched.
    """
    if not sys.stdout.isatty():
        _print_plain_table(columns, rows, numeric)
        return
    from rich.table import Table
    from rich.text import Text

    screen = console(color=color)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    left = _fitting(columns, _widths(columns, rows), optional, screen.width)
    for name in left:
        table.add_column(name, justify="right" if name in numeric else "left", overflow="fold", no_wrap=name in numeric)
    for row in rows:
        shown = (cell for name, cell in zip(columns, row, strict=True) if name in left)
        table.add_row(*(Text(cell) if isinstance(cell, str) else Text(cell[0], style=cell[1]) for cell in shown))
    screen.print(table)


def _print_plain_table(columns: Sequence[str], rows: Sequence[Sequence[str | Cell]], numeric: Sequence[str]) -> None:
    widths = _widths(columns, rows)
    for row in (columns, *(map(_text, row) for row in rows)):
        cells = zip(columns, row, widths, strict=True)
        click.echo("  ".join(text.rjust(width) if name in numeric else text.ljust(width) for name, text, width in cells).rstrip())


def _text(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> list[int]:
    return [max(len(name), *(len(_text(row[index])) for row in rows), 0) for index, name in enumerate(columns)]


def _fitting(columns: Sequence[str], widths: Sequence[int], optional: Sequence[str], most: int) -> list[str]:
    """The columns that are shown on a screen of `most` letters."""
    width = dict(zip(columns, widths, strict=True))
    left = list(columns)
    for name in optional:
        if sum(width[each] + 2 for each in left) - 2 <= most:
            break
        left.remove(name)
    return left


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one pair a line, values aligned."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def human_bytes(size: int | None) -> str:
    """1536 -> '1.5 KiB'; None -> '?'."""
    if size is None:
        return "?"
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def human_count(count: int) -> str:
    """1234567 -> '1.2 M'."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def human_seconds(seconds: float | None) -> str:
    """0.0123 -> '12.3 ms'; 90 -> '1 min 30 s'; None -> '?'."""
    if seconds is None:
        return "?"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def printable(text: str) -> str:
    """`text` without control characters other than line ends and tabs: a model's answer must not steer the terminal."""
    return "".join(character for character in text if character in "\n\t" or unicodedata.category(character) != "Cc")
