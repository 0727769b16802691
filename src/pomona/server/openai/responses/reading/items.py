"""Items to messages: what stands between two turns of others is one turn of the assistant."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.messages import Message, Part, PicturePart, TextPart, ToolCall
from pomona.server.openai.custom_tools import custom_arguments
from pomona.server.openai.pictures import detail_of, pdf_part
from pomona.server.openai.responses.opaque import unseal
from pomona.server.openai.responses.reading.toolbox import flat_name
from pomona.server.openai.responses.wire import (
    ActionCallItem,
    ActionOutputItem,
    CompactionItem,
    Content,
    CustomCallItem,
    FunctionCallItem,
    Item,
    ItemPart,
    McpCallItem,
    MessageItem,
    MoreToolsItem,
    OutputItem,
    PatchCallItem,
    ReasoningItem,
    SearchCallItem,
    Tool,
)

_UNSEEN = {"input_audio": "sound"}
_PICTURES = ("input_image", "image", "computer_screenshot")
_CANNOT_READ = "[The earlier conversation was put in short by another server and cannot be read here.]"


def messages_of(items: Sequence[Item], *, first_path: int = 0) -> tuple[Message, ...]:
    """The conversation that `items` are. Items of types that no local model makes are left out.

    Errors call the items `input[0]`, `input[1]` … from the one numbered `first_path` on. Raises InvalidRequest and UnsupportedField.
    """
    conversation = _Conversation()
    for index, item in enumerate(items):
        _add(conversation, item, f"input[{index - first_path}]")
    return conversation.end()


def tools_in(items: Sequence[Item]) -> list[Tool]:
    """The tools that searches found and that the client added on the way."""
    return [tool for item in items if isinstance(item, MoreToolsItem) for tool in item.tools]


def without_old_thoughts(messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` without the thoughts that came before the last message of the user."""
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=0)
    return tuple(replace(message, reasoning="") if index < last else message for index, message in enumerate(messages))


@dataclass(slots=True)
class _Turn:
    """The assistant's turn while it grows."""

    content: list[Part] = field(default_factory=list[Part])
    reasoning: list[str] = field(default_factory=list[str])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])


class _Conversation:
    """Messages so far, and the open turn of the assistant."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._turn: _Turn | None = None
        self._names: dict[str, str] = {}

    @property
    def turn(self) -> _Turn:
        """The open turn, begun where there is none."""
        if self._turn is None:
            self._turn = _Turn()
        return self._turn

    def say(self, content: tuple[Part, ...]) -> None:
        """The assistant says something; a second message without a call between is a turn of its own."""
        if self._turn is not None and self._turn.content and not self._turn.calls:
            self._close()
        self.turn.content.extend(content)

    def call(self, call_id: str | None, name: str, arguments: str) -> None:
        """The assistant calls a tool."""
        known = call_id or f"call_{len(self._names)}"
        self._names[known] = name
        self.turn.calls.append(ToolCall(id=known, name=name, arguments=arguments))

    def answer(self, call_id: str | None, text: str, *pictures: Part) -> None:
        """A tool gives back `text` and perhaps pictures; without an id it answers the last call."""
        self._close()
        known = call_id or next(reversed(self._names), "call_0")
        self.add(Message(role="tool", content=(TextPart(text=text), *pictures), tool_call_id=known, name=self._names.get(known)))

    def add(self, message: Message) -> None:
        """Somebody else's turn."""
        self._close()
        self._messages.append(message)

    def end(self) -> tuple[Message, ...]:
        """All messages."""
        self._close()
        return tuple(self._messages)

    def _close(self) -> None:
        if self._turn is not None:
            turn, self._turn = self._turn, None
            self._messages.append(
                Message(role="assistant", content=tuple(turn.content), reasoning="\n".join(turn.reasoning), tool_calls=tuple(turn.calls))
            )


def _add(conversation: _Conversation, item: Item, path: str) -> None:
    match item:
        case MessageItem():
            content = _content(item.content, path)
            if item.role == "assistant":
                conversation.say(content)
            else:
                conversation.add(Message(role=item.role, content=content))
        case ReasoningItem():
            conversation.turn.reasoning.append(_thought(item))
        case FunctionCallItem():
            conversation.call(item.call_id, flat_name(item.namespace, item.name), item.arguments)
        case CustomCallItem():
            conversation.call(item.call_id, flat_name(item.namespace, item.name), custom_arguments(item.input))
        case OutputItem():
            conversation.answer(item.call_id, *_shown_output(item.output, f"{path}.output"))
        case CompactionItem():
            conversation.add(Message(role="user", content=(TextPart(text=_summary(item)),)))
        case _:
            _add_action(conversation, item)


def _add_action(conversation: _Conversation, item: Item) -> None:
    match item:
        case ActionCallItem():
            name = "shell" if item.type == "shell_call" else "local_shell"
            left_out = {"type", "env"} if item.type == "local_shell_call" else set[str]()
            arguments = {key: value for key, value in item.action.items() if key not in left_out and value is not None}
            conversation.call(item.call_id or item.id, name, _json(arguments))
        case PatchCallItem():
            conversation.call(item.call_id, "apply_patch", _json(item.operation))
        case ActionOutputItem():
            conversation.answer(item.call_id or (item.id if item.type == "local_shell_call_output" else None), _action_output(item))
        case SearchCallItem():
            arguments = item.arguments if isinstance(item.arguments, str) else _json(item.arguments or {})
            conversation.call(item.call_id or item.id, "tool_search", arguments)
        case MoreToolsItem():
            if item.type == "tool_search_output" and item.call_id:
                conversation.answer(item.call_id, _json([_named(tool) for tool in item.tools]))
        case McpCallItem():
            conversation.call(item.id, item.name, item.arguments)
            conversation.answer(item.id, item.output or "")
        case _:
            pass


def _content(content: Content | None, path: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(text=content),)
    parts = (_part(part, f"{path}.content[{index}]") for index, part in enumerate(content))
    return tuple(part for part in parts if part is not None)


def _part(part: ItemPart, path: str) -> Part | None:
    if part.type in _PICTURES or part.type == "input_file":
        return _picture(part, path)
    text = _text(part, path)
    return None if text is None else TextPart(text=text)


def _picture(part: ItemPart, path: str) -> PicturePart:
    """A picture or a PDF. Raises UnsupportedField for one that is kept elsewhere."""
    if part.type == "input_file":
        return pdf_part(part.file_data, part.file_id, path, url=part.file_url)
    if part.image_url is not None:
        return PicturePart(url=part.image_url, detail=detail_of(part.detail, f"{path}.detail"), param=f"{path}.image_url")
    if part.file_id is not None:
        raise UnsupportedField(f"{path}.file_id names a stored file, and this server keeps none. Send image_url.", param=f"{path}.file_id")
    raise InvalidRequest(f"{path} is of type {part.type!r} and must have a field 'image_url' with a string.", param=path)


def _text(part: ItemPart, path: str) -> str | None:
    if part.type in _UNSEEN:
        raise UnsupportedField(f"{path}: this model takes no {_UNSEEN[part.type]}. Send text and pictures only.", param=path)
    text = part.refusal if part.type == "refusal" else part.text
    if text is None and part.type in ("input_text", "output_text", "text", "refusal"):
        field_name = "refusal" if part.type == "refusal" else "text"
        raise InvalidRequest(f"{path} is of type {part.type!r} and must have a field {field_name!r} with a string.", param=path)
    return text


def _shown_output(output: Content, path: str) -> tuple[str, *tuple[Part, ...]]:
    """Text and pictures of an output. What cannot be read is named in its place: an agent cannot take it out of its history."""
    if isinstance(output, str):
        return (output,)
    lines: list[str] = []
    pictures: list[Part] = []
    for index, part in enumerate(output):
        if part.type in _UNSEEN:
            lines.append(f"[{_UNSEEN[part.type]} left out: this model takes text]")
        elif part.file_id is not None and (part.image_url or part.file_data or part.file_url) is None:
            lines.append("[stored file left out: this server keeps none]")
        elif part.type in _PICTURES or part.type == "input_file":
            pictures.append(_picture(part, f"{path}[{index}]"))
        else:
            lines.append(part.text or "")
    return "\n".join(lines), *pictures


def _thought(item: ReasoningItem) -> str:
    sealed = unseal(item.encrypted_content)
    if sealed is not None:
        return sealed
    return "\n".join(part.text or "" for part in item.content or item.summary or ())


def _summary(item: CompactionItem) -> str:
    summary = unseal(item.encrypted_content)
    return _CANNOT_READ if summary is None else f"This is what happened in the conversation so far:\n\n{summary}"


def _action_output(item: ActionOutputItem) -> str:
    if isinstance(item.output, str):
        return item.output
    if isinstance(item.output, list):
        chunks = cast("list[object]", item.output)
        return "\n".join(_chunk(cast("Mapping[str, Any]", chunk)) for chunk in chunks if isinstance(chunk, dict))
    return item.status or ""


def _chunk(chunk: Mapping[str, Any]) -> str:
    outcome: object = chunk.get("outcome")
    told = cast("Mapping[str, Any]", outcome if isinstance(outcome, dict) else {})
    end = "timed out" if told.get("type") == "timeout" else f"exit code {told['exit_code']}" if "exit_code" in told else ""
    parts = [str(chunk.get("stdout") or ""), str(chunk.get("stderr") or ""), f"({end})" if end else ""]
    return "\n".join(part for part in parts if part)


def _named(tool: Tool) -> object:
    if isinstance(tool, dict):
        return {"type": tool.get("type")}
    return {key: value for key, value in tool.model_dump(exclude_unset=True).items() if key in ("name", "description")}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
