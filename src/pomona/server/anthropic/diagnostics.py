"""Why a prompt was not in the cache, in Anthropic's words, and which conversation an earlier answer belongs to."""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

from starlette.requests import Request

from pomona.core.generation import CacheReport, Usage
from pomona.server.anthropic.wire import CountTokensRequest

REMEMBERED_ANSWERS = 4096
_SESSION = re.compile(r"_session_([0-9A-Za-z-]{1,128})$")
_SESSION_HEADER = "x-claude-code-session-id"
_UNNAMED = {"first_request": "previous_message_not_found", "evicted": "unavailable"}


class Lineage:
    """Remembers the conversation of each of the last answers, so that `previous_message_id` leads back to it."""

    def __init__(self, limit: int = REMEMBERED_ANSWERS) -> None:
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._limit = limit

    def join(self, answer_id: str, previous_id: str | None, session: str) -> str:
        """The session that `answer_id` belongs to from now on: as the client names it, that of the answer before, or one of its own."""
        session = session or self._sessions.get(previous_id or "", "") or answer_id
        self._sessions[answer_id] = session
        if len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)
        return session

    def knows(self, answer_id: str) -> bool:
        """Whether that answer was made here, and not too long ago."""
        return answer_id in self._sessions


def session_of(body: CountTokensRequest, http: Request) -> str:
    """The session that Claude Code names, in a header, at the end of `metadata.user_id` or in the JSON there; else empty."""
    user_id = (body.metadata and body.metadata.user_id) or ""
    found = _SESSION.search(user_id)
    if found is not None:
        return found.group(1)
    return _session_in_json(user_id) or http.headers.get(_SESSION_HEADER, "")[:128]


def diagnosis(report: CacheReport | None, usage: Usage, *, known: bool | None) -> Mapping[str, object]:
    """The `diagnostics` of an answer. `known`: whether the earlier answer that was named is remembered; None where none was named."""
    if known is None:
        return {"cache_miss_reason": None}
    return {"cache_miss_reason": _reason(report, usage) if known else {"type": "previous_message_not_found"}}


def _reason(report: CacheReport | None, usage: Usage) -> Mapping[str, object] | None:
    if report is None or report.reason == "none":
        return None
    if report.reason in _UNNAMED:
        return {"type": _UNNAMED[report.reason]}
    missed = report.missed_tokens or usage.prompt_tokens - usage.cached_tokens
    return {"type": report.reason, "cache_missed_input_tokens": missed}


def _session_in_json(user_id: str) -> str:
    if not user_id.startswith("{"):
        return ""
    try:
        said: Any = json.loads(user_id)
    except (ValueError, RecursionError):
        return ""
    session = cast("dict[str, Any]", said).get("session_id")
    return session[:128] if isinstance(session, str) else ""
