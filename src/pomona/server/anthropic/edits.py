"""`context_management`: thoughts and results of calls that are left out of a long conversation before the model reads it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pomona.core.generation import GenerateRequest
from pomona.core.messages import Message, TextPart, ToolCall
from pomona.core.ports import Tokenization
from pomona.server.anthropic.decode import Call
from pomona.server.anthropic.wire import Amount, Edit

_CLEARED = (TextPart(text="[This result was cleared to save room.]"),)
_KEPT_TURNS, _KEPT_USES, _TRIGGER_TOKENS = 1, 3, 100_000  # Anthropic's defaults
_PICTURE_CHARACTERS = 2**20
"""More than the tokens of any picture, or of all pages of a PDF."""
_MARKS_CHARACTERS = 200
"""A template writes less than this around a message."""
Messages = tuple[Message, ...]


async def apply_edits(call: Call, tokenization: Tokenization) -> tuple[Call, int | None]:
    """The call with its edits applied and listed, and the tokens that its prompt had before; None where nothing was cleared.

    Prompts are only counted where an edit depends on it or did something. Edits of types that are not known are ignored.
    """
    before: int | None = None
    for edit in call.edits or ():
        attempt = _EDITS.get(edit.type)
        if attempt is None:
            continue
        changed, amount = attempt(edit, call.request.messages or ())
        if not amount or not await _is_due(edit, call.request, tokenization):
            continue
        full = await count(call.request, tokenization)
        edited = replace(call.request, messages=changed)
        cleared = full - await count(edited, tokenization)
        if cleared < _value(edit.clear_at_least, 0):
            continue
        before = full if before is None else before
        applied = {"type": edit.type, "cleared_input_tokens": cleared, _COUNTED[edit.type]: amount}
        call = replace(call, request=edited, applied_edits=(*call.applied_edits, applied))
    return call, before


async def count(request: GenerateRequest, tokenization: Tokenization) -> int:
    """The tokens of the prompt of `request`."""
    return len((await tokenization.render(request)).token_ids)


async def _is_due(edit: Edit, request: GenerateRequest, tokenization: Tokenization) -> bool:
    """Whether what an edit waits for has come. A prompt of fewer bytes than tokens are asked for need not be counted."""
    if edit.type != "clear_tool_uses_20250919":
        return True
    if edit.trigger is not None and edit.trigger.type == "tool_uses":
        return len(_uses(request.messages or ())) > _value(edit.trigger, 0)
    tokens = _value(edit.trigger, _TRIGGER_TOKENS)
    return _most_tokens(request) > tokens and await count(request, tokenization) > tokens


def _most_tokens(request: GenerateRequest) -> int:
    """More tokens than the prompt can have: a token is a byte at least, a character four bytes at most."""
    characters = sum(len(tool.name) + len(tool.description) + len(str(tool.parameters)) for tool in request.tools)
    for message in request.messages or ():
        calls = sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
        characters += len(message.pictures) * _PICTURE_CHARACTERS
        characters += len(message.text) + len(message.reasoning) + calls + _MARKS_CHARACTERS
    return 4 * characters


def _clear_thoughts(edit: Edit, messages: Messages) -> tuple[Messages, int]:
    """Keep the thoughts of the last turns in which there were any; a turn goes from one thing that a person says to the next."""
    if edit.keep == "all" or (isinstance(edit.keep, Amount) and edit.keep.type == "all"):
        return messages, 0
    keep = _value(edit.keep if isinstance(edit.keep, Amount) else None, _KEPT_TURNS)
    turns = _turn_numbers(messages)
    thoughtful = sorted({turn for turn, message in zip(turns, messages, strict=True) if message.reasoning})
    cleared = set(thoughtful[: max(len(thoughtful) - keep, 0)])
    edited = tuple(replace(each, reasoning="") if turn in cleared else each for turn, each in zip(turns, messages, strict=True))
    return edited, len(cleared)


def _turn_numbers(messages: Messages) -> list[int]:
    numbers: list[int] = []
    for message in messages:
        last = numbers[-1] if numbers else 0
        numbers.append(last + (message.role == "user"))
    return numbers


def _clear_uses(edit: Edit, messages: Messages) -> tuple[Messages, int]:
    """Empty the results of all but the last calls, and their arguments too where that is asked for."""
    keep = _value(edit.keep if isinstance(edit.keep, Amount) else None, _KEPT_USES)
    excluded = set(edit.exclude_tools or ())
    old = [call for call in _uses(messages)[: -keep or None] if call.name not in excluded]
    ids = {call.id for call in old}
    return tuple(_without_uses(message, ids, edit) for message in messages), len(old)


def _uses(messages: Sequence[Message]) -> list[ToolCall]:
    return [call for message in messages for call in message.tool_calls]


def _without_uses(message: Message, ids: set[str], edit: Edit) -> Message:
    if message.role == "tool" and message.tool_call_id in ids:
        return replace(message, content=_CLEARED)
    inputs = edit.clear_tool_inputs
    if not inputs or not message.tool_calls:
        return message
    calls = tuple(
        replace(call, arguments="{}") if call.id in ids and (inputs is True or call.name in inputs) else call for call in message.tool_calls
    )
    return replace(message, tool_calls=calls)


def _value(amount: Amount | None, default: int) -> int:
    return default if amount is None or amount.value is None else amount.value


_EDITS: dict[str, Callable[[Edit, Messages], tuple[Messages, int]]] = {
    "clear_thinking_20251015": _clear_thoughts,
    "clear_tool_uses_20250919": _clear_uses,
}
_COUNTED = {"clear_thinking_20251015": "cleared_thinking_turns", "clear_tool_uses_20250919": "cleared_tool_uses"}
