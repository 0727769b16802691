"""What every HTTP resource works with, and the right kind of model for it."""

from dataclasses import dataclass

from pomona.control.stack import Control
from pomona.core.errors import UnsupportedField
from pomona.core.events import EventBus
from pomona.core.ports import (
    Aliases,
    Embedder,
    EngineStatus,
    Generator,
    Hub,
    KeptMemory,
    ModelDirectory,
    Pulls,
    Registry,
    Reranker,
    Residency,
    ResidencyStatus,
    Scanner,
    Tokenization,
)
from pomona.core.settings import Settings
from pomona.core.status import ModelCard, Task
from pomona.server.drain import Drain
from pomona.server.recording import Recorder

_DOES: dict[Task, str] = {"generate": "writes text", "embed": "makes embeddings", "rerank": "ranks documents"}
_WANTED: dict[Task, str] = {"generate": "an answer in text", "embed": "embeddings", "rerank": "a ranking"}
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The ports that a gateway stands in front of."""

    generator: Generator
    directory: ModelDirectory
    status: EngineStatus
    tokenization: Tokenization
    embedder: Embedder | None = None
    """Without it and `reranker` there are no routes for vectors."""
    reranker: Reranker | None = None
    residents: ResidencyStatus | None = None
    """Whose memory responses tell of; None where memory is nobody's business, as in tests of one API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPorts:
    """Getting models and naming them."""

    hub: Hub
    pulls: Pulls
    registry: Registry
    aliases: Aliases
    scanner: Scanner


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The ports that the admin address works with, beside those of `Backend`."""

    residency: Residency
    residents: ResidencyStatus
    events: EventBus
    kept: KeptMemory
    hub: HubPorts | None = None
    """Without it there are no routes for downloads, registered models and aliases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The ports behind one gateway, and what its resources share."""

    generator: Generator
    directory: ModelDirectory
    status: EngineStatus
    tokenization: Tokenization
    settings: Settings
    recorder: Recorder
    drain: Drain
    control: Control
    """What every answer has to pass; `answering.begin` sees to it."""


def find_for(directory: ModelDirectory, name: str, task: Task) -> ModelCard:
    """The card of `name`. Raises ModelNotFound, and UnsupportedField naming others where its task is another."""
    card = directory.find(name)
    if card.task == task:
        return card
    able = [each.id for each in directory.models() if each.task == task]
    others = f"Models here that can: {', '.join(map(repr, able[:_SHOWN]))}." if able else "No model here can; `pomona pull` gets one."
    raise UnsupportedField(f"The model {name!r} {_DOES[card.task]}; this asks for {_WANTED[task]}. {others}", param="model")
