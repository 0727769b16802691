"""`pomona launch`: start a coding agent on the model of this machine."""

import asyncio
import difflib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import click

from pomona.cli.options import Invocation, PomonaCommand, invocation_of, json_option, model_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pomona.ops.launch.plan import Client, Plan, Target
    from pomona.ops.launch.target import Wish


class ClientName(click.ParamType[str]):
    """A client by name, checked and completed without importing them all for `--help`."""

    name = "client"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """One of the names in the catalog."""
        from pomona.ops.launch.catalog import CLIENTS

        if value not in CLIENTS:
            close = difflib.get_close_matches(str(value), CLIENTS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            self.fail(f"{value!r} is no client that Pomona can launch.{hint} Choose one of {', '.join(CLIENTS)}.", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        """The names that begin so."""
        from click.shell_completion import CompletionItem

        from pomona.ops.launch.catalog import CLIENTS

        return [CompletionItem(name, help=client.title) for name, client in CLIENTS.items() if name.startswith(incomplete)]


@click.command(cls=PomonaCommand, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@model_option
@click.option("--url", metavar="URL", help="Use the server there. Unset: the local server if it runs, else one of its own.")
@click.option("--api-key", metavar="KEY", envvar="POMONA_API_KEY", help="The server's API key, where it asks for one (or: POMONA_API_KEY).")
@click.option(
    "--compact/--full",
    "compact",
    default=None,
    help="Shorten the client's own instructions and tools, or not. Unset: where the model's context is small.",
)
@click.option("--print", "show", is_flag=True, help="Show what would be set and run, and start nothing.")
@json_option
@click.argument("client_name", metavar="CLIENT", type=ClientName(), required=False)
@click.argument("arguments", metavar="[ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def launch(
    context: click.Context, /, client_name: str | None, arguments: tuple[str, ...], compact: bool | None, show: bool, **options: object
) -> None:
    """Start CLIENT in this terminal so that it talks to the model of this machine. ARGUMENTS go to the client.

    A server is started for it unless one runs. Nothing is written to the client's own configuration. Without CLIENT, the clients
    are listed. Options of Pomona stand before CLIENT.

    \b
      pomona launch claude
      pomona launch --model mlx-community/Qwen3-8B-4bit codex exec "Explain this repository."
      pomona launch --print opencode
    """
    from pomona.ops.launch.catalog import CLIENTS

    invocation, as_json = invocation_of(context), bool(options.pop("as_json"))
    if client_name is None:
        _list_clients(as_json=as_json)
        return
    client, wish = CLIENTS[client_name], _wish(invocation, **cast("dict[str, str | None]", options))
    if show or as_json:
        target = asyncio.run(_known_target(wish, invocation))
        plan = client.plan(_fitted(target, client, compact), arguments)
        _show_plan(client, plan, arguments, as_json=as_json)
        return
    context.exit(asyncio.run(_launch(client, wish, arguments, compact, quiet=invocation.verbosity < 0)))


async def _launch(client: "Client", wish: "Wish", arguments: Sequence[str], compact: bool | None, *, quiet: bool) -> int:
    from contextlib import AsyncExitStack

    from pomona.app import environment_with
    from pomona.cli.output import waiting
    from pomona.ops.launch.run import find_program, run_client
    from pomona.ops.launch.target import find_target

    program = find_program(client)
    async with AsyncExitStack() as stack:
        with waiting("Looking for a server, or starting one", quiet=quiet):
            target = _fitted(await stack.enter_async_context(find_target(wish)), client, compact)
        if not quiet:
            click.echo(_announcement(client, target), err=True)
        return await run_client(program, client.plan(target, arguments), arguments, environment_with)


def _wish(invocation: Invocation, url: str | None, api_key: str | None) -> "Wish":
    from pomona.ops.launch.target import Wish

    settings = invocation.settings(log_level="warning").settings
    server = settings.server
    asked = invocation.overrides.get("models.default")
    return Wish(
        url=url.rstrip("/").removesuffix("/v1") if url else None,
        local_url=f"http://{server.host}:{server.port}",
        model=None if asked is None else str(asked),
        api_key=api_key or settings.access.key,
        options=invocation.as_options(),
    )


async def _known_target(wish: "Wish", invocation: Invocation) -> "Target":
    """The server that runs, or what one of our own would be."""
    from pomona.app import model_names
    from pomona.models.catalog import describe
    from pomona.ops.launch.plan import Target
    from pomona.ops.launch.target import ANY_KEY, ask_server

    target = await ask_server(wish)
    if target is not None:
        return target
    settings = invocation.settings(log_level="warning").settings
    entry = describe(settings.models.default, settings.models, names=model_names(settings))
    context = entry.facts.max_context if entry.facts else None
    return Target(url=wish.local_url, model=entry.id, max_context=context, api_key=wish.api_key or ANY_KEY)


def _fitted(target: "Target", client: "Client", compact: bool | None) -> "Target":
    return replace(target, compact=client.wants_compact(target.max_context) if compact is None else compact)


def _announcement(client: "Client", target: "Target") -> str:
    line = f"{client.title} on {target.model} at {target.url}"
    if not target.compact:
        return line
    return (
        f"{line}\nIts own instructions and tools, some {client.own_tokens:,} tokens, are shortened: the model's context is "
        f"{target.max_context:,} tokens (--full leaves them)."
        if target.max_context is not None
        else f"{line}, with short instructions"
    )


def _show_plan(client: "Client", plan: "Plan", arguments: Sequence[str], *, as_json: bool) -> None:
    from pomona.cli.output import print_json

    words = [client.program or "$SHELL", *plan.arguments, *arguments]
    if as_json:
        print_json({"client": client.name, "command": words, "environment": dict(plan.environment), "files": dict(plan.files)})
        return
    for name, value in plan.environment.items():
        click.echo(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
    for name, content in plan.files.items():
        click.echo(f"# {{folder}}/{name} holds: {content.strip()}")
    click.echo(shlex.join(words))


def _list_clients(*, as_json: bool) -> None:
    from pomona.cli.output import print_json
    from pomona.ops.launch.catalog import CLIENTS

    rows = [
        {"client": each.name, "title": each.title, "installed": _is_installed(each), "install": each.install} for each in CLIENTS.values()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = "installed" if row["installed"] else f"not installed: {row['install']}"
        click.echo(f"{row['client']!s:10}{row['title']} ({state})")


def _is_installed(client: "Client") -> bool:
    from pomona.core.errors import ConfigurationError
    from pomona.ops.launch.run import find_program

    try:
        find_program(client)
    except ConfigurationError:
        return False
    return True
