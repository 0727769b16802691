"""From a checked body to the request behind it, and how the response is to look."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest, OutputFormat, Priority, ReasoningOptions, SamplingParams, ToolChoice
from pomona.core.messages import Message, TextPart
from pomona.core.status import ModelCard
from pomona.server.bodies import keep_alive_seconds
from pomona.server.openai.responses.reading.context import Context, with_ids
from pomona.server.openai.responses.reading.items import messages_of, tools_in, without_old_thoughts
from pomona.server.openai.responses.reading.toolbox import Toolbox, choose, collect
from pomona.server.openai.responses.wire import (
    ConfigurationItem,
    ContextBody,
    FormatBody,
    Item,
    ResponseRequest,
    TextBody,
    Tool,
    TriggerItem,
)

_TINY_TOP_P = 1e-6
_DEFAULT_TIER: tuple[str, Priority] = ("default", "normal")
_TIERS: Mapping[str | None, tuple[str, Priority]] = {
    "flex": ("flex", "low"),
    "scale": ("scale", "high"),
    "priority": ("priority", "high"),
    "fast": ("priority", "high"),  # OpenAI answers so too
    "ultrafast": ("ultrafast", "high"),
}
_COMPACT = (
    "Put this conversation in short, so that it can be continued from your summary alone. Write down: what the user wants, word for word "
    "where it matters; what has been done and found; names of files, commands, values and decisions; what is still open and what comes "
    "next. Write plain text and nothing else. Do not continue the work and do not call tools."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One POST /v1/responses. `created` is in Unix seconds; `echo` are the fields of the response that repeat the request."""

    id: str
    created: int
    request: GenerateRequest
    toolbox: Toolbox
    input: list[dict[str, Any]]
    echo: Mapping[str, object]
    stream: bool
    background: bool
    store: bool
    logprobs: bool
    sealed: bool
    """Thoughts also come as `encrypted_content`."""
    summarised: bool
    """Thoughts come as summaries, not as reasoning text."""
    prewarm: bool
    """Only the prompt cache is filled; nothing is answered."""
    compacts: bool
    """The answer is a compaction item."""
    max_tool_calls: int | None

    @property
    def session(self) -> str:
        """What the conversation goes by."""
        return self.request.session


def decode(body: ResponseRequest, context: Context, card: ModelCard, response_id: str, caller: str) -> Call:
    """The call that `body` asks for; the defaults on `card` hold for what it leaves open. Raises InvalidRequest and UnsupportedField."""
    request, toolbox = decode_context(body, context, card, response_id, caller)
    include = body.include or []
    logprobs = "message.output_text.logprobs" in include or bool(body.top_logprobs)
    prewarm = body.prompt_cache_options is not None and bool(body.prompt_cache_options.prewarm)
    request = replace(
        request,
        sampling=_sampling(body, (body.top_logprobs or 0) if logprobs else None, card.sampling_defaults),
        max_tokens=1 if prewarm else body.max_output_tokens,
        stop=tuple(body.stop or ()),
        keep_alive_seconds=keep_alive_seconds(body.keep_alive),
    )
    compacts = bool(context.items) and isinstance(context.items[-1], TriggerItem)
    if body.background and body.store is False:
        raise InvalidRequest("background = True needs store: a response that is not kept cannot be asked for later.", param="background")
    return Call(
        id=response_id,
        created=int(time.time()),
        request=compaction_of(request) if compacts else request,
        toolbox=toolbox,
        input=with_ids(context.items),
        echo=_echo(body, request),
        stream=bool(body.stream),
        background=bool(body.background),
        store=body.store is not False,
        logprobs=logprobs,
        sealed="reasoning.encrypted_content" in include,
        summarised=_summarised(body),
        prewarm=prewarm,
        compacts=compacts,
        max_tool_calls=body.max_tool_calls,
    )


def decode_context(body: ContextBody, context: Context, card: ModelCard, response_id: str, caller: str) -> tuple[GenerateRequest, Toolbox]:
    """The request with all that the model reads, and its tools. Raises InvalidRequest and UnsupportedField."""
    tools: Sequence[Tool] = body.tools or []
    loaded = tools_in(context.items)
    toolbox = collect(tools, loaded)
    effort, text = _configuration(body, context.items)
    messages = messages_of(context.items, first_path=context.first)
    if body.reasoning is not None and body.reasoning.context == "current_turn":
        messages = without_old_thoughts(messages)
    if body.instructions:
        messages = (Message(role="system", content=(TextPart(text=body.instructions),)), *messages)
    if not messages:
        raise InvalidRequest("input holds nothing that a model can read. Send a message.", param="input")
    request = GenerateRequest(
        id=response_id,
        model=card.id,
        messages=messages,
        tools=toolbox.definitions,
        tool_choice=choose(body.tool_choice, toolbox, [*tools, *loaded], body.parallel_tool_calls),
        output_format=_output_format(text.format if text else None),
        reasoning=ReasoningOptions(
            enabled=False if effort == "none" else None,
            effort=effort,
            budget_tokens=None if body.reasoning is None else body.reasoning.budget_tokens,
        ),
        template_options=({"verbosity": text.verbosity} if text and text.verbosity else {}) | (body.chat_template_kwargs or {}),
        clamp_max_tokens=True,
        priority=_TIERS.get(body.service_tier, _DEFAULT_TIER)[1],
        caller=caller,
        session=body.prompt_cache_key or context.session,
    )
    return request, toolbox


def compaction_of(request: GenerateRequest) -> GenerateRequest:
    """`request` with the wish for a summary at its end. All before stays as it is, so that the prompt cache has it."""
    wish = Message(role="user", content=(TextPart(text=_COMPACT),))
    return replace(
        request,
        messages=(*(request.messages or ()), wish),
        reasoning=ReasoningOptions(enabled=False),
        tool_choice=ToolChoice(mode="none") if request.tools else ToolChoice(),
        output_format=None,
        stop=(),
    )


def _configuration(body: ContextBody, items: Sequence[Item]) -> tuple[str | None, TextBody | None]:
    """Effort and form of the answer: those of the body, then whatever the input sets on the way."""
    effort = None if body.reasoning is None else body.reasoning.effort
    text = body.text
    for item in items:
        if isinstance(item, ConfigurationItem):
            effort = item.reasoning.effort if item.reasoning is not None and item.reasoning.effort else effort
            if item.text is not None:
                text = TextBody(format=item.text.format, verbosity=item.text.verbosity or (text.verbosity if text else None))
    return effort, text


def _output_format(form: FormatBody | None) -> OutputFormat | None:
    if form is None or form.type == "text":
        return None
    param = "text.format"
    match form.type:
        case "json_object":
            return OutputFormat(kind="json_object", param=param)
        case "json_schema" | "xml_schema" if form.schema_ is not None:
            return OutputFormat(kind="json_schema" if form.type == "json_schema" else "xml", source=json.dumps(form.schema_), param=param)
        case "regex" if form.pattern is not None:
            return OutputFormat(kind="regex", source=form.pattern, param=param)
        case "choice" if form.choices:
            return OutputFormat(kind="choice", source=json.dumps(form.choices), param=param)
        case "lark" if form.grammar is not None:
            return OutputFormat(kind="lark", source=form.grammar, param=param)
        case kind:
            needed = {"json_schema": "schema", "xml_schema": "schema", "regex": "pattern", "choice": "choices", "lark": "grammar"}
            if kind in needed:
                raise InvalidRequest(f"text.format is of type {kind!r} and must have the field {needed[kind]!r}.", param=param)
            known = ", ".join(repr(each) for each in ("text", "json_object", *needed))
            raise InvalidRequest(f"text.format.type = {kind!r} should be one of {known}.", param=f"{param}.type")


def _sampling(body: ResponseRequest, logprobs: int | None, defaults: SamplingParams) -> SamplingParams:
    return SamplingParams(
        temperature=_or(body.temperature, defaults.temperature),
        top_k=max(defaults.top_k if body.top_k is None else body.top_k, 0),
        top_p=max(_or(body.top_p, defaults.top_p), _TINY_TOP_P),  # OpenAI takes 0 for "only the most likely token"
        min_p=_or(body.min_p, defaults.min_p),
        repetition_penalty=_or(body.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=_or(body.presence_penalty, 0.0),
        frequency_penalty=_or(body.frequency_penalty, 0.0),
        seed=body.seed,
        logprobs=logprobs,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _summarised(body: ResponseRequest) -> bool:
    asked = None if body.reasoning is None else body.reasoning.summary or body.reasoning.generate_summary
    return asked not in (None, "none")


def _echo(body: ResponseRequest, request: GenerateRequest) -> dict[str, object]:
    text = {} if body.text is None else body.text.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
    return {
        "model": body.model,
        "background": bool(body.background),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {
            "effort": request.reasoning.effort,
            "summary": None if body.reasoning is None else body.reasoning.summary or body.reasoning.generate_summary,
        },
        "safety_identifier": body.safety_identifier,
        "service_tier": _TIERS.get(body.service_tier, _DEFAULT_TIER)[0],
        "store": body.store is not False,
        "temperature": request.sampling.temperature,
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | text,
        "tool_choice": body.tool_choice or "auto",
        "tools": [tool if isinstance(tool, dict) else tool.model_dump(by_alias=True, exclude_unset=True) for tool in body.tools or []],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": request.sampling.top_p,
        "truncation": body.truncation or "disabled",
        "user": body.user,
    }
