"""What an engine tells of the time of one row. Crosses the border to the gateway, so: plain data."""

from dataclasses import dataclass
from typing import Literal

Stage = Literal[
    "rows",
    "pages",
    "turn",
    "beginning",
    "adapter",
    "grammar",
    "disk",
    "reader",
    "put_back",
    "parked",
    "prefill",
    "decode",
]
"""What a row does, one thing at any time. It waits for: a free row, free pages, its turn among the prompts, a beginning that another row
computes just now, its adapter, its grammar, pages from disk, its slow reader; it was put back for want of pages, or parked for others;
it computes its prompt; it makes tokens.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time. All times are in seconds; `start` counts from the beginning of what the span is part of."""

    name: str
    start: float
    seconds: float
    own: float = 0.0
    """Of `seconds`, those in which the device worked for this row, alone or together with others."""
    behind: float = 0.0
    """Of `seconds`, those in which it computed the prompts of other rows instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Time in which a row had to stand by while the device computed the prompt of another."""

    by: str
    """The other's id; empty for several small ones together."""
    seconds: float
    tokens: int
    """Of the other's prompt."""
    decoding: bool
    """The row could have made tokens: a stall. Else it waited for its own prompt to be computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTimes:
    """Where a row's time in the engine went, so far or in the end. The seconds of `spans` add up to `seconds`."""

    began: float
    """When the engine took the row, by `time.monotonic`, which all processes of one machine share."""
    seconds: float
    spans: tuple[Span, ...]
    """Their names are those of `Stage`, their starts count from `began`."""
    delays: tuple[Delay, ...] = ()
    """The largest first."""
    prefill_tokens: int = 0
    """Prompt tokens that were computed, again where the row was put back."""
    prefill_passes: int = 0
    decode_passes: int = 0
    decode_share: float = 0.0
    """Seconds of its decode passes, each divided by the rows that shared it."""
    disk_tokens: int = 0
    """Of the cached tokens, those that came from disk."""
