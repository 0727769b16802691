"""The seams of the system: small protocols that packages of one layer meet through."""

from collections.abc import AsyncGenerator
from typing import Protocol

from pomona.core.generation import GenerateEvent, GenerateRequest, Prompt, TokenStep
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


class ModelDirectory(Protocol):
    """Knows what can be asked for: every name that `GenerateRequest.model` may hold, aliases included. Answers at once, from memory."""

    def models(self) -> list[ModelCard]:
        """One card per name, the default model first."""
        ...


class EngineStatus(Protocol):
    """Knows how the engines are. Answers at once, from what the engines reported last: never asks them."""

    def status(self) -> tuple[EngineReport, ...]:
        """One report per engine, the default model's first; an engine that loads, restarts or failed is among them."""
        ...
