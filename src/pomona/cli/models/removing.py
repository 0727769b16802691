"""`pomona remove`: delete the files of a model."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from pomona.cli.options import Invocation, PomonaCommand, complete_model, invocation_of, json_option
from pomona.cli.residency.connecting import connect, server_options
from pomona.core.errors import Conflict, NotReady, PomonaError

if TYPE_CHECKING:
    from pomona.hub.assembly import HubParts
    from pomona.hub.deleting import Removal
    from pomona.ops.admin_client import Json

_HOLDING = ("ready", "loading")


class RemoveOptions(TypedDict):
    """What the options of `remove` say."""

    yes: bool
    force: bool
    dry_run: bool
    url: str | None
    api_key: str | None


@click.command(cls=PomonaCommand)
@server_options
@click.argument("name", shell_complete=complete_model)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-f", "--force", is_flag=True, help="Unload it first where a server has it, or delete it where the server will not say.")
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@json_option
@click.pass_context
def remove(context: click.Context, /, name: str, as_json: bool, **options: "Unpack[RemoveOptions]") -> None:
    """Delete the files of the model NAME: a repository in the Hugging Face cache, with @REVISION or without, or a converted model.

    Other tools that use the same cache lose the repository, too. A running server is asked first: what it has loaded is not deleted. Of
    a model that was registered where it is, only the entry goes.
    """
    from pomona.app import hub_parts
    from pomona.cli.output import human_bytes, print_json

    parts = hub_parts(invocation_of(context).settings(log_level="warning").settings)
    if any(entry.name == name for entry in parts.registry.entries()):
        _forget(context, parts, name, options)
        freed, path = 0, None
    else:
        removal = parts.hub.remover.find(name)
        freed, path = removal.freed_bytes, str(removal.path)
        _delete(context, parts, removal, options)
    dry_run = options["dry_run"]
    if as_json:
        print_json({"model": name, "path": path, "freed_bytes": freed, "removed": not dry_run})
    else:
        click.echo(f"{'Would free' if dry_run else 'Freed'} {human_bytes(freed)}{f' in {path}' if path else ''}.")


def _forget(context: click.Context, parts: "HubParts", name: str, options: RemoveOptions) -> None:
    if not options["dry_run"]:
        _ask(context, f"Forget the registered model {name!r}? Its files stay.", yes=options["yes"])
        parts.registry.forget(name)


def _delete(context: click.Context, parts: "HubParts", removal: "Removal", options: RemoveOptions) -> None:
    from pomona.cli.output import human_bytes

    users = _users(invocation_of(context), removal.path, options)
    if users and not options["force"]:
        raise Conflict(
            f"{removal.name!r} is loaded in the server that runs, as {' and '.join(map(repr, users))}. Unload it first "
            f"(`pomona unload {users[0]}`), or let --force do that."
        )
    if not options["dry_run"]:
        _ask(context, f"Delete {removal.name!r} ({human_bytes(removal.freed_bytes)} in {removal.path})?", yes=options["yes"])
        asyncio.run(_unload(invocation_of(context), users, options))
        parts.hub.remover.remove(removal)


def _users(invocation: Invocation, folder: Path, options: RemoveOptions) -> list[str]:
    """Models that a running server has in memory from below `folder`; none without a server. Raises what the server says."""
    try:
        models = asyncio.run(_models(invocation, options))
    except PomonaError as error:
        if options["force"] or isinstance(error, NotReady):
            return []
        raise
    place = folder.resolve()
    held = [model for model in models if model["state"] in _HOLDING and model["adapter_path"] is None]
    return [str(model["id"]) for model in held if Path(model["path"]).resolve().is_relative_to(place)]


async def _models(invocation: Invocation, options: RemoveOptions) -> "list[Json]":
    async with connect(invocation, options["url"], options["api_key"]) as client:
        return await client.models()


async def _unload(invocation: Invocation, names: list[str], options: RemoveOptions) -> None:
    async with connect(invocation, options["url"], options["api_key"]) as client:
        for name in names:
            await client.unload(name, force=True)


def _ask(context: click.Context, question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say so with --yes: there is no terminal to ask on.", context)
    click.confirm(question, abort=True, err=True)
