"""Who asks, and what they may."""

from dataclasses import dataclass
from typing import Literal

from pomona.core.generation import Priority

Scope = Literal["public", "admin"]
"""`public`: the API. `admin`: the API and the admin address."""

_ORDER: tuple[Priority, ...] = ("low", "normal", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much a caller may ask for; None: any."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who asks. Limits are counted by `account`, which for callers without a key is their address."""

    id: str = ""
    """The id of the API key; empty without one."""
    name: str = "anonymous"
    account: str = ""
    scope: Scope = "public"
    allowance: Allowance = Allowance()
    priority: Priority = "normal"
    """What holds where a request asks for none."""
    ceiling: Priority = "high"
    """The highest that a request may ask for."""


def priority_for(caller: Caller, header: Priority | None, field: Priority) -> Priority:
    """The priority of a request: what its header says, else its `field` where that differs from normal, else the caller's own;
    never above the caller's ceiling."""
    wish = header or (field if field != "normal" else caller.priority)
    return _ORDER[min(_ORDER.index(wish), _ORDER.index(caller.ceiling))]


def at_least(priority: Priority, other: Priority) -> bool:
    """Whether `priority` goes before `other`, or at the same time."""
    return _ORDER.index(priority) >= _ORDER.index(other)
