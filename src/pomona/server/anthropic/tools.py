"""Which tools the model may call, and whether it must: those of the body, less what is held back or the cloud's, with later changes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from pomona.core.errors import InvalidRequest
from pomona.core.generation import ToolChoice
from pomona.core.messages import ToolDefinition
from pomona.server.anthropic.blocks import json_text
from pomona.server.anthropic.client_tools import dated_tool, toolset_members, toolset_of
from pomona.server.anthropic.wire import (
    Block,
    CompactionBlock,
    CountTokensRequest,
    HostedResultBlock,
    MessageBody,
    ToolBody,
    ToolChangeBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A tool of a toolset, as the client knows it."""

    name: str
    toolset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A tool that could be called. `deferred` ones are held back until they are named."""

    definition: ToolDefinition
    member: Member | None = None
    deferred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the model may call. `members` leads from its names back to those of toolsets."""

    definitions: tuple[ToolDefinition, ...]
    choice: ToolChoice
    members: dict[str, Member]


def tools_of(body: CountTokensRequest) -> Tools:
    """The tools that hold at the end of the conversation. Raises InvalidRequest for a choice that cannot be kept."""
    offers = [offer for tool in body.tools or () for offer in _offers(tool)]
    searched = any((tool.type or "").startswith("tool_search_tool") for tool in body.tools or ())
    named = _named(body.messages) | {body.tool_choice.name if body.tool_choice else None}
    shown = {each.definition.name: each for each in offers if searched or not each.deferred or each.definition.name in named}
    _apply_changes(shown, {each.definition.name: each for each in offers}, body.messages)
    members = {name: each.member for name, each in shown.items() if each.member is not None}
    return Tools(
        definitions=tuple(each.definition for each in shown.values()),
        choice=_choice(body, shown),
        members=members,
    )


def _offers(tool: ToolBody) -> Iterator[_Offer]:
    """The tools behind one entry: none for one of the cloud's, many for a toolset."""
    if tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
        return  # only code in the vendor's cloud may call it
    toolset = toolset_of(tool)
    if toolset is not None:
        for name, definition in toolset_members(tool, toolset):
            yield _Offer(definition=definition, member=Member(name=name, toolset=toolset))
        return
    definition = dated_tool(tool) or _own(tool)
    if definition is not None:
        yield _Offer(definition=definition, deferred=bool(tool.defer_loading))


def _own(tool: ToolBody) -> ToolDefinition | None:
    if tool.name is None or (tool.type not in (None, "custom") and tool.input_schema is None):
        if tool.type in (None, "custom"):
            raise InvalidRequest("A tool in tools has no name. Give it a name and an input_schema.", param="tools")
        return None
    examples = [json_text(example) for example in tool.input_examples or ()]
    shown = "\n".join(["", "Examples of input:", *examples]) if examples else ""
    description = f"{tool.description or ''}{shown}".strip()
    parameters = tool.input_schema or {"type": "object", "properties": {}}
    return ToolDefinition(name=tool.name, description=description, parameters=parameters, strict=bool(tool.strict))


def _named(messages: Sequence[MessageBody]) -> set[str]:
    """Tools that a search of the client found, or that were called before: they need not be held back any more."""
    return {name for message in messages if isinstance(message.content, list) for name in _names_in(message.content)}


def _names_in(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        match block:
            case ToolUseBlock():
                yield block.name
            case ToolReferenceBlock():
                yield block.tool_name
            case ToolResultBlock():
                yield from _names_in(block.content if isinstance(block.content, list) else ())
            case HostedResultBlock():
                yield from _found(block.content)
            case _:
                pass


def _found(content: object) -> Iterator[str]:
    """The names in the result of the cloud's own search for tools."""
    references = cast("dict[str, object]", content).get("tool_references") if isinstance(content, dict) else None
    for each in cast("list[object]", references) if isinstance(references, list) else ():
        name = cast("dict[str, object]", each).get("tool_name") if isinstance(each, dict) else None
        if isinstance(name, str):
            yield name


def changes_in(messages: Sequence[MessageBody]) -> list[ToolChangeBlock]:
    """What was added and removed, in this order, also before a summary."""
    changes: list[ToolChangeBlock] = []
    for message in messages:
        for block in message.content if isinstance(message.content, list) else ():
            match block:
                case ToolChangeBlock():
                    changes.append(block)
                case CompactionBlock():
                    changes.extend(block.tool_changes or ())
                case _:
                    pass
    return changes


def _apply_changes(shown: dict[str, _Offer], known: dict[str, _Offer], messages: Sequence[MessageBody]) -> None:
    """Add and remove what the conversation says, in its order. Names that are not known change nothing."""
    for block in changes_in(messages):
        if block.tool.definition is not None:
            known.update({each.definition.name: each for each in _offers(block.tool.definition)})
        name = block.tool.name or (block.tool.definition and block.tool.definition.name) or ""
        if block.type == "tool_removal":
            shown.pop(name, None)
        elif name in known:
            shown[name] = known[name]


def _choice(body: CountTokensRequest, shown: dict[str, _Offer]) -> ToolChoice:
    asked = body.tool_choice
    if asked is None:
        return ToolChoice()
    parallel = not asked.disable_parallel_tool_use
    if asked.type in ("any", "tool") and not body.tools and not shown:
        raise InvalidRequest(
            f"tool_choice is of type {asked.type!r}, and there are no tools. Send tools, or leave it out.", param="tool_choice"
        )
    if asked.type == "none":
        return ToolChoice(mode="none", parallel=parallel)
    if asked.type == "auto" or not shown:  # all tools were the cloud's: nothing can be called
        return ToolChoice(parallel=parallel)
    if asked.type == "any":
        return ToolChoice(mode="required", parallel=parallel)
    if asked.name in shown:
        return ToolChoice(mode="required", names=(asked.name,), parallel=parallel)
    if any(tool.name == asked.name for tool in body.tools or ()):  # one of the cloud's
        return ToolChoice(parallel=parallel)
    names = ", ".join(repr(each) for each in list(shown)[:20])
    raise InvalidRequest(f"tool_choice names the tool {asked.name!r}; there are {names}.", param="tool_choice.name")
