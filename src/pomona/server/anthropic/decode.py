"""From a checked body to the request behind it, and to how its answer is to look."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import GenerateRequest, OutputFormat, ReasoningOptions, SamplingParams, ToolChoice
from pomona.core.status import ModelCard
from pomona.server.anthropic.blocks import json_text
from pomona.server.anthropic.conversation import messages_of, with_wish_for_summary
from pomona.server.anthropic.tools import Member, changes_in, tools_of
from pomona.server.anthropic.wire import CompactionBody, CountTokensRequest, Edit, MessagesRequest
from pomona.server.bodies import keep_alive_seconds

_TINY_TOP_P = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request: what to generate, and how the answer is to look."""

    id: str
    model: str
    """As the client named it."""
    request: GenerateRequest
    stream: bool = False
    max_tokens: int = 0
    """0: the prompt is read into the cache, and nothing is answered."""
    hide_thoughts: bool = False
    members: Mapping[str, Member] = field(default_factory=dict[str, Member])
    edits: tuple[Edit, ...] | None = None
    applied_edits: tuple[Mapping[str, object], ...] = ()
    diagnose: bool = False
    previous_known: bool | None = None
    """Whether the answer that `diagnostics` compares with is remembered; None where none is named."""
    removed: tuple[str, ...] = ()
    """What was taken out of the prompt."""
    fast: bool = False
    compacts: bool = False
    """The answer is a summary of the conversation; `tool_changes` go with it."""
    tool_changes: tuple[Mapping[str, object], ...] = ()


def decode_messages(body: MessagesRequest, call_id: str, card: ModelCard, *, strip_attribution: bool) -> Call:
    """The call that a body asks for; the defaults of `card` hold for what it leaves open. Raises InvalidRequest and UnsupportedField."""
    counted = decode_count(body, call_id, card, strip_attribution=strip_attribution)
    request = replace(
        counted.request,
        sampling=_sampling(body, card.sampling_defaults),
        max_tokens=body.max_tokens or 1,
        clamp_max_tokens=True,
        stop=tuple(body.stop_sequences or ()),
        priority="high" if counted.fast else "normal",
        keep_alive_seconds=keep_alive_seconds(body.keep_alive),
    )
    call = replace(
        counted,
        request=request,
        stream=bool(body.stream),
        max_tokens=body.max_tokens,
        hide_thoughts=body.thinking is not None and body.thinking.display == "omitted",
        diagnose=body.diagnostics is not None,
    )
    return call if body.compaction is None else _compacting(call, body, body.compaction)


def _compacting(call: Call, body: MessagesRequest, wish: CompactionBody) -> Call:
    """The tools stay in the prompt, so that its beginning comes from the cache, but none is called."""
    if call.edits is not None:
        raise InvalidRequest("compaction does not go with context_management. Leave one of them out.", param="compaction")
    request = replace(
        call.request,
        messages=with_wish_for_summary(call.request.messages or (), wish.instructions),
        tool_choice=ToolChoice(mode="none"),
        output_format=None,
        continue_last_message=False,
    )
    changes = tuple(change.model_dump(exclude_none=True) for change in changes_in(body.messages))
    return replace(call, request=request, compacts=True, tool_changes=changes)


def decode_count(body: CountTokensRequest, call_id: str, card: ModelCard, *, strip_attribution: bool) -> Call:
    """The call whose prompt is to be counted: all that has to do with the prompt, and nothing of the answer. Raises as above."""
    if body.thread is not None:
        raise UnsupportedField(
            f"thread of type {body.thread.type!r} asks for a conversation kept here, and none is. Send all messages each time.",
            param="thread",
        )
    messages, removed = messages_of(body, strip_attribution=strip_attribution)
    tools = tools_of(body)
    request = GenerateRequest(
        id=call_id,
        model=card.id,
        messages=messages,
        tools=tools.definitions,
        tool_choice=tools.choice,
        output_format=_output_format(body),
        reasoning=_reasoning(body),
        continue_last_message=messages[-1].role == "assistant" and bool(messages[-1].text),
    )
    edits = body.context_management.edits if body.context_management is not None else None
    return Call(
        id=call_id,
        model=body.model,
        request=request,
        members=tools.members,
        edits=None if edits is None else tuple(edits),
        removed=removed,
        fast=body.speed == "fast",
    )


def _sampling(body: MessagesRequest, defaults: SamplingParams) -> SamplingParams:
    return replace(
        defaults,
        temperature=defaults.temperature if body.temperature is None else body.temperature,
        top_k=max(defaults.top_k if body.top_k is None else body.top_k, 0),
        top_p=max(defaults.top_p if body.top_p is None else body.top_p, _TINY_TOP_P),
        seed=body.seed,
    )


def _output_format(body: CountTokensRequest) -> OutputFormat | None:
    """`output_format` is what the beta called it before."""
    named = body.output_config.format if body.output_config is not None else None
    found = named or body.output_format
    if found is None:
        return None
    param = "output_config.format" if named is not None else "output_format"
    return OutputFormat(kind="json_schema", source=json_text(found.schema_), param=param)


def _reasoning(body: CountTokensRequest) -> ReasoningOptions:
    thinking, effort = body.thinking, _effort(body)
    if thinking is None:
        return ReasoningOptions(effort=effort)
    if thinking.type in ("disabled", "between_tools"):  # between_tools: thinking is off but for notes between calls
        return ReasoningOptions(enabled=False)
    budget = thinking.budget_tokens if thinking.type == "enabled" else None
    return ReasoningOptions(enabled=True, effort=effort, budget_tokens=budget)


def _effort(body: CountTokensRequest) -> str | None:
    """That of the whole request, unless a system message of this turn says otherwise."""
    effort = body.output_config.effort if body.output_config is not None else None
    for message in body.messages:
        if message.role == "assistant":
            effort = body.output_config.effort if body.output_config is not None else None
        elif message.output_config is not None:
            effort = message.output_config.effort or effort
    return effort
