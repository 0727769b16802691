"""The right kind of model for each endpoint."""

from pomona.core.errors import UnsupportedField
from pomona.core.ports import ModelDirectory
from pomona.core.status import ModelCard, Task

_DOES: dict[Task, str] = {"generate": "writes text", "embed": "makes embeddings", "rerank": "ranks documents"}
_WANTED: dict[Task, str] = {"generate": "an answer in text", "embed": "embeddings", "rerank": "a ranking"}
_SHOWN = 10


def find_for(directory: ModelDirectory, name: str, task: Task) -> ModelCard:
    """The card of `name`. Raises ModelNotFound, and UnsupportedField naming others where its task is another."""
    card = directory.find(name)
    if card.task == task:
        return card
    able = [each.id for each in directory.models() if each.task == task]
    others = f"Models here that can: {', '.join(map(repr, able[:_SHOWN]))}." if able else "No model here can; `pomona pull` gets one."
    raise UnsupportedField(f"The model {name!r} {_DOES[card.task]}; this asks for {_WANTED[task]}. {others}", param="model")
