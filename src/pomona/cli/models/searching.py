"""`pomona search`: look for models on the hub."""

import asyncio
from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, invocation_of, json_option

if TYPE_CHECKING:
    from pomona.cli.output import Cell
    from pomona.core.hub import FitReport, HubModel


@click.command(cls=PomonaCommand)
@click.argument("words", nargs=-1)
@click.option("-n", "--limit", type=click.IntRange(1, 200), default=20, show_default=True, metavar="N", help="Most results.")
@click.option("--sort", type=click.Choice(["downloads", "likes", "created", "updated"]), default="downloads", help="Best first by this.")
@click.option("--all", "everything", is_flag=True, help="Also models that are not made for MLX; plain ones can be pulled, too.")
@json_option
@click.pass_context
def search(context: click.Context, words: tuple[str, ...], limit: int, sort: str, everything: bool, as_json: bool) -> None:
    """Look for models on the hub whose names hold WORDS, and say whether they would fit here.

    \b
      pomona search qwen3 4bit
      pomona search --all --sort updated embedding
    """
    from pomona.app import hub_parts
    from pomona.cli.models.fit import model_document
    from pomona.cli.output import print_json, print_table, waiting

    settings = invocation_of(context).settings(log_level="warning").settings
    parts = hub_parts(settings)
    with waiting("Asking the hub", quiet=as_json):
        found = asyncio.run(parts.hub.search(" ".join(words), limit=limit, sort=sort, mlx_only=not everything))
    if as_json:
        print_json([model_document(model, report) for model, report in found])
        return
    if not found:
        click.echo(f"Nothing found{'' if everything else '; --all looks beyond models made for MLX'}.", err=True)
        return
    columns = ("model", "fits", "size", "parameters", "weights", "downloads", "likes", "updated")
    numeric = ("size", "parameters", "downloads", "likes")
    print_table(columns, [_row(model, report) for model, report in found], color=context.color, numeric=numeric)


def _row(model: "HubModel", report: "FitReport") -> "list[str | Cell]":
    from pomona.cli.models.fit import fit_cell
    from pomona.cli.output import human_bytes, human_count

    fits: str | Cell = ("cannot be loaded", "red") if model.loadable is False else fit_cell(report)
    return [
        f"{model.id} (gated)" if model.gated else model.id,
        fits,
        human_bytes(model.weight_bytes),
        human_count(model.parameters) if model.parameters else "?",
        model.quantization or "plain",
        human_count(model.downloads),
        human_count(model.likes),
        (model.updated_at or "?")[:10],
    ]
