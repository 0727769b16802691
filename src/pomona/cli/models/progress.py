"""How far a pull is: bars on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from pomona.hub.pulling import Progress

LINE_SECONDS = 5.0
LINE_SHARE = 0.1
WORDS = {"downloading": "Downloading", "verifying": "Checking", "converting": "Converting"}


@contextmanager
def shown_progress(reference: str, *, quiet: bool) -> "Generator[Callable[[Progress], None]]":
    """What to tell how far it is. Everything goes to standard error."""
    from pomona.cli.output import console

    context = click.get_current_context(silent=True)
    screen = console(color=context.color if context else None, error=True)
    if quiet:
        yield lambda _now: None
    elif not screen.is_terminal:
        yield PlainLines(reference).note
    else:
        with _bars(screen) as bars:
            yield _Board(bars, reference).note


class PlainLines:
    """A line when the work changes, and every tenth of the way or five seconds, whichever comes later."""

    def __init__(self, reference: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reference = reference
        self._clock = clock
        self._state = ""
        self._said = (0.0, 0.0)

    def note(self, now: "Progress") -> None:
        """Say it, if it is time."""
        from pomona.cli.output import human_bytes

        share, seconds = now.done / now.total if now.total else 0.0, self._clock()
        before, then = self._said
        whole = share == 1.0 and before < 1.0
        if now.state == self._state and not whole and (share - before < LINE_SHARE or seconds - then < LINE_SECONDS):
            return
        self._state, self._said = now.state, (share, seconds)
        amount = f" {human_bytes(now.done)} of {human_bytes(now.total)}" if now.state == "downloading" else ""
        click.echo(f"{WORDS.get(now.state, now.state)} {self._reference}:{amount} {share:.0%}", err=True)


class _Board:
    def __init__(self, bars: "Bars", reference: str) -> None:
        self._bars = bars
        self._reference = reference
        self._task: int | None = None
        self._state = ""

    def note(self, now: "Progress") -> None:
        if now.state != self._state:
            if self._task is not None:
                self._bars.update(self._task, completed=self._bars.tasks[-1].total)  # pyright: ignore[reportArgumentType]
            self._task = self._bars.add_task(WORDS.get(now.state, now.state), total=None, file="", size="")
            self._state = now.state
        assert self._task is not None
        self._bars.update(
            self._task,  # pyright: ignore[reportArgumentType]
            completed=now.done,
            total=now.total or None,
            file=(now.file or "")[-40:],
            size=_size(now),
        )


def _size(now: "Progress") -> str:
    from pomona.cli.output import human_bytes

    return f"{human_bytes(now.done)} of {human_bytes(now.total)}" if now.state == "downloading" else ""


def _bars(screen: object) -> "Bars":
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class SpeedColumn(ProgressColumn):
        """Bytes a second, while it downloads."""

        def render(self, task: "Task") -> Text:
            from pomona.cli.output import human_bytes

            speed = task.finished_speed or task.speed
            return Text(f"{human_bytes(int(speed))}/s" if speed and task.fields["size"] else "", style="dim")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[size]}"),
        SpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[file]}", style="dim"),
        console=screen,  # pyright: ignore[reportArgumentType]
    )
