"""Models as Anthropic's clients list them. The routes are OpenAI's, `server.openai.models`: headers choose the shape."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import QueryParams

from pomona.core.errors import InvalidRequest
from pomona.core.status import ModelCard

DEFAULT_LIMIT, MAX_LIMIT = 20, 1000
_NO, _YES = {"supported": False}, {"supported": True}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_CAPABILITIES: Mapping[str, object] = {
    "batch": _NO,
    "citations": _NO,
    "code_execution": _NO,
    "compaction": {"supported": True, "summarize": _YES},
    "context_management": {"supported": True, "clear_thinking_20251015": _YES, "clear_tool_uses_20250919": _YES, "compact_20260112": _NO},
    "effort": {"supported": True} | dict.fromkeys(_EFFORTS, _YES),
    "image_input": _NO,
    "pdf_input": _NO,
    "server_tools": {"supported": False, "code_execution": _NO, "web_search": _NO},
    "structured_outputs": _YES,
    "thinking": {"supported": True, "types": dict.fromkeys(("adaptive", "between_tools", "disabled", "enabled"), _YES)},
}


def anthropic_model(card: ModelCard) -> dict[str, Any]:
    """One model. `max_tokens` is the whole context: a longer wish is cut to what it leaves."""
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": card.max_context,
        "max_tokens": card.max_context,
        "capabilities": {**_CAPABILITIES, "image_input": _YES, "pdf_input": _YES} if card.vision else _CAPABILITIES,
    }


def anthropic_models_page(cards: Sequence[ModelCard], query: QueryParams) -> dict[str, Any]:
    """A page of the list: `limit` models after `after_id` or before `before_id`. Raises InvalidRequest."""
    limit = _limit(query.get("limit"))
    wanted = query.getlist("lifecycle") + query.getlist("lifecycle[]")
    active = [card for card in cards if not wanted or "active" in wanted]
    page, more = _window(active, query, limit)
    return {
        "data": [anthropic_model(card) for card in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def _window(cards: Sequence[ModelCard], query: QueryParams, limit: int) -> tuple[Sequence[ModelCard], bool]:
    """Up to `limit` cards and whether there are more in the direction of reading."""
    ids = [card.id for card in cards]
    if "before_id" in query:
        before = cards[: _place(ids, query["before_id"], "before_id")]
        return before[-limit:], len(before) > limit
    start = _place(ids, query["after_id"], "after_id") + 1 if "after_id" in query else 0
    return cards[start : start + limit], len(cards) > start + limit


def _place(ids: list[str], name: str, param: str) -> int:
    if name in ids:
        return ids.index(name)
    raise InvalidRequest(f"{param} = {name!r} is no model of the list. Use the id of a model that an earlier page showed.", param=param)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_LIMIT:
        return int(text[:9])
    raise InvalidRequest(f"limit = {text!r} must be a number from 1 to {MAX_LIMIT}.", param="limit")
