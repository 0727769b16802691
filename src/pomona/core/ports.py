"""The seams of the system: small protocols that packages of one layer meet through."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pomona.core.generation import GenerateEvent, GenerateRequest, Prompt, TokenStep, TokenText
from pomona.core.status import EngineReport, ModelCard


class Generator(Protocol):
    """Anything that answers a request: an engine, a wrapper around one, a remote one, a test double.

    Obligations: `Started` comes first and `Finished` last; closing the iterator (`aclose`, `contextlib.aclosing`) cancels
    the work at once; failures are `pomona.core.errors.PomonaError`s, raised from the iterator. Wrappers close what they
    wrap. `tests/contracts/test_generator.py` runs on every implementation.
    """

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateEvent]:
        """Answer `request` as a stream of events."""
        ...


class TokenSource(Protocol):
    """Anything that continues ids with ids: an engine in this process or in another."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[TokenStep]:
        """Continue `prompt`; closing the iterator cancels the row at the engine's next step."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """A request as the model reads it. `text` is None where the request gave ids."""

    text: str | None
    token_ids: tuple[int, ...]


class Tokenization(Protocol):
    """Words to ids and back, for any model of the directory, without generating. Raises like `Generator.generate`."""

    async def render(self, request: GenerateRequest) -> RenderedPrompt:
        """The prompt of `request`: its template applied, tokenised. It need not fit the context, but must be one the model could take."""
        ...

    async def encode(self, model: str, text: str, *, special_tokens: bool = True) -> list[TokenText]:
        """The tokens of `text`; `special_tokens` adds those that the model expects at the beginning. Their `logprob` is 0."""
        ...

    async def decode(self, model: str, token_ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        ...


class ModelDirectory(Protocol):
    """Knows what can be asked for. Answers at once, from memory."""

    def models(self) -> list[ModelCard]:
        """One card per name that a list should show, the default model first."""
        ...

    def find(self, name: str) -> ModelCard:
        """The card of the model that answers to `name`; its `id` is what `GenerateRequest.model` takes.

        Settings may let patterns of foreign names (`claude-*`) stand for a model that is here. Raises ModelNotFound.
        """
        ...


class EngineStatus(Protocol):
    """Knows how the engines are. Answers at once, from what the engines reported last: never asks them."""

    def status(self) -> tuple[EngineReport, ...]:
        """One report per engine, the default model's first; an engine that loads, restarts or failed is among them."""
        ...
