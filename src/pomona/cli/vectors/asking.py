"""Who makes vectors for `embed` and `rerank`: a running server that has such a model, else one that is loaded for this call."""

import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.cli.answering import open_client, server_address
from pomona.cli.options import Invocation
from pomona.core.errors import ModelNotFound, PomonaError
from pomona.core.ports import Embedder, Reranker
from pomona.core.status import ModelCard, Task

if TYPE_CHECKING:
    from pomona.core.settings import LoadedSettings
    from pomona.ops.remote_vectors import RemoteVectors

_MAKES = {"embed": "makes embeddings", "rerank": "ranks documents"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Someone who makes vectors and scores, and the model to ask for."""

    embedder: Embedder
    reranker: Reranker
    model: str


@asynccontextmanager
async def open_vectors(invocation: Invocation, task: Task, *, url: str | None, alone: bool) -> AsyncGenerator[Source]:
    """The server at `url`, else the local one if it has a model for `task`, else a model of our own. `alone` never asks a server.

    Without --model it is the default model if that does `task`, else the first that does. Raises PomonaError.
    """
    from pomona.ops.remote_vectors import RemoteVectors

    loaded = invocation.settings(log_level="warning")
    async with open_client(loaded) as client:
        address = server_address(invocation, loaded, url=url, alone=alone)
        remote = RemoteVectors(address, client=client) if address else None
        model = await _served(remote, invocation, loaded, task, given=url is not None) if remote else None
        if remote and model:
            yield Source(embedder=remote, reranker=remote, model=model)
            return
    async with _own(invocation, loaded, task) as source:
        yield source


def read_lines(name: str) -> list[str]:
    """The lines of a file in UTF-8, or of standard input for "-", without those that are blank."""
    text = sys.stdin.read() if name == "-" else _read_file(name)
    return [line for line in text.splitlines() if line.strip()]


def _read_file(name: str) -> str:
    import click

    with click.open_file(name, encoding="utf-8") as file:
        return file.read()


async def _served(remote: "RemoteVectors", invocation: Invocation, loaded: "LoadedSettings", task: Task, *, given: bool) -> str | None:
    """The model that the server is to be asked for; None where it has none, or none is there. Raises for a server that was `given`."""
    asked = invocation.overrides.get("models.default")
    try:
        tasks = await remote.tasks()
    except PomonaError:
        if given:
            raise
        return None
    if asked:
        return str(asked) if given or asked in tasks else None
    chosen = _choose(tasks.items(), task, loaded.settings.models.default)
    if chosen is None and given:
        raise _nothing(task, "there")
    return chosen


@asynccontextmanager
async def _own(invocation: Invocation, loaded: "LoadedSettings", task: Task) -> AsyncGenerator[Source]:
    from pomona.app import load_app
    from pomona.cli.output import waiting

    app = load_app(loaded.settings)
    async with app.open() as fleet:
        if "models.default" in invocation.overrides:
            model = _checked(fleet.directory.find(app.model), task)
        else:
            model = _choose(((card.id, card.task) for card in fleet.directory.models()), task, app.model)
        if model is None:
            raise _nothing(task, "here")
        with waiting(f"Loading {model}", quiet=invocation.verbosity < 0):
            await fleet.residency.load(model)
        yield Source(embedder=fleet.embedder, reranker=fleet.reranker, model=model)


def _choose(tasks: Iterable[tuple[str, Task]], task: Task, default: str) -> str | None:
    able = [name for name, does in tasks if does == task]
    return default if default in able else next(iter(able), None)


def _checked(card: ModelCard, task: Task) -> str:
    """Before the model is loaded in vain."""
    if card.task != task:
        raise ModelNotFound(f"The model {card.id!r} is none that {_MAKES[task]}. `pomona list` shows what each does.")
    return card.id


def _nothing(task: Task, where: str) -> ModelNotFound:
    return ModelNotFound(f"No model {where} {_MAKES[task]}. Name one with --model, or get one with `pomona pull`.")
