"""`pomona events`: what happens in a running server, line by line."""

import asyncio
import json
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from pomona.cli.options import Invocation, PomonaCommand, invocation_of
from pomona.cli.residency.connecting import connect, server_options

if TYPE_CHECKING:
    from pomona.ops.admin_client import Json

_COLORS = {"error": "red", "model:invalidated": "yellow", "model:loaded": "green", "model:unloaded": "cyan"}
_OWN_PLACE = {"event", "model", "at"}


@click.command(cls=PomonaCommand)
@server_options
@click.option("--model", metavar="NAME", help="Only events of this model.")
@click.option("--tokens", is_flag=True, help="Each token of each answer too.")
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each event.")
@click.pass_context
def follow_events(context: click.Context, /, **options: Any) -> None:
    """Follow what happens in a running server, until Ctrl-C or its end: models that come and go, answers, errors."""
    asyncio.run(_follow(invocation_of(context), **options))


async def _follow(
    invocation: Invocation, *, model: str | None, tokens: bool, count: int | None, as_json: bool, **server: str | None
) -> None:
    seen = 0
    async with (
        connect(invocation, server["url"], server["api_key"]) as client,
        aclosing(client.events(tokens=tokens, model=model)) as events,
    ):
        async for event in events:
            click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
            seen += 1
            if seen == count:
                return


def _line(event: "Json") -> str:
    from pomona.cli.output import printable

    name = str(event["event"])
    when = time.strftime("%H:%M:%S", time.localtime(event["at"]))
    fields = [f"{key}={value!r}" for key, value in event.items() if key not in _OWN_PLACE and value is not None]
    text = f"{event.get('model') or ''}  {' '.join(fields)}".strip()
    return f"{click.style(when, dim=True)}  {click.style(name.ljust(20), fg=_COLORS.get(name))}  {printable(text)}"
