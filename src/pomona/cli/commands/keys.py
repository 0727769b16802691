"""`pomona keys:create`, `pomona keys:list` and `pomona keys:revoke`."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from pomona.cli.options import PomonaCommand, invocation_of, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pomona.cli.output import Cell
    from pomona.control.callers import Scope
    from pomona.control.key_file import KeyFile
    from pomona.control.key_usage import Use
    from pomona.control.keys import Key
    from pomona.core.generation import Priority


class KeyOptions(TypedDict):
    """What a key may."""

    scope: "Scope"
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None
    priority: "Priority"


_COLORS = {"active": "green", "expired": "yellow", "revoked": "red"}
_MOST = click.IntRange(min=1)


@click.command(cls=PomonaCommand)
@click.argument("name")
@click.option("--scope", type=click.Choice(["public", "admin"]), default="public", help="public: the API. admin: metrics and status too.")
@click.option("--requests-per-minute", type=_MOST, metavar="N", help="Most answers begun in a minute.")
@click.option("--tokens-per-minute", type=_MOST, metavar="N", help="Most tokens in a minute, read (cached ones apart) and written.")
@click.option("--concurrent", type=_MOST, metavar="N", help="Most answers at a time.")
@click.option(
    "--priority", type=click.Choice(["low", "normal", "high"]), default="normal", help="Its priority, and the most it may ask for."
)
@click.option("--expires", type=click.FloatRange(min=0, min_open=True), metavar="DAYS", help="It opens nothing after this many days.")
@json_option
@click.pass_context
def create_key(context: click.Context, name: str, as_json: bool, expires: float | None, **options: "Unpack[KeyOptions]") -> None:
    """Make an API key called NAME and show it: now or never, because only a hash of it is kept.

    As soon as there is one key, a server answers nobody without a key. Servers that run notice within a second.

    \b
      pomona keys:create laptop
      pomona keys:create batch --priority low --tokens-per-minute 20000
    """
    from pomona.cli.output import print_json
    from pomona.control.callers import Allowance
    from pomona.control.keys import make_key

    allowance = Allowance(
        requests_per_minute=options["requests_per_minute"],
        tokens_per_minute=options["tokens_per_minute"],
        concurrent=options["concurrent"],
    )
    key, text = make_key(
        _checked(context, name),
        now=time.time(),
        scope=options["scope"],
        allowance=allowance,
        priority=options["priority"],
        lifetime_days=expires,
    )
    file = _file(context)
    file.change(lambda keys: [*_without_twin(context, keys, key), key])
    if as_json:
        print_json({**document(key, None), "key": text})
        return
    click.echo(text)
    click.secho(f"Keep it: it cannot be shown again. The key {key.name!r} is in {file.path} (hashed).", err=True, dim=True)


@click.command(cls=PomonaCommand)
@json_option
@click.pass_context
def list_keys(context: click.Context, as_json: bool) -> None:
    """List the API keys: scope, limits, state and use. Use is as of the last minute or so."""
    from pomona.cli.output import print_json, print_table
    from pomona.control.key_usage import read_usage, usage_path

    file = _file(context)
    keys, usage = file.read(), read_usage(usage_path(file.path))
    if as_json:
        print_json([document(key, usage.get(key.id)) for key in keys])
        return
    if not keys:
        click.echo("There are no API keys: servers on this machine answer everybody on it. `pomona keys:create NAME` makes one.", err=True)
        return
    columns = ("name", "key", "scope", "priority", "limits", "created", "last used", "requests", "tokens", "state")
    print_table(columns, [_row(key, usage) for key in keys], color=context.color, numeric=("requests", "tokens"))


@click.command(cls=PomonaCommand)
@click.argument("key", metavar="KEY")
@click.option("--delete", is_flag=True, help="Forget it altogether: it leaves the list, too.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def revoke_key(context: click.Context, key: str, delete: bool, yes: bool, as_json: bool) -> None:
    """Take back the API key KEY: its name, its id, or the beginning of the key. Servers that run notice within a second.

    A revoked key stays in the list, and as long as one is there a server answers nobody without a key; --delete forgets it.
    """
    from dataclasses import replace

    from pomona.cli.output import print_json

    file = _file(context)
    found = _find(context, file.read(), key)
    if not yes:
        click.confirm(f"{'Delete' if delete else 'Revoke'} the key {found.name!r} ({found.shown})?", abort=True, err=True)
    revoked = replace(found, revoked=found.revoked or int(time.time()))
    file.change(lambda keys: [revoked if each.id == found.id else each for each in keys if not (delete and each.id == found.id)])
    if as_json:
        print_json({**document(revoked, None), "deleted": delete})
    else:
        click.echo(f"The key {found.name!r} ({found.shown}) is {'deleted' if delete else 'revoked'}.", err=True)


def document(key: "Key", use: "Use | None") -> dict[str, object]:
    """A key as plain data, without its hash; times in Unix seconds."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.shown.removesuffix("…"),
        "scope": key.scope,
        "priority": key.priority,
        "requests_per_minute": key.allowance.requests_per_minute,
        "tokens_per_minute": key.allowance.tokens_per_minute,
        "concurrent": key.allowance.concurrent,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "state": key.state(time.time()),
        "last_used": use.last_used if use else None,
        "requests": use.requests if use else 0,
        "tokens": use.tokens if use else 0,
    }


def _file(context: click.Context) -> "KeyFile":
    from pomona.app import keys_path
    from pomona.control.key_file import KeyFile

    return KeyFile(keys_path(invocation_of(context).settings(log_level="warning").settings))


def _checked(context: click.Context, name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise click.UsageError(f"The name {name!r} will not do: take 1 to 100 printable characters.", context)
    return name.strip()


def _without_twin(context: click.Context, keys: "Sequence[Key]", new: "Key") -> "Sequence[Key]":
    """`keys`, none of which is called like `new` and still opens."""
    now = time.time()
    twin = next((key for key in keys if key.name == new.name and key.state(now) == "active"), None)
    if twin:
        raise click.UsageError(f"There is a key {new.name!r} already ({twin.shown}). Take another name, or revoke it first.", context)
    return keys


def _find(context: click.Context, keys: "Sequence[Key]", text: str) -> "Key":
    """The key of that id or name; of several of one name the one that still opens."""
    now = time.time()
    prefix = text.removesuffix("…")
    found = [key for key in keys if text in {key.id, key.name} or prefix.startswith(key.shown.removesuffix("…"))]
    live = [key for key in found if key.state(now) != "revoked"] or found[-1:]
    if len(live) == 1:
        return live[0]
    if live:
        raise click.UsageError(f"Several keys are called {text!r}: name one by its id: {', '.join(key.id for key in live)}.", context)
    names = ", ".join(f"{key.name} ({key.id})" for key in keys) or "none"
    raise click.UsageError(f"There is no key {text!r}. There are: {names}.", context)


def _row(key: "Key", usage: "Mapping[str, Use]") -> "list[str | Cell]":
    from pomona.cli.output import human_count

    use, state = usage.get(key.id), key.state(time.time())
    limits = {
        "req/min": key.allowance.requests_per_minute,
        "tok/min": key.allowance.tokens_per_minute,
        "at a time": key.allowance.concurrent,
    }
    shown = ", ".join(f"{limit} {unit}" for unit, limit in limits.items() if limit is not None)
    ends = f"{state} {_day(key.revoked)}" if key.revoked else f"until {_day(key.expires)}" if state == "active" and key.expires else state
    return [
        key.name,
        key.shown,
        key.scope,
        key.priority,
        shown or "none",
        _day(key.created),
        _day(use.last_used) if use else "never",
        human_count(use.requests if use else 0),
        human_count(use.tokens if use else 0),
        (ends, _COLORS[state]),
    ]


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
