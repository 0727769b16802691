"""One fact per request that ended, for everybody who wants to know: metrics, logs, later policy and usage."""

from dataclasses import dataclass, field

from pomona.core.generation import FinishReason, Priority, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """A request that ended, well or not. Times are in seconds from its arrival.

    `outcome` is `ok`, `cancelled` (the client left) or the `code` of the error. `usage` counts what was known at the end: a cancelled
    or failed request has no completion tokens.
    """

    id: str
    endpoint: str
    model: str
    outcome: str
    seconds: float
    first_token_seconds: float | None = None
    usage: Usage = field(default_factory=Usage)
    caller: str = ""
    """The id of the API key that asked; empty where none was needed."""
    priority: Priority = "normal"
    finish_reason: FinishReason | None = None
    """None where the answer did not come to its end."""
    coalesced: bool = False
    """It was sent again and joined the answer that already ran."""
