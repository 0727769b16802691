"""The verdict of one check."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found. `fix` says what to do; it is empty only when all is well."""

    check: str
    state: State
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", found=found)


def warn(check: str, found: str, fix: str) -> Finding:
    """Works, but worse than it could."""
    return Finding(check=check, state="warn", found=found, fix=fix)


def fail(check: str, found: str, fix: str) -> Finding:
    """Pomona cannot work like this."""
    return Finding(check=check, state="fail", found=found, fix=fix)
