"""`pomona bench:serve`: put load on a server and measure it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from pomona.cli.options import Invocation, PomonaCommand, device_option, invocation_of, json_option, model_option

if TYPE_CHECKING:
    import httpx

    from pomona.ops.load.plan import LoadPlan
    from pomona.ops.load.report import LoadReport, Spread
    from pomona.ops.load.run import LoadRun

DEFAULT_CONCURRENCY = 4
SLOWEST_RATE = 0.001


@click.command(cls=PomonaCommand)
@click.option("--url", metavar="URL", help="Server to load. Unset: the local one if it runs, else one that is started for this.")
@model_option
@device_option
@click.option("-c", "--concurrency", type=click.IntRange(1, 4096), metavar="N", help="Closed loop: N requests at a time (default: 4).")
@click.option("-r", "--rate", type=click.FloatRange(SLOWEST_RATE, 10_000), metavar="R", help="Open loop: R random arrivals per second.")
@click.option("-n", "--requests", type=click.IntRange(1), metavar="N", help="Stop sending after N requests.")
@click.option(
    "-d", "--seconds", type=click.FloatRange(0.1, 86400), default=30.0, show_default=True, metavar="S", help="Stop sending after S."
)
@click.option("--prompt-tokens", default="128", show_default=True, metavar="LENGTHS", help="Length of prompts; see above.")
@click.option("--output-tokens", default="64", show_default=True, metavar="LENGTHS", help="Length of answers; see above.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N", help="Same seed, same requests at the same times.")
@click.option("--stop-at-eos", is_flag=True, help="Let answers end where the model ends them.")
@click.option("--allow-remote", is_flag=True, help="Allow a URL that is not this machine.")
@json_option
@click.pass_context
def bench_serve(context: click.Context, /, as_json: bool, allow_remote: bool, **options: object) -> None:
    """Put load on a server with OpenAI's API; show time to first token, gaps between tokens, throughput and failures.

    LENGTHS are 128 (all the same), 64-512 (anything between), 32,512 (one of them) or exp:200 (exponential around 200).

    \b
      pomona bench:serve --concurrency 8
      pomona bench:serve --rate 5 --prompt-tokens exp:200 --output-tokens 16-128
    """
    plan = _read_plan(context, options)
    invocation = invocation_of(context)
    if plan.url:
        _check_address(context, plan.url, allow_remote=allow_remote)
    report, plan = asyncio.run(_measure(invocation, plan))
    if as_json:
        from pomona.cli.output import print_json

        print_json({"plan": _shape(plan), "report": report.as_json()})
    else:
        _show(context, plan, report)
    if not report.finished:
        context.exit(1)


def _read_plan(context: click.Context, options: dict[str, object]) -> "LoadPlan":
    from typing import Any, cast

    from pomona.ops.load.plan import Lengths, LoadPlan

    chosen = cast("dict[str, Any]", {**options, "url": options["url"] or "", "model": ""})
    if chosen["rate"] and chosen["concurrency"]:
        raise click.UsageError("--concurrency is a closed loop, --rate an open one. Choose one of them.", context)
    chosen["concurrency"] = None if chosen["rate"] else chosen["concurrency"] or DEFAULT_CONCURRENCY
    chosen["prompt_tokens"] = Lengths.parse(chosen["prompt_tokens"])
    chosen["output_tokens"] = Lengths.parse(chosen["output_tokens"])
    return LoadPlan(**chosen)


def _check_address(context: click.Context, url: str, *, allow_remote: bool) -> None:
    from pomona.ops.load.plan import is_loopback

    if not is_loopback(url) and not allow_remote:
        raise click.UsageError(
            f"{url!r} is not this machine. Load on other people's servers is an attack: add --allow-remote if it is yours.", context
        )


async def _measure(invocation: Invocation, plan: "LoadPlan") -> "tuple[LoadReport, LoadPlan]":
    import httpx

    from pomona.cli.output import waiting
    from pomona.ops.load.report import summarise
    from pomona.ops.load.run import calibrate, run_load

    quiet = invocation.verbosity < 0
    connections = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(trust_env=False, limits=connections) as client, _target(invocation, plan, client) as found:
        with waiting("Measuring the length of words", quiet=quiet):
            writer = await calibrate(found, client)
        with _progress(found, invocation) as watch:
            run = await run_load(found, client, writer, watch)
    return summarise(run), found


@asynccontextmanager
async def _target(invocation: Invocation, plan: "LoadPlan", client: "httpx.AsyncClient") -> "AsyncGenerator[LoadPlan]":
    """The plan with the address and the model that it is to meet."""
    from pomona.cli.answering import find_server
    from pomona.cli.output import waiting
    from pomona.ops.own_server import own_server

    loaded = invocation.settings(log_level="warning")
    remote = await find_server(client, invocation, loaded, url=plan.url or None, alone=False)
    if remote:
        yield replace(plan, url=remote.url.rstrip("/"), model=remote.model)
        return
    starting = waiting(f"Starting a server for {loaded.settings.models.default}", quiet=invocation.verbosity < 0)
    with starting as started:
        async with own_server(invocation.as_options()) as server:
            started()
            yield replace(plan, url=server.url, model=server.model)


@contextmanager
def _progress(plan: "LoadPlan", invocation: Invocation) -> "Generator[Callable[[LoadRun], None]]":
    """A bar on standard error where that is a terminal: by requests where their number is known, else by time."""
    from pomona.cli.output import console

    screen = console(color=invocation.color, error=True)
    if invocation.verbosity < 0 or not screen.is_terminal:
        yield lambda run: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("answers", total=plan.requests)
        yield lambda run: bar.update(task, completed=len(run.outcomes), description=f"answers, {run.under_way} under way")


def _shape(plan: "LoadPlan") -> dict[str, object]:
    from dataclasses import asdict

    return {name: value for name, value in asdict(plan).items() if name != "drain_seconds"}


def _show(context: click.Context, plan: "LoadPlan", report: "LoadReport") -> None:
    from pomona.cli.output import human_seconds, print_table

    load = f"{plan.rate:g} arrivals per second" if plan.rate else f"{plan.concurrency} at a time"
    click.secho(f"{plan.model} at {plan.url}, {load}, {human_seconds(report.seconds)}", dim=True)

    def row(name: str, spread: "Spread", show: Callable[[float], str]) -> tuple[str, ...]:
        values = (spread.mean, spread.p50, spread.p90, spread.p99, spread.most)
        return (name, *("-" if value is None else show(value) for value in values))

    rows = [
        row("time to first token", report.first_token_seconds, human_seconds),
        row("gap between tokens", report.token_gap_seconds, human_seconds),
        row("time per token", report.seconds_per_token, human_seconds),
        row("whole answer", report.answer_seconds, human_seconds),
        row("tokens/s of one answer", report.answer_tokens_per_second, lambda value: f"{value:.1f}"),
    ]
    print_table(("", "mean", "p50", "p90", "p99", "most"), rows, color=context.color, numeric=("mean", "p50", "p90", "p99", "most"))
    click.echo(
        f"\n{report.completion_tokens_per_second:.1f} output tokens/s, {report.prompt_tokens_per_second:.1f} prompt tokens/s, "
        f"{report.requests_per_second:.2f} requests/s; {report.finished} of {report.sent} finished"
    )
    for problem, count in report.failures.items():
        click.secho(f"{count} failed: {problem}", fg="red")
