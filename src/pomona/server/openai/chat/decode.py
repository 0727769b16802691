"""From a checked chat body to the requests behind it. A field that cannot be honoured is refused, never dropped."""

from collections.abc import Mapping
from dataclasses import replace

from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest, ReasoningOptions
from pomona.core.status import ModelCard
from pomona.server.openai.call import Call, call_of, refuse, sampling_of, stops_of
from pomona.server.openai.chat.messages import message_of
from pomona.server.openai.chat.tools import tools_of
from pomona.server.openai.formats import output_format
from pomona.server.openai.wire import ChatCompletionRequest


def decode_chat(body: ChatCompletionRequest, call_id: str, card: ModelCard) -> Call:
    """The call that a chat body asks for; the defaults of `card` hold for what it leaves open.

    Raises InvalidRequest and UnsupportedField.
    """
    if body.audio is not None or "audio" in (body.modalities or ()):
        raise refuse("audio", body.audio or body.modalities, "models here answer in text; leave it out")
    tools = tools_of(body)
    request = GenerateRequest(
        id=call_id,
        model=card.id,
        messages=tuple(message_of(message, index) for index, message in enumerate(body.messages)),
        tools=tools.definitions,
        tool_choice=tools.choice,
        output_format=output_format(body),
        reasoning=_reasoning(body),
        sampling=sampling_of(body, _logprobs(body), card.sampling_defaults),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        clamp_max_tokens=True,
        stop=stops_of(body),
        ignore_eos=bool(body.ignore_eos),
        template_options=body.chat_template_kwargs or {},
        continue_last_message=_continues(body),
    )
    call = call_of(body, call_id, (request,), copies=body.n or 1, logprobs=bool(body.logprobs))
    return replace(
        call,
        legacy=tools.legacy,
        custom_tools=tools.custom,
        show_reasoning=not any(each.exclude for each in (body.reasoning, body.thinking) if each is not None),
        metadata=_metadata(body.metadata or {}),
    )


def _reasoning(body: ChatCompletionRequest) -> ReasoningOptions:
    """OpenAI's reasoning_effort, and what our extensions say beside it."""
    enabled, effort, budget = None, body.reasoning_effort, None
    for each in (body.reasoning, body.thinking):
        if each is None:
            continue
        if each.type is not None:
            enabled = each.type != "disabled"
        enabled = each.enabled if each.enabled is not None else enabled
        effort = each.effort or effort
        budget = each.max_tokens if each.max_tokens is not None else each.budget_tokens if each.budget_tokens is not None else budget
    if effort == "none":
        enabled = False
    return ReasoningOptions(enabled=enabled, effort=effort, budget_tokens=budget)


def _metadata(given: Mapping[str, object]) -> dict[str, str]:
    """What is echoed: strings, as OpenAI takes them."""
    return {key: value for key, value in given.items() if isinstance(value, str)}


def _logprobs(body: ChatCompletionRequest) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest(f"top_logprobs = {body.top_logprobs} needs logprobs to be true.", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


def _continues(body: ChatCompletionRequest) -> bool:
    """There is something to go on with only where the assistant spoke last; other messages are answered."""
    return bool(body.continue_final_message) and body.messages[-1].role == "assistant"
