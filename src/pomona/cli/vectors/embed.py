"""`pomona embed`: texts to vectors."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from pomona.cli.options import Invocation, PomonaCommand, device_option, invocation_of, json_option, model_option
from pomona.core.vectors import EmbedRequest, VectorKind

if TYPE_CHECKING:
    from pomona.core.vectors import Embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the options ask for."""

    texts: tuple[str, ...]
    kind: VectorKind | None
    dimensions: int | None
    truncate: bool

    def request(self, model: str) -> EmbedRequest:
        """The request in words."""
        name = f"embed-{uuid.uuid4().hex}"
        return EmbedRequest(id=name, model=model, inputs=self.texts, kind=self.kind, dimensions=self.dimensions, truncate=self.truncate)


@click.command(cls=PomonaCommand)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@model_option
@device_option
@click.option("--kind", type=click.Choice(["query", "document"]), help="What the texts are, for models that were trained to tell.")
@click.option("--dimensions", type=click.IntRange(1), metavar="N", help="Only the first so many, of length 1 again.")
@click.option("--truncate", is_flag=True, help="Cut texts that are longer than the model takes, instead of refusing them.")
@click.option("--url", metavar="URL", help="Ask the server there. Unset: the local server if it has such a model, else load one.")
@click.option("--alone", is_flag=True, help="Load the model here even if a local server runs.")
@json_option
@click.pass_context
def embed(context: click.Context, /, texts: tuple[str, ...], url: str | None, alone: bool, as_json: bool, **options: object) -> None:
    """Turn each TEXT into a vector: a line of numbers. Without TEXT, or with "-", each line of standard input is one.

    \b
      pomona embed "The sky is blue." "Grass is green."
      pomona embed --kind document --json < notes.txt
    """
    from pomona.cli.vectors.asking import read_lines

    given = tuple(read_lines("-")) if texts in {(), ("-",)} else texts
    if not given or not all(given):
        raise click.UsageError('There is no text, or an empty one. Write some: pomona embed "The sky is blue."', context)
    wish = Wish(texts=given, **cast("dict[str, Any]", options))
    made, model = asyncio.run(_make(invocation_of(context), wish, url=url, alone=alone))
    _print(made, model, as_json=as_json)


async def _make(invocation: Invocation, wish: Wish, *, url: str | None, alone: bool) -> "tuple[Embeddings, str]":
    from pomona.cli.vectors.asking import open_vectors

    async with open_vectors(invocation, "embed", url=url, alone=alone) as source:
        return await source.embedder.embed(wish.request(source.model)), source.model


def _print(made: "Embeddings", model: str, *, as_json: bool) -> None:
    """Numbers with the nine digits that tell all of float32 apart."""
    import numpy as np

    rows = np.frombuffer(made.data, "<f4").reshape(-1, made.dimensions)
    if not as_json:
        for row in rows:
            click.echo(" ".join(f"{number:.9g}" for number in row))
        return
    from pomona.cli.output import print_json

    vectors = [[float(f"{number:.9g}") for number in row] for row in rows]
    print_json({"model": model, "dimensions": made.dimensions, "embeddings": vectors, "usage": {"prompt_tokens": made.prompt_tokens}})
