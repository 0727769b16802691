"""What the scheduler keeps of a row."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Turn:
    """Where a row stands among the others. Times are the scheduler's clock, in seconds."""

    arrived: float = 0.0
    key: float = 0.0
    """Its place among its caller's rows that never ran: tokens of work that the caller had asked for before it, and its own."""
    place: int = 0
    """The count of its first start; 0 before that. Rows that ran go before those of their caller that did not."""
    parked: bool = False
    """It waits, but keeps its pages as long as nobody needs them."""
    parked_at: float = 0.0
    parkings: int = 0
    charged_to: int = 0
    """Tokens from its beginning on that its caller need not be charged for: out of the cache, as far as is known, or charged already."""
    token_at: float | None = None
    """When its last token was read; None before the first, and after its reader has stopped it."""
