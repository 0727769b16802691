"""What a response is made from: the input, what precedes it, and what it refers to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from pomona.core.errors import InvalidRequest, NotFound
from pomona.server.openai.responses.ids import fresh_id
from pomona.server.openai.responses.store import ResponseStore, StoredResponse
from pomona.server.openai.responses.wire import ContextBody, Item, Items, MessageItem, ReferenceItem

_PREFIXES = {
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
    "compaction": "cmp",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All items, those of earlier responses first; the input's own begin at `first`. `session` is that of the earlier ones."""

    items: tuple[Item, ...]
    first: int = 0
    session: str = ""


def context_of(body: ContextBody, store: ResponseStore, caller: str) -> Context:
    """The context that `body` asks for. Raises NotFound for what is not kept, and InvalidRequest where there is nothing."""
    if body.prompt is not None:
        raise InvalidRequest(
            "prompt refers to a template that is kept at OpenAI and cannot be read here. Send instructions and input.", param="prompt"
        )
    earlier = _previous(body.previous_response_id, store, caller)
    past = () if earlier is None else tuple(Items.validate_json(earlier.input) + Items.validate_json(earlier.output))
    given = [MessageItem(role="user", content=body.input)] if isinstance(body.input, str) else body.input or []
    items = (*past, *(_resolve(item, index, store, caller) for index, item in enumerate(given)))
    if not items and not body.instructions:
        raise InvalidRequest("input is missing or empty. Send a string or a list of items.", param="input")
    return Context(items=items, first=len(past), session="" if earlier is None else earlier.session or earlier.id)


def with_ids(items: Sequence[Item]) -> list[dict[str, Any]]:
    """`items` as JSON objects that all have an id."""
    dumped = (item if isinstance(item, dict) else item.model_dump(by_alias=True, exclude_unset=True) for item in items)
    return [_with_id(item) for item in dumped]


def to_json(value: object) -> bytes:
    """JSON of what came from a client: numbers may be of any size, and those that JSON cannot say become null."""
    return pydantic_core.to_json(value, inf_nan_mode="null")


def _with_id(item: dict[str, Any]) -> dict[str, Any]:
    kind = str(item.get("type") or "message")
    made: dict[str, Any] = {
        "id": str(item.get("id") or "") or fresh_id(_PREFIXES.get(kind, "msg" if kind == "message" else "item")),
        "type": kind,
    }
    if kind == "message" and isinstance(content := item.get("content"), str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        made["content"] = [{"type": part, "text": content} | ({"annotations": []} if part == "output_text" else {})]
    return {"status": "completed"} | item | made if kind == "message" else item | made


def _previous(response_id: str | None, store: ResponseStore, caller: str) -> StoredResponse | None:
    if response_id is None:
        return None
    found = store.find(caller, response_id)
    if found is None or found.id != response_id:
        raise NotFound(
            f"There is no response {response_id!r} here: it was not stored, deleted, or too old. Send the whole conversation as input.",
            param="previous_response_id",
        )
    return found


def _resolve(item: Item, index: int, store: ResponseStore, caller: str) -> Item:
    if not isinstance(item, ReferenceItem):
        return item
    found = store.find(caller, item.id)
    kept = [] if found is None else Items.validate_json(found.output) + Items.validate_json(found.input)
    for each in kept:
        if (each.get("id") if isinstance(each, dict) else each.id) == item.id:
            return each
    raise NotFound(
        f"input[{index}] refers to the item {item.id!r}, which is not stored here. Send the item itself.", param=f"input[{index}]"
    )
