"""From a checked body to the requests behind it. A field that cannot be honoured is refused, never dropped."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import GenerateRequest, SamplingParams
from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition
from pomona.core.status import ModelCard
from pomona.server.openai.wire import (
    MAX_CHOICES,
    ChatCompletionRequest,
    CompletionRequest,
    ContentPart,
    MessageBody,
    SamplingBody,
    ToolCallBody,
)

DEFAULT_COMPLETION_TOKENS = 16
_TINY_TOP_P = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request: the requests behind its choices, in the order of their indexes, and how the answer is to look.

    `copies` is n: choice `prompt_index * copies + copy`. `created` is in Unix seconds.
    """

    id: str
    created: int
    model: str
    requests: tuple[GenerateRequest, ...]
    copies: int = 1
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    echo: bool = False


def new_id(prefix: str) -> str:
    """A fresh id such as `chatcmpl-8f1c…`."""
    return f"{prefix}-{uuid.uuid4().hex}"


def decode_chat(body: ChatCompletionRequest, call_id: str, card: ModelCard) -> Call:
    """The call that a chat body asks for; the defaults of `card` hold for what it leaves open.

    Raises InvalidRequest and UnsupportedField.
    """
    _refuse_chat_fields(body)
    request = GenerateRequest(
        id=call_id,
        model=card.id,
        messages=tuple(_message(message, index) for index, message in enumerate(body.messages)),
        tools=_tools(body),
        sampling=_sampling(body, _chat_logprobs(body), card.sampling_defaults),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        stop=_stop(body),
        ignore_eos=bool(body.ignore_eos),
        template_options=_template_options(body),
        continue_last_message=_continues(body),
    )
    return _call(body, call_id, (request,), logprobs=bool(body.logprobs))


def decode_completion(body: CompletionRequest, call_id: str, card: ModelCard) -> Call:
    """The call that a completion body asks for: one choice per prompt and copy; the defaults on `card` hold for what it leaves open.

    Raises InvalidRequest and UnsupportedField.
    """
    _refuse_completion_fields(body)
    sampling = _sampling(body, body.logprobs, card.sampling_defaults)
    requests = tuple(
        GenerateRequest(
            id=call_id,
            model=card.id,
            text=prompt if isinstance(prompt, str) else None,
            token_ids=None if isinstance(prompt, str) else tuple(prompt),
            sampling=sampling,
            max_tokens=body.max_tokens or DEFAULT_COMPLETION_TOKENS,
            stop=_stop(body),
            ignore_eos=bool(body.ignore_eos),
        )
        for prompt in _prompts(body)
    )
    return _call(body, call_id, requests, logprobs=body.logprobs is not None, echo=bool(body.echo))


def _call(body: SamplingBody, call_id: str, requests: tuple[GenerateRequest, ...], *, logprobs: bool, echo: bool = False) -> Call:
    copies = body.n or 1
    if len(requests) * copies > MAX_CHOICES:
        asked = f"{len(requests)} prompts with n = {copies}"
        raise InvalidRequest(f"{asked} make {len(requests) * copies} choices; one request has up to {MAX_CHOICES}. Split it.", param="n")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options is only allowed where stream is true. Leave it out, or set stream.", param="stream_options")
    return Call(
        id=call_id,
        created=int(time.time()),
        model=body.model,
        requests=_copy(requests, copies),
        copies=copies,
        stream=bool(body.stream),
        include_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
        logprobs=logprobs,
        echo=echo,
    )


def _copy(requests: tuple[GenerateRequest, ...], copies: int) -> tuple[GenerateRequest, ...]:
    """Each request `copies` times, with ids and seeds of their own."""
    if len(requests) * copies == 1:
        return requests
    return tuple(
        replace(request, id=f"{request.id}-{number * copies + copy}", sampling=_reseeded(request.sampling, copy))
        for number, request in enumerate(requests)
        for copy in range(copies)
    )


def _reseeded(sampling: SamplingParams, copy: int) -> SamplingParams:
    return sampling if sampling.seed is None or copy == 0 else replace(sampling, seed=sampling.seed + copy)


def _sampling(body: SamplingBody, logprobs: int | None, defaults: SamplingParams) -> SamplingParams:
    return SamplingParams(
        temperature=_or(body.temperature, defaults.temperature),
        top_k=max(defaults.top_k if body.top_k is None else body.top_k, 0),
        top_p=max(_or(body.top_p, defaults.top_p), _TINY_TOP_P),  # OpenAI takes 0 for "only the most likely token"
        min_p=_or(body.min_p, defaults.min_p),
        repetition_penalty=_or(body.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=_or(body.presence_penalty, 0.0),
        frequency_penalty=_or(body.frequency_penalty, 0.0),
        logit_bias=body.logit_bias or {},
        seed=body.seed,
        logprobs=logprobs,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _stop(body: SamplingBody) -> tuple[str, ...]:
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())


def _chat_logprobs(body: ChatCompletionRequest) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest(f"top_logprobs = {body.top_logprobs} needs logprobs to be true.", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


def _template_options(body: ChatCompletionRequest) -> Mapping[str, object]:
    options: dict[str, object] = {}
    if body.reasoning_effort is not None:
        options["reasoning_effort"] = body.reasoning_effort
        if body.reasoning_effort == "none":
            options["enable_thinking"] = False
    return options | (body.chat_template_kwargs or {})


def _continues(body: ChatCompletionRequest) -> bool:
    if body.continue_final_message and body.messages[-1].role != "assistant":
        raise InvalidRequest(
            f"continue_final_message needs an assistant message at the end; the last one is of {body.messages[-1].role!r}.",
            param="continue_final_message",
        )
    return bool(body.continue_final_message)


def _message(body: MessageBody, index: int) -> Message:
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
        tool_calls=_tool_calls(body, path),
        tool_call_id=body.tool_call_id,
        extra=extra,
    )


def _content(body: MessageBody, path: str) -> tuple[TextPart, ...]:
    if body.content is None:
        return ()
    if isinstance(body.content, str):
        return (TextPart(text=body.content),)
    return tuple(_part(part, f"{path}.content[{index}]") for index, part in enumerate(body.content))


def _part(part: ContentPart, path: str) -> TextPart:
    kinds = {"text": part.text, "refusal": part.refusal}
    if part.type not in kinds:
        what = {"image_url": "pictures", "input_audio": "sound", "file": "files"}.get(part.type, f"parts of type {part.type!r}")
        raise UnsupportedField(f"{path}: this model takes no {what}. Send text parts only.", param=path)
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
    if call.type != "function" or call.function is None:
        raise UnsupportedField(f"{path} is of type {call.type!r}; calls of type 'function' with a field 'function' are taken.", param=path)
    return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)


def _tools(body: ChatCompletionRequest) -> tuple[ToolDefinition, ...]:
    """What the template shows. With tool_choice 'none' the model is not told of any tool, which keeps it from calling one."""
    definitions: list[ToolDefinition] = []
    for index, tool in enumerate(body.tools or ()):
        path = f"tools[{index}]"
        if tool.type != "function" or tool.function is None:
            raise UnsupportedField(
                f"{path} is of type {tool.type!r}; tools of type 'function' with a field 'function' are taken.", param=path
            )
        function = tool.function
        definitions.append(ToolDefinition(name=function.name, description=function.description or "", parameters=function.parameters or {}))
    return () if body.tool_choice == "none" else tuple(definitions)


def _prompts(body: CompletionRequest) -> list[str | list[int]]:
    if isinstance(body.prompt, str):
        return [body.prompt]
    ids = [token for token in body.prompt if isinstance(token, int)]
    return [ids] if ids else [prompt for prompt in body.prompt if not isinstance(prompt, int)]


def _refuse_chat_fields(body: ChatCompletionRequest) -> None:
    if isinstance(body.tool_choice, dict) or body.tool_choice == "required":
        _refuse("tool_choice", body.tool_choice, "a call cannot be forced yet; 'auto' and 'none' are honoured")
    if body.functions:
        _refuse("functions", [function.name for function in body.functions], "it is OpenAI's old form of tools; send tools")
    if body.response_format is not None and body.response_format.type != "text":
        _refuse("response_format", body.response_format.type, "the form of the answer cannot be enforced yet; 'text' is honoured")
    if body.audio is not None or "audio" in (body.modalities or ()):
        _refuse("audio", body.audio or body.modalities, "models here answer in text; leave it out")


def _refuse_completion_fields(body: CompletionRequest) -> None:
    if body.suffix:
        _refuse("suffix", body.suffix, "text cannot be filled in before a suffix; leave it out")
    if body.best_of not in (None, body.n or 1):
        _refuse("best_of", body.best_of, f"all answers are returned, so it must equal n, which is {body.n or 1}")
    if body.echo and body.logprobs is not None:
        _refuse("echo", body.echo, "log-probabilities of the prompt are not computed; ask for either echo or logprobs")
    if body.echo and any(not isinstance(prompt, str) for prompt in _prompts(body)):
        _refuse("echo", body.echo, "a prompt of token ids has no text to repeat; send text, or leave echo out")


def _refuse(field: str, value: object, reason: str) -> None:
    raise UnsupportedField(f"{field} = {value!r} is not supported: {reason}.", param=field)
