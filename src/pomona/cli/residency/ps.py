"""`pomona ps`: the models in memory."""

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from pomona.cli.options import Invocation, PomonaCommand, invocation_of, json_option
from pomona.cli.residency.connecting import connect, server_options

if TYPE_CHECKING:
    from pomona.cli.output import Cell
    from pomona.ops.admin_client import AdminClient, Json

_COLORS = {"ready": "green", "loading": "yellow", "waiting": "yellow", "unloading": "yellow", "failed": "red", "unloaded": ""}
_IN_MEMORY = {"waiting", "loading", "ready", "unloading"}
_LEVEL_COLORS = {"safe": "green", "caution": "yellow", "warning": "yellow", "critical": "red", "emergency": "red"}


@click.command(cls=PomonaCommand)
@server_options
@click.option("-a", "--all", "everything", is_flag=True, help="Models that are not in memory too.")
@click.option(
    "-w", "--watch", type=click.FloatRange(min=0.05), is_flag=False, flag_value=2.0, metavar="[SECONDS]", help="Show it again and again."
)
@json_option
@click.pass_context
def list_resident(context: click.Context, /, watch: float | None, **options: Any) -> None:
    """Show the models that a running server has in memory: state, memory, answers at work, and how long each one stays.

    \b
      pomona ps
      pomona ps --watch
      pomona ps --all --json
    """
    asyncio.run(_show(invocation_of(context), context, watch=watch, **options))


async def _show(
    invocation: Invocation, context: click.Context, *, watch: float | None, everything: bool, as_json: bool, **server: str | None
) -> None:
    from pomona.cli.output import print_json

    async with connect(invocation, server["url"], server["api_key"]) as client:
        while True:
            document = await _look(client, everything=everything)
            if watch is None:
                print_json(document) if as_json else _print(document, context)
                return
            if as_json:
                click.echo(json.dumps(document, ensure_ascii=False))
            else:
                if sys.stdout.isatty():
                    click.clear()
                _print(document, context)
            await asyncio.sleep(watch)


async def _look(client: "AdminClient", *, everything: bool) -> "Json":
    models = await client.models()
    return {"models": [model for model in models if everything or model["state"] in _IN_MEMORY], "memory": await client.memory()}


def _print(document: "Json", context: click.Context) -> None:
    from pomona.cli.output import human_bytes, print_table

    models: list[Json] = document["models"]
    if models:
        columns = ("model", "task", "state", "memory", "active", "waiting", "stays", "pinned")
        print_table(columns, [_row(model) for model in models], color=context.color, numeric=("memory", "active", "waiting"))
    else:
        click.echo("No model is in memory; the next request loads the one that it names. `pomona load NAME` does so now.")
    memory: Json = document["memory"]
    level = click.style(memory["status"], fg=_LEVEL_COLORS.get(memory["status"]))
    of_budget = f"{human_bytes(memory['planned_bytes'])} of {human_bytes(memory['budget_bytes'])} planned"
    click.echo(f"memory: {of_budget}, {human_bytes(memory['free_bytes'])} free, {level}")


def _row(model: "Json") -> "list[str | Cell]":
    from pomona.cli.output import human_bytes

    plan: Json = model["plan"] or {}
    size = model["measured_bytes"] if model["measured_bytes"] is not None else plan.get("total")
    state = model["state"]
    return [
        (model["id"], "bold"),
        model["task"],
        (state, _COLORS.get(state, "")),
        human_bytes(size),
        str(model["active_requests"]),
        str(model["waiting_requests"]),
        _stay(model),
        "yes" if model["pinned"] else "",
    ]


def _stay(model: "Json") -> str:
    """How long it stays if nobody asks for it."""
    if model["state"] != "ready":
        return str(model["problem"] or "") if model["state"] == "failed" else ""
    if model["active_requests"]:
        return "busy"
    if model["expires_at"] is None:
        return "for ever"
    left = model["expires_at"] - time.time()
    return f"{_coarse(left)} more" if left >= 1 else "goes now"


def _coarse(seconds: float) -> str:
    """42 s, 5 min, 2 h: a person watches it fall."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
