"""The tools of a chat body, and which of them may or must be called: in OpenAI's present words and in its old ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import ToolChoice
from pomona.core.messages import ToolDefinition
from pomona.server.openai.custom_tools import custom_tool
from pomona.server.openai.wire import ChatCompletionRequest, CustomBody, FunctionBody, NamedBody, ToolBody, ToolChoiceBody, ToolNameBody


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the model is told of tools. `custom` are the names of those whose input is free text."""

    definitions: tuple[ToolDefinition, ...] = ()
    choice: ToolChoice = field(default_factory=ToolChoice)
    custom: frozenset[str] = frozenset()
    legacy: bool = False


def tools_of(body: ChatCompletionRequest) -> Tools:
    """The tools of `body`. With the choice 'none' the model is not told of any, which keeps it from calling one.

    Raises InvalidRequest and UnsupportedField.
    """
    if body.functions and body.tools:
        raise InvalidRequest("functions is the old form of tools; this request has both. Send tools only.", param="functions")
    legacy = bool(body.functions)
    where = "functions" if legacy else "tools"
    definitions = [_function(each) for each in body.functions or ()] or [_tool(tool, index) for index, tool in enumerate(body.tools or ())]
    _refuse_doubles(definitions, where)
    names = [each.name for each in definitions]
    old = legacy or (body.function_call is not None and not body.tools)
    choice = _old_choice(body, names) if old else _choice(body, names)
    if choice.mode == "none":
        return Tools(choice=choice, legacy=legacy)
    custom = frozenset(tool.custom.name for tool in body.tools or () if tool.custom is not None and tool.type == "custom")
    return Tools(definitions=tuple(definitions), choice=choice, custom=custom, legacy=legacy)


def _tool(tool: ToolBody, index: int) -> ToolDefinition:
    if tool.type == "function" and tool.function is not None:
        return _function(tool.function)
    if tool.type == "custom" and tool.custom is not None:
        return _custom(tool.custom)
    path = f"tools[{index}]"
    raise UnsupportedField(
        f"{path} is of type {tool.type!r}; tools of type 'function' or 'custom', with a field of that name, are taken.", param=path
    )


def _function(function: FunctionBody) -> ToolDefinition:
    return ToolDefinition(
        name=function.name, description=function.description or "", parameters=function.parameters or {}, strict=bool(function.strict)
    )


def _custom(custom: CustomBody) -> ToolDefinition:
    grammar = custom.format.grammar if custom.format is not None else None
    if grammar is None:
        return custom_tool(custom.name, custom.description or "")
    return custom_tool(custom.name, custom.description or "", grammar.syntax, grammar.definition)


def _refuse_doubles(definitions: Sequence[ToolDefinition], where: str) -> None:
    seen: set[str] = set()
    for index, each in enumerate(definitions):
        if each.name in seen:
            raise InvalidRequest(f"{where}[{index}] is a second tool of the name {each.name!r}. Give every tool its own.", param=where)
        seen.add(each.name)


def _choice(body: ChatCompletionRequest, names: Sequence[str]) -> ToolChoice:
    parallel, asked = body.parallel_tool_calls is not False, body.tool_choice
    if isinstance(asked, ToolChoiceBody):
        return _named(asked, names, parallel)
    if asked == "required" and not names:
        raise InvalidRequest(
            "tool_choice = 'required' needs tools; this request has none. Send tools, or leave it out.", param="tool_choice"
        )
    return ToolChoice(mode=asked or "auto", parallel=parallel)


def _named(asked: ToolChoiceBody, names: Sequence[str], parallel: bool) -> ToolChoice:
    if asked.allowed_tools is not None:
        allowed = tuple(_known(_name(each), names, "tool_choice") for each in asked.allowed_tools.tools)
        if not allowed:
            raise InvalidRequest("tool_choice.allowed_tools.tools is empty. Name a tool, or say 'none'.", param="tool_choice")
        return ToolChoice(mode=asked.allowed_tools.mode, names=allowed, parallel=parallel)
    return ToolChoice(mode="required", names=(_known(_name(asked), names, "tool_choice"),), parallel=parallel)


def _old_choice(body: ChatCompletionRequest, names: Sequence[str]) -> ToolChoice:
    asked = body.function_call
    if isinstance(asked, NamedBody):
        return ToolChoice(mode="required", names=(_known(asked.name, names, "function_call"),), parallel=False)
    return ToolChoice(mode=asked or "auto", parallel=False)


def _name(asked: ToolNameBody) -> str:
    found = asked.function or asked.custom
    name = found.name if found is not None else asked.name
    if name is None:
        example = '{"type": "function", "function": {"name": "..."}}'
        raise InvalidRequest(f"tool_choice names no tool. It can be 'none', 'auto', 'required' or such as {example}.", param="tool_choice")
    return name


def _known(name: str, names: Sequence[str], param: str) -> str:
    if name not in names:
        there = ", ".join(repr(each) for each in names) or "none"
        raise InvalidRequest(f"{param} names the tool {name!r}; this request has {there}.", param=param)
    return name
