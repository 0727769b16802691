"""What went wrong between here and the hub, in words that say what to do; and whether waiting may help.

One place for both clients: Hugging Face's library asks, our own transfers download.
"""

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pomona.core.errors import Forbidden, HubFailed, ModelNotFound, PomonaError

LONGEST_WAIT = 300.0
"""A hub that asks to wait longer, in seconds, is not waited for."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the hub answered instead of what was asked for."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    @property
    def code(self) -> str:
        """The hub's own word, such as GatedRepo; empty where it gave none."""
        return self.headers.get("x-error-code", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was asked for, and of whom."""

    endpoint: str
    repository: str | None = None
    revision: str | None = None
    has_token: bool = False

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.endpoint}/{self.repository}" if self.repository else self.endpoint


def refusal(answer: Answer, subject: Subject) -> PomonaError:
    """The error for an answer that is none of 2xx."""
    if answer.code == "RevisionNotFound":
        return ModelNotFound(
            f"{subject.repository!r} has no revision {subject.revision!r}. Give a branch, a tag or a commit that {subject.url} shows."
        )
    if answer.code == "GatedRepo":
        return _gated(subject)
    if answer.status == 404 or answer.code == "RepoNotFound" or (answer.status == 401 and not subject.has_token):
        return _absent(subject)
    if answer.status in {401, 403}:
        return _forbidden(answer, subject)
    if answer.status == 429:
        return HubFailed(f"{subject.endpoint} gets too many requests from here (429). Try again later; a token raises the limit.")
    return HubFailed(f"{subject.endpoint} answered {answer.status} when asked for {subject.repository or 'models'!r}. Try again later.")


def unreachable(error: BaseException, subject: Subject) -> HubFailed:
    """The error for a way to the hub that broke."""
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return HubFailed(
        f"The hub {subject.endpoint} cannot be reached ({reason}). Check the network; hub.endpoint or HF_ENDPOINT chooses another."
    )


def offline(subject: Subject) -> HubFailed:
    """The error for asking although settings forbid it."""
    wanted = f"asking {subject.endpoint} for {subject.repository!r}" if subject.repository else f"asking {subject.endpoint}"
    return HubFailed(f"Pomona is offline (hub.offline or HF_HUB_OFFLINE is set), which forbids {wanted}. Set it to false to go online.")


def pause(attempt: int, answer: Answer | None = None) -> float | None:
    """Seconds to wait before asking once more after `attempt` (from 0) failed; None where that is of no use.

    A hub that says when to come back is believed, up to LONGEST_WAIT.
    """
    if answer is not None and answer.status not in _TEMPORARY:
        return None
    asked = retry_after(answer.headers.get("retry-after"), time.time()) if answer is not None else None
    if asked is None:
        return min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
    return asked if asked <= LONGEST_WAIT else None


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date; None where it is absent or neither."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def _absent(subject: Subject) -> PomonaError:
    if subject.repository is None:
        return HubFailed(f"{subject.endpoint} does not speak the hub's protocol. Check hub.endpoint or HF_ENDPOINT.")
    private = "" if subject.has_token else " If it is private, set hub.token or HF_TOKEN."
    return ModelNotFound(f"{subject.endpoint} has no model {subject.repository!r}.{private}", param="model")


def _gated(subject: Subject) -> Forbidden:
    todo = "and then try again" if subject.has_token else "then set hub.token or HF_TOKEN (or run `hf auth login`)"
    return Forbidden(f"{subject.repository!r} is gated. Accept its terms at {subject.url}, {todo}.")


def _forbidden(answer: Answer, subject: Subject) -> Forbidden:
    if not subject.has_token:
        return _gated(subject)
    return Forbidden(
        f"{subject.endpoint} refuses the token for {subject.repository or 'models'!r} ({answer.status}). "
        f"Check hub.token, HF_TOKEN or `hf auth login`: it must be valid and may read {subject.url}."
    )
