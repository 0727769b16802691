"""A request as the body that another server reads."""

import base64
import json
from collections.abc import Mapping
from dataclasses import fields as fields_of

from pomona.core.generation import GenerateRequest, OutputFormat, SamplingParams, ToolChoice
from pomona.core.messages import Message, PicturePart, TextPart, ToolDefinition

_UNSENT = {"logit_bias", "logprobs", "logprob_token_ids"}
_TIERS = {"low": "flex", "high": "priority"}


def request_body(request: GenerateRequest) -> dict[str, object]:
    """The JSON body that asks for `request` as a stream. Only what differs from the defaults is sent, so that any server can read it."""
    body: dict[str, object] = {
        "model": request.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling),
    }
    optional: dict[str, object] = {
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "ignore_eos": request.ignore_eos or None,
        "response_format": _format(request.output_format),
        "service_tier": _TIERS.get(request.priority),
        "prompt_cache_key": request.session or None,
        **(_chat(request) if request.messages is not None else {"suffix": request.suffix}),
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    if request.messages is not None:
        return {**body, "messages": [_message(message) for message in request.messages]}
    return {**body, "prompt": request.text if request.text is not None else list(request.token_ids or ())}


def _sampling(sampling: SamplingParams) -> dict[str, object]:
    plain = SamplingParams()
    found: dict[str, object] = {
        field.name: getattr(sampling, field.name)
        for field in fields_of(SamplingParams)
        if field.name not in _UNSENT and getattr(sampling, field.name) != getattr(plain, field.name)
    }
    if sampling.logit_bias:
        found["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return found


def _chat(request: GenerateRequest) -> dict[str, object]:
    """What only conversations have. The effort is sent in OpenAI's word, the rest of the thinking in ours."""
    options = request.reasoning
    thinking = {"enabled": options.enabled, "max_tokens": options.budget_tokens}
    thinking = {name: value for name, value in thinking.items() if value is not None}
    return {
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _choice(request.tool_choice),
        "parallel_tool_calls": None if request.tool_choice.parallel else False,
        "reasoning_effort": options.effort,
        "reasoning": thinking or None,
        "chat_template_kwargs": dict(request.template_options) or None,
        "continue_final_message": request.continue_last_message or None,
    }


def _tool(tool: ToolDefinition) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name, "parameters": dict(tool.parameters)}
    if tool.description:
        function["description"] = tool.description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> object:
    if not choice.names:
        return None if choice.mode == "auto" else choice.mode
    named = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if choice.mode == "required" and len(named) == 1:
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}


def _format(wanted: OutputFormat | None) -> Mapping[str, object] | None:
    if wanted is None:
        return None
    kind, source = wanted.kind, wanted.source
    if kind == "json_schema":
        return {"type": kind, "json_schema": {"name": "answer", "schema": json.loads(source), "strict": True}}
    fields: dict[str, dict[str, object]] = {
        "json_object": {},
        "regex": {"pattern": source},
        "choice": {"choices": json.loads(source) if kind == "choice" else None},
        "lark": {"grammar": source},
        "xml": {"schema": json.loads(source) if kind == "xml" else None},
    }
    return {"type": "xml_schema" if kind == "xml" else kind, **fields[kind]}


def _message(message: Message) -> dict[str, object]:
    said: dict[str, object] = {"role": message.role, "content": content_of(message)}
    if message.name:
        said["name"] = message.name
    if message.reasoning:
        said["reasoning_content"] = message.reasoning
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in message.tool_calls
        ]
        said |= {"tool_calls": calls, "content": message.text or None}
    return said


def content_of(message: Message) -> str | list[dict[str, object]]:
    """Its text, or with pictures its parts."""
    if not message.pictures:
        return message.text
    parts: list[dict[str, object]] = []
    for part in message.content:
        if isinstance(part, TextPart):
            parts.append({"type": "text", "text": part.text})
        elif isinstance(part, PicturePart):
            parts.append(_picture(part))
    return parts


def _picture(part: PicturePart) -> dict[str, object]:
    """A PDF goes as a file, whether it came as bytes or as an address that carries it."""
    url = part.url if part.url is not None else data_url(part.data or b"")
    if url.startswith("data:application/pdf"):
        return {"type": "file", "file": {"filename": "document.pdf", "file_data": url}}
    detail: dict[str, object] = {} if part.detail == "auto" else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def data_url(data: bytes) -> str:
    """`data` as an address that carries it. Readers look at the bytes, not at the type that it names."""
    kind = "application/pdf" if b"%PDF-" in data[:1024] else "image/*"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
