"""`pomona trace`: the last requests of a running server, and where the time of one went."""

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import click

from pomona.cli.options import Invocation, PomonaCommand, invocation_of, json_option
from pomona.cli.residency.connecting import connect, server_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pomona.ops.admin_client import AdminClient, Json

POLL_SECONDS = 0.5
MOST_FOLLOWED = 1000
"""Requests that are asked for at once while following."""
_ID = re.compile(r"(?!\.\.?$)[A-Za-z0-9._:-]{1,128}")


def _checked(_context: click.Context, _parameter: click.Parameter, id: str | None) -> str | None:
    if id is not None and not _ID.fullmatch(id):
        raise click.BadParameter(f"{id!r} is no id. Ids have letters, digits and . _ : -; `pomona trace` lists those that are kept.")
    return id


@click.command(cls=PomonaCommand)
@click.argument("id", required=False, callback=_checked)
@server_options
@click.option("--slowest", is_flag=True, help="The slowest requests first, not the newest.")
@click.option("--slower-than", type=click.FloatRange(min=0), metavar="SECONDS", help="Only requests that took longer.")
@click.option("--model", metavar="NAME", help="Only requests that this model answered.")
@click.option("--outcome", metavar="WORD", help="Only requests that ended so: ok, cancelled, error (any), or the code of an error.")
@click.option("--running", is_flag=True, help="Only requests that run now.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many requests at most.")
@click.option("-f", "--follow", is_flag=True, help="Show requests as they end, until Ctrl-C; with an id, wait for its end.")
@json_option
@click.pass_context
def trace(context: click.Context, /, id: str | None, **options: Any) -> None:
    """Say where the time of a request went: queue, template, prompt, tokens, and whose prompts it had to wait for.

    ID is the one in the response's header x-request-id, or that of the answer (chatcmpl-…, resp_…, msg_…). Without one, the last
    requests are listed. The server keeps as many as the settings tracing.requests and tracing.bytes say.

    \b
      pomona trace
      pomona trace --slowest --slower-than 2
      pomona trace chatcmpl-8f1c…
    """
    if options["follow"] and (options["slowest"] or options["running"]):
        raise click.UsageError("--follow shows requests as they end: leave out --slowest and --running.")
    filters = _filters(**{name: options.pop(name) for name in ("slowest", "slower_than", "model", "outcome", "running", "limit")})
    if id is not None and filters.keys() - {"limit"}:
        raise click.UsageError("An ID says which request is meant: leave out --slowest, --slower-than, --model, --outcome and --running.")
    asyncio.run(_show(invocation_of(context), context, id=id, filters=filters, **options))


def _filters(*, slowest: bool, running: bool, limit: int, **others: Any) -> dict[str, Any]:
    """The query of GET /admin/requests."""
    query = {name: value for name, value in others.items() if value is not None}
    return query | ({"order": "slowest"} if slowest else {}) | ({"running": "true"} if running else {}) | {"limit": limit}


async def _show(
    invocation: Invocation,
    context: click.Context,
    *,
    id: str | None,
    filters: dict[str, Any],
    follow: bool,
    as_json: bool,
    **server: str | None,
) -> None:
    async with connect(invocation, server["url"], server["api_key"]) as client:
        if id is not None:
            await _explain(client, id, context, follow=follow, as_json=as_json)
        elif follow:
            await _follow(client, filters, context, as_json=as_json)
        else:
            await _list(client, filters, context, as_json=as_json)


async def _explain(client: "AdminClient", id: str, context: click.Context, *, follow: bool, as_json: bool) -> None:
    from pomona.cli.output import print_json, waiting
    from pomona.cli.tracing.waterfall import print_trace

    document = await client.explain(id)
    if follow and document["running"]:
        with waiting(f"{document['id']} runs"):
            while document["running"]:
                await asyncio.sleep(POLL_SECONDS)
                document = await client.explain(id)
    print_json(document) if as_json else print_trace(document, color=context.color)


async def _list(client: "AdminClient", filters: dict[str, Any], context: click.Context, *, as_json: bool) -> None:
    from pomona.cli.output import print_json
    from pomona.cli.tracing.listing import print_requests

    page = await client.requests(**filters)
    print_json(page) if as_json else print_requests(page, color=context.color)


async def _follow(client: "AdminClient", filters: dict[str, Any], context: click.Context, *, as_json: bool) -> None:
    from pomona.cli.tracing.listing import line_of

    async for request in _ending(client, {**filters, "limit": MOST_FOLLOWED, "order": "newest"}):
        click.echo(json.dumps(request, ensure_ascii=False) if as_json else line_of(request))


async def _ending(client: "AdminClient", filters: dict[str, Any]) -> "AsyncGenerator[Json]":
    """Requests as they end, from now on."""
    seen: set[tuple[str, float]] | None = None
    while True:
        page = await client.requests(**{**filters, "running": "false"})
        ended = [request for request in reversed(page["requests"]) if seen is not None and _key(request) not in seen]
        seen = {_key(request) for request in page["requests"]}
        for request in ended:
            yield request
        await asyncio.sleep(POLL_SECONDS)


def _key(request: "Json") -> tuple[str, float]:
    """Ids are the clients' own, and may come twice."""
    return str(request["id"]), float(request["arrived_at"])
