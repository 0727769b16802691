"""`pomona load`, `pomona unload` and `pomona pin`: models in and out of a running server's memory."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pomona.cli.options import Invocation, PomonaCommand, invocation_of, json_option
from pomona.cli.residency.connecting import connect, server_options

if TYPE_CHECKING:
    from pomona.ops.admin_client import AdminClient, Json

Answer = TypeVar("Answer")
LOOK_SECONDS = 0.3
_HOLDING = ("ready", "loading")


@click.command(cls=PomonaCommand)
@server_options
@click.argument("name")
@click.option(
    "--keep-alive", metavar="TIME", help="How long it stays after its last request: seconds, or 10m, 1h; 0: not at all, -1: for ever."
)
@click.option("--pin", is_flag=True, help="Keep it in memory from now on.")
@json_option
@click.pass_context
def load_model(context: click.Context, /, name: str, keep_alive: str | None, pin: bool, as_json: bool, **server: Any) -> None:
    """Load the model NAME in a running server and wait until it answers.

    \b
      pomona load mlx-community/Qwen3-8B-4bit
      pomona load small-model --keep-alive 1h --pin
    """
    from pomona.cli.output import human_bytes, human_seconds, print_json

    invocation = invocation_of(context)

    async def work(client: "AdminClient") -> "Json":
        return await _with_progress(client.load(name, keep_alive=keep_alive, pin=pin), client, name, quiet=invocation.verbosity < 0)

    answer = _talk(invocation, work, **server)
    if as_json:
        print_json(answer)
        return
    details: Json = answer["details"]
    plan: Json = details["plan"] or {}
    size = details["measured_bytes"] if details["measured_bytes"] is not None else plan.get("total")
    took = f" in {human_seconds(answer['load_time'])}" if answer["load_time"] is not None else ""
    pinned = ", pinned" if details["pinned"] else ""
    click.echo(f"{answer['model']} is loaded{took}: {human_bytes(size)}{pinned}.")


@click.command(cls=PomonaCommand)
@server_options
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="All models that are loaded.")
@click.option("--force", is_flag=True, help="End their answers rather than wait for them.")
@json_option
@click.pass_context
def unload_model(context: click.Context, /, name: str | None, everything: bool, force: bool, as_json: bool, **server: Any) -> None:
    """Unload the model NAME from a running server, once its answers have ended.

    \b
      pomona unload small-model
      pomona unload --all --force
    """
    from pomona.cli.output import human_bytes, human_seconds, print_json

    if (name is None) is not everything:
        raise click.UsageError("Give either the NAME of a model or --all.", context)

    async def work(client: "AdminClient") -> "list[Json]":
        names = [name] if name else [str(model["id"]) for model in await client.models() if model["state"] in _HOLDING]
        return [await client.unload(each, force=force) for each in names]

    reports = _talk(invocation_of(context), work, **server)
    if as_json:
        print_json(reports)
        return
    for report in reports:
        freed, took = human_bytes(report["freed_bytes"]), human_seconds(report["unload_time"])
        click.echo(f"{report['model']} is unloaded in {took}: {freed} freed.")
    if not reports:
        click.echo("No model was loaded.")


@click.command(cls=PomonaCommand)
@server_options
@click.argument("name")
@click.option("--off", is_flag=True, help="Let go of it: it is unloaded when idle, or when another model needs the room.")
@json_option
@click.pass_context
def pin_model(context: click.Context, /, name: str, off: bool, as_json: bool, **server: Any) -> None:
    """Keep the model NAME in a running server's memory once it is loaded, now and after restarts. It is not loaded by this."""
    from pomona.cli.output import print_json

    model = _talk(invocation_of(context), lambda client: client.pin(name, pinned=not off), **server)
    if as_json:
        print_json(model)
    elif off:
        click.echo(f"{model['id']} is not pinned.")
    else:
        click.echo(f"{model['id']} is pinned{'' if model['loaded'] else '; `pomona load` loads it'}.")


def _talk(invocation: Invocation, work: "Callable[[AdminClient], Awaitable[Answer]]", *, url: str | None, api_key: str | None) -> Answer:
    async def talk() -> Answer:
        async with connect(invocation, url, api_key) as client:
            return await work(client)

    return asyncio.run(talk())


async def _with_progress(work: "Coroutine[object, object, Json]", client: "AdminClient", name: str, *, quiet: bool) -> "Json":
    """The answer of `work`; meanwhile a line on the terminal says how the model is."""
    from pomona.cli.output import console

    screen = console(color=None, error=True)
    if quiet or not screen.is_terminal:
        return await work
    loading = asyncio.ensure_future(work)
    with screen.status(f"Loading {name} …", spinner="dots") as status:
        while not loading.done():
            await asyncio.wait([loading], timeout=LOOK_SECONDS)
            status.update(f"{await _doing(client, name)} {name} …")
    return loading.result()


async def _doing(client: "AdminClient", name: str) -> str:
    from pomona.core.errors import PomonaError

    try:
        state = (await client.model(name))["state"]
    except PomonaError:  # whoever loads it will be told the same
        return "Loading"
    return {"waiting": "Waiting for memory for", "unloading": "Waiting for the end of"}.get(state, "Loading")
