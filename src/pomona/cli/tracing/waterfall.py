"""One request as a waterfall: what it did from its first byte to its last, over a common scale of time.

Colours are those of the terminal's own palette, so they suit light and dark; work and waiting differ by their letters too.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from pomona.cli.output import Cell, console, human_seconds, print_table, printable

Json = dict[str, Any]
_COLORS: Mapping[str, str] = {
    "receive": "bright_blue",
    "template": "bright_blue",
    "pictures": "bright_blue",
    "control": "bright_blue",
    "queue": "yellow",
    "load": "yellow",
    "cache": "magenta",
    "prefill": "cyan",
    "vectors": "cyan",
    "decode": "green",
    "behind": "red",
    "stall": "red",
    "put_back": "red",
    "restart": "red",
    "reader": "magenta",
    "write": "magenta",
    "parse": "bright_blue",
    "deliver": "bright_blue",
}
_WORK = frozenset({"receive", "template", "pictures", "control", "prefill", "vectors", "decode", "parse", "deliver"})
_SMALL = 0.002
"""Of the whole: what is smaller is not drawn on a terminal."""
_LABEL, _NUMBER, _LEAST_BAR, _MOST_BAR = 10, 9, 20, 100


def print_trace(document: Json, *, color: bool | None) -> None:
    """All that GET /admin/requests/{id}/explain says, for a person."""
    click.echo(_title(document))
    if sys.stdout.isatty():
        _draw(document, color)
    else:
        _print_plain(document)
    click.echo()
    for line in document["summary"]:
        click.echo(f"- {printable(line)}")
    for line in _details(document):
        click.echo(click.style(line, dim=True))


def _title(document: Json) -> str:
    first = document["first_token_seconds"]
    facts = [
        click.style(printable(str(document["id"])), bold=True),
        *(printable(each) for each in document["answer_ids"][:1]),
        str(document["endpoint"]),
        printable(str(document["model"] or "")),
        click.style(str(document["outcome"]), fg={"ok": "green", "running": "cyan"}.get(document["outcome"], "yellow")),
        human_seconds(document["seconds"]) + ("" if first is None else f" (first token after {human_seconds(first)})"),
    ]
    return "  ".join(fact for fact in facts if fact)


def _draw(document: Json, color: bool | None) -> None:
    from rich.text import Text

    screen = console(color=color)
    width = max(_LEAST_BAR, min(_MOST_BAR, screen.width - _LABEL - _NUMBER - 3))
    total = max(float(document["seconds"]), 1e-9)
    items: list[Json] = [item for item in document["timeline"] if item["seconds"] >= _SMALL * total]
    for item in items:
        line = Text(name_of(item["name"]).ljust(_LABEL))
        line.append(" " * min(width - 1, int(width * item["start"] / total)))
        for letters, phase in _bar(item, width / total):
            line.append(letters, style=_COLORS.get(phase, ""))
        line.pad_right(max(0, _LABEL + width - line.cell_len))
        line.append(human_seconds(item["seconds"]).rjust(_NUMBER + 1))
        screen.print(line, soft_wrap=True)
    small = len(document["timeline"]) - len(items)
    legend = Text()
    for phase in dict.fromkeys(part["phase"] for item in items for part in item["parts"]):
        legend.append("█ " if phase in _WORK else "▒ ", style=_COLORS.get(phase, ""))
        legend.append(f"{name_of(phase)}  ", style="dim")
    screen.print(legend.append(f"and {small} short ones" if small else "", style="dim"), soft_wrap=True)


def _bar(item: Json, scale: float) -> Iterator[tuple[str, str]]:
    """The parts of a bar as (letters, phase); at least one letter in all. Parts mingled in time, so their order says nothing."""
    drawn = 0
    reached = float(item["start"])
    first = int(scale * reached)
    parts: Sequence[Json] = item["parts"]
    for part in parts:
        reached += part["seconds"]
        length = int(scale * reached) - first - drawn
        drawn += length
        yield ("█" if part["phase"] in _WORK else "▒") * length, part["phase"]
    if not drawn:
        yield "▏", parts[0]["phase"]


def _print_plain(document: Json) -> None:
    total = max(float(document["seconds"]), 1e-9)
    rows: list[list[str | Cell]] = []
    for item in document["timeline"]:
        parts = [f"{part['name']} {human_seconds(part['seconds'])}" for part in item["parts"]]
        share = f"{100 * item['seconds'] / total:.1f}%"
        of = f" ({', '.join(parts)})" if len(parts) > 1 else ""
        rows.append([human_seconds(item["start"]), human_seconds(item["seconds"]), share, item["name"], item["text"] + of])
    print_table(("start", "seconds", "share", "what", "in words"), rows, color=False, numeric=("start", "seconds", "share"))


def _details(document: Json) -> Iterator[str]:
    tokens, engine, parent = document["tokens"], document["engine"], document["trace_parent"]
    cached = f", {tokens['cached']} of them cached" if tokens["cached"] else ""
    disk = f" ({tokens['cached_from_disk']} from disk)" if tokens["cached_from_disk"] else ""
    guesses = f"; {tokens['guessed_right']} of {tokens['guessed']} guesses right" if tokens["guessed"] else ""
    yield f"tokens: {tokens['prompt']} in the prompt{cached}{disk}, {tokens['completion']} in the answer{guesses}"
    if engine:
        yield (
            f"device: prompt {human_seconds(engine['prefill_seconds'])} in {_passes(engine['prefill_passes'])}, tokens "
            f"{human_seconds(engine['decode_seconds'])} in {_passes(engine['decode_passes'])} "
            f"({human_seconds(engine['decode_share_seconds'])} by the rows that shared them)"
        )
    beside: Json = document["beside"]
    works = ", ".join(f"{name} {human_seconds(beside[f'{name}_seconds'])}" for name in ("parse", "encode", "write"))
    yield f"gateway, while the engine worked too: {works}"
    if parent:
        yield f"part of the trace {parent['trace_id']}, span {parent['span_id']}"


def _passes(count: int) -> str:
    return "1 pass" if count == 1 else f"{count} passes"


def name_of(name: str) -> str:
    """Of a phase or a step, for people."""
    return name.replace("_", " ")
