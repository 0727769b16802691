"""The seams of the system: small protocols that packages of one layer meet through."""

from collections.abc import AsyncGenerator
from typing import Protocol

from pomona.core.generation import GenerateEvent, GenerateRequest, Prompt, TokenStep


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
