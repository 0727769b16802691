"""The last requests as a table, and one as a line."""

import time
from collections.abc import Mapping
from typing import Any

import click

from pomona.cli.output import Cell, human_seconds, print_table, printable
from pomona.cli.tracing.waterfall import name_of

Json = dict[str, Any]
_COLORS: Mapping[str, str] = {"ok": "green", "running": "cyan", "cancelled": "yellow"}
_COLUMNS = ("time", "id", "endpoint", "model", "outcome", "seconds", "first token", "prompt", "answer", "most of it")
_NUMBERS = ("seconds", "first token", "prompt", "answer")
_OPTIONAL = ("endpoint", "first token", "answer", "prompt", "model", "time")


def print_requests(page: Json, *, color: bool | None) -> None:
    """A page of GET /admin/requests."""
    requests: list[Json] = page["requests"]
    if not requests:
        click.echo(_nothing(page))
        return
    print_table(_COLUMNS, [_row(request) for request in requests], color=color, numeric=_NUMBERS, optional=_OPTIONAL)
    if page["found"] > len(requests):
        click.echo(f"{page['found'] - len(requests)} more; `--limit {page['found']}` shows them.")


def line_of(request: Json) -> str:
    """A request that ended."""
    longest: Json = request["longest"]
    when, outcome = time.strftime("%H:%M:%S", time.localtime(request["arrived_at"])), str(request["outcome"])
    text = (
        f"{human_seconds(request['seconds'])}, {name_of(longest['phase'])} {human_seconds(longest['seconds'])}, "
        f"{request['prompt_tokens']} + {request['completion_tokens']} tokens"
    )
    shown = f"{request['id']}  {request['endpoint']}  {request['model'] or ''}"
    return f"{click.style(when, dim=True)}  {printable(shown)}  {click.style(outcome, fg=_COLORS.get(outcome, 'red'))}  {text}"


def _nothing(page: Json) -> str:
    if page["kept"]:
        return f"None of the {page['kept']} requests that are kept is like that; `pomona trace` lists them all."
    return "No request has come yet. What clients send to the public address is listed here, with where its time went."


def _row(request: Json) -> list[str | Cell]:
    outcome, longest = str(request["outcome"]), request["longest"]
    most = f"{name_of(longest['phase'])} {human_seconds(longest['seconds'])}"
    doing = f"now: {name_of(request['now'] or 'other')}" if request["running"] else most
    cached = f" ({request['cached_tokens']} cached)" if request["cached_tokens"] else ""
    return [
        time.strftime("%H:%M:%S", time.localtime(request["arrived_at"])),
        (printable(str(request["id"])), "bold"),
        str(request["endpoint"]),
        printable(str(request["model"] or "")),
        (outcome, _COLORS.get(outcome, "red")),
        human_seconds(request["seconds"]),
        "" if request["first_token_seconds"] is None else human_seconds(request["first_token_seconds"]),
        f"{request['prompt_tokens']}{cached}",
        str(request["completion_tokens"]),
        doing,
    ]
