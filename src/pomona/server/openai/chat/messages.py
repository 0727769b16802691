"""The conversation of a chat body as messages."""

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.messages import Message, Part, PicturePart, TextPart, ToolCall
from pomona.server.openai.custom_tools import custom_arguments
from pomona.server.openai.pictures import detail_of, pdf_part
from pomona.server.openai.wire import ContentPart, MessageBody, ToolCallBody

_WORDS = {"input_audio": "sound"}


def message_of(body: MessageBody, index: int) -> Message:
    """Message number `index`. Raises InvalidRequest and UnsupportedField."""
    path = f"messages[{index}]"
    if body.role == "tool" and not body.tool_call_id:
        raise InvalidRequest(f"{path} is of role 'tool' and must say in tool_call_id which call it answers.", param=f"{path}.tool_call_id")
    if body.content is None and body.role != "assistant":
        raise InvalidRequest(f"{path}.content is missing. A {body.role} message needs text.", param=f"{path}.content")
    extra = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
    return Message(
        role="tool" if body.role == "function" else body.role,
        content=_content(body, path),
        name=body.name,
        reasoning=body.reasoning_content or _other_reasoning(extra),
        tool_calls=_tool_calls(body, path),
        tool_call_id=body.tool_call_id,
        extra=extra,
    )


def _other_reasoning(extra: dict[str, object]) -> str:
    """Thoughts as other servers name them; taken out of `extra`, where a template would see them a second time."""
    found = extra.pop("reasoning", "")
    return found if isinstance(found, str) else ""


def _content(body: MessageBody, path: str) -> tuple[Part, ...]:
    if body.content is None:
        return ()
    if isinstance(body.content, str):
        return (TextPart(text=body.content),)
    return tuple(_part(part, f"{path}.content[{index}]") for index, part in enumerate(body.content))


def _part(part: ContentPart, path: str) -> Part:
    if part.type == "image_url" and part.image_url is not None:
        here = f"{path}.image_url"
        return PicturePart(url=part.image_url.url, detail=detail_of(part.image_url.detail, f"{here}.detail"), param=here)
    if part.type == "file" and part.file is not None:
        return pdf_part(part.file.file_data, part.file.file_id, f"{path}.file")
    if part.type in ("image_url", "file"):
        raise InvalidRequest(f"{path} is of type {part.type!r} and must have a field {part.type!r} with an object.", param=path)
    kinds = {"text": part.text, "refusal": part.refusal}
    if part.type not in kinds:
        what = _WORDS.get(part.type, f"parts of type {part.type!r}")
        raise UnsupportedField(f"{path}: this model takes no {what}. Send text and pictures only.", param=path)
    text = kinds[part.type]
    if text is None:
        raise InvalidRequest(f"{path} is of type {part.type!r} and must have a field {part.type!r} with a string.", param=path)
    return TextPart(text=text)


def _tool_calls(body: MessageBody, path: str) -> tuple[ToolCall, ...]:
    calls = tuple(_tool_call(call, f"{path}.tool_calls[{index}]") for index, call in enumerate(body.tool_calls or ()))
    if body.function_call is not None:
        calls += (ToolCall(id=f"call_{body.function_call.name}", name=body.function_call.name, arguments=body.function_call.arguments),)
    if calls and body.role != "assistant":
        raise InvalidRequest(f"{path}: only assistant messages make tool calls; this one is of {body.role!r}.", param=path)
    return calls


def _tool_call(call: ToolCallBody, path: str) -> ToolCall:
    if call.type == "custom" and call.custom is not None:
        return ToolCall(id=call.id, name=call.custom.name, arguments=custom_arguments(call.custom.input))
    if call.type != "function" or call.function is None:
        raise UnsupportedField(
            f"{path} is of type {call.type!r}; calls of type 'function' or 'custom', with a field of that name, are taken.", param=path
        )
    return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
