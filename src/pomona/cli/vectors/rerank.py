"""`pomona rerank`: documents by their relevance to a query."""

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, cast

import click

from pomona.cli.options import Invocation, PomonaCommand, device_option, invocation_of, json_option, model_option
from pomona.core.vectors import RerankRequest

if TYPE_CHECKING:
    from pomona.core.vectors import Ranking


@click.command(cls=PomonaCommand)
@click.argument("query")
@click.argument("file", default="-", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@model_option
@device_option
@click.option("-n", "--top-n", type=click.IntRange(1), metavar="N", help="Only the best so many.")
@click.option("--instruction", metavar="TEXT", help="What relevance means, for models that take it in words (Qwen3-Reranker).")
@click.option("--url", metavar="URL", help="Ask the server there. Unset: the local server if it has such a model, else load one.")
@click.option("--alone", is_flag=True, help="Load the model here even if a local server runs.")
@json_option
@click.pass_context
def rerank(context: click.Context, /, query: str, file: str, top_n: int | None, as_json: bool, **options: object) -> None:
    """Order the lines of FILE, or of standard input, by their relevance to QUERY: score, then line, the best first.

    \b
      pomona rerank "What colour is the sky?" notes.txt -n 3
    """
    from pomona.cli.vectors.asking import read_lines

    documents = tuple(read_lines(file))
    if not query or not documents:
        raise click.UsageError("There is no query, or no document. Each line of FILE is a document.", context)
    ranking, model = asyncio.run(_rank(invocation_of(context), query, documents, **cast("dict[str, Any]", options)))
    _print(ranking, documents, model, top_n, as_json=as_json)


async def _rank(
    invocation: Invocation, query: str, documents: tuple[str, ...], *, instruction: str | None, url: str | None, alone: bool
) -> "tuple[Ranking, str]":
    from pomona.cli.vectors.asking import open_vectors

    name = f"rerank-{uuid.uuid4().hex}"
    async with open_vectors(invocation, "rerank", url=url, alone=alone) as source:
        request = RerankRequest(id=name, model=source.model, query=query, documents=documents, instruction=instruction)
        return await source.reranker.rerank(request), source.model


def _print(ranking: "Ranking", documents: tuple[str, ...], model: str, top_n: int | None, *, as_json: bool) -> None:
    order = ranking.order()[:top_n]
    if not as_json:
        for index in order:
            click.echo(f"{ranking.scores[index]:.4f}  {documents[index]}")
        return
    from pomona.cli.output import print_json

    results = [{"index": index, "relevance_score": ranking.scores[index], "document": documents[index]} for index in order]
    print_json({"model": model, "results": results, "usage": {"prompt_tokens": ranking.prompt_tokens}})
