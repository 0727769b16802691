"""The seams of the system: small protocols that packages of one layer meet through."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pomona.core.generation import GenerateEvent, GenerateRequest, Prompt, TokenStep, TokenText
from pomona.core.hub import FitReport, HubModel, PullRequest, PullStatus, RegisteredModel, ScanReport
from pomona.core.status import EngineReport, MemoryReport, ModelCard, ModelStatus, UnloadReport
from pomona.core.vectors import Embeddings, EmbedRequest, Ranking, RerankRequest


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


class Embedder(Protocol):
    """Makes vectors of texts, for any model of the directory whose task is `embed`."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """One vector per input. Raises ModelNotFound, ContextOverflow, UnsupportedField for a model of another task."""
        ...


class Reranker(Protocol):
    """Scores documents against a query, for any model of the directory whose task is `rerank`."""

    async def rerank(self, request: RerankRequest) -> Ranking:
        """One score per document. Raises as `Embedder.embed`."""
        ...


class Residency(Protocol):
    """Moves models in and out of memory. Names are those of the directory."""

    async def load(self, name: str, *, keep_alive_seconds: float | None = None) -> ModelStatus:
        """Load and warm up `name`, after those that wait before it; at once if it is loaded. Raises ModelNotFound, ModelUnusable,
        DoesNotFit, EngineFailed, and Overloaded where pinned or busy models leave no room.
        """
        ...

    async def unload(self, name: str, *, force: bool = False) -> UnloadReport:
        """Unload `name` once its answers have ended; `force` ends them. Raises ModelNotFound, and Conflict where it is not loaded."""
        ...

    async def pin(self, name: str, *, pinned: bool) -> ModelStatus:
        """Keep `name` from being unloaded for others or when idle, or let go of it; remembered. Loads nothing. Raises ModelNotFound."""
        ...


class KeptMemory(Protocol):
    """What engines keep only because it may be of use again, such as the beginnings of prompts."""

    def shrink(self, name: str | None = None, *, disk: bool = False) -> tuple[str, ...]:
        """Have the engine of `name`, or all, give it back, also what is on `disk`; the models whose engines were told. Raises
        ModelNotFound.
        """
        ...


class ResidencyStatus(Protocol):
    """Knows which models are in memory. Answers at once."""

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model that can be asked for, the default one first."""
        ...

    def memory(self) -> MemoryReport:
        """Memory and what of it is planned for."""
        ...


class Registry(Protocol):
    """Models and adapters that somebody registered under a name. Kept on disk; changes hold for the next request."""

    def entries(self) -> tuple[RegisteredModel, ...]:
        """By name."""
        ...

    def register(self, entry: RegisteredModel) -> None:
        """Add `entry`. Raises Conflict where the name is taken, NotFound without such a folder, ModelUnusable for a broken one."""
        ...

    def forget(self, name: str) -> None:
        """Take an entry back; its files stay. Raises ModelNotFound."""
        ...


class Scanner(Protocol):
    """Finds models and adapters in folders of this machine."""

    def scan(self, directory: str) -> ScanReport:
        """Register what lies below `directory`. Raises Forbidden outside the folders of the settings, NotFound."""
        ...


class Aliases(Protocol):
    """Names that stand for other names. Kept on disk; changes hold for the next request."""

    def aliases(self) -> dict[str, str]:
        """Alias to reference, those of the settings included."""
        ...

    def set_alias(self, alias: str, reference: str) -> None:
        """Let `alias` stand for `reference`. Raises ModelNotFound, InvalidRequest for a name that cannot be one, Conflict for a circle."""
        ...

    def remove_alias(self, alias: str) -> None:
        """Raises NotFound, and Conflict where the settings hold it."""
        ...


class Hub(Protocol):
    """The model hub. Raises HubFailed where it cannot be asked, also where settings forbid it."""

    async def search(
        self, query: str, *, limit: int = 20, sort: str = "downloads", mlx_only: bool = True
    ) -> list[tuple[HubModel, FitReport]]:
        """Model repositories that match, and whether they fit as far as the hub tells; `sort` is downloads, likes, created or updated."""
        ...

    async def describe(self, reference: str) -> tuple[HubModel, FitReport]:
        """One repository, and whether it fits here. Raises ModelNotFound, Forbidden where it is gated."""
        ...

    async def delete(self, name: str) -> int:
        """Remove the files of a model; the bytes that were freed. Raises ModelNotFound, Conflict where it is loaded or bundled."""
        ...


class Pulls(Protocol):
    """Downloads in the background."""

    def start(self, request: PullRequest) -> PullStatus:
        """Begin, or join a running download of the same model. Raises InvalidRequest, and Conflict for a name that is taken."""
        ...

    def pulls(self) -> tuple[PullStatus, ...]:
        """All since the start, the newest first."""
        ...

    async def cancel(self, id: str) -> PullStatus:
        """Stop a download; what it has is kept for the next try. Raises NotFound."""
        ...
