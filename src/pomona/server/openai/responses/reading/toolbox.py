"""Tools of every type as functions that a local model can call, and the way back from the name of a call to the type of its item."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pomona.core.errors import InvalidRequest
from pomona.core.generation import ToolChoice
from pomona.core.messages import ToolDefinition
from pomona.server.openai.custom_tools import custom_tool
from pomona.server.openai.responses.wire import CustomToolBody, FunctionToolBody, InputFormat, NamespaceBody, Tool, ToolSearchBody

Kind = Literal["function", "custom", "shell", "local_shell", "apply_patch", "tool_search"]
_SHOWN_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What a name that the model calls stands for. `name` is without the namespace."""

    kind: Kind
    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The functions that the model is shown, and what their names stand for."""

    definitions: tuple[ToolDefinition, ...]
    offered: Mapping[str, Offered]

    def find(self, name: str) -> Offered:
        """What `name` stands for; a name that was never offered is that of a function."""
        return self.offered.get(name) or Offered(kind="function", name=name)


def collect(tools: Sequence[Tool], loaded: Sequence[Tool] = ()) -> Toolbox:
    """The toolbox of a request. `loaded` came with the input: of two tools with one name the last is taken.

    Where the client searches for tools itself, deferred ones are not shown before it has found them; without such a search all are
    shown. Tools that only the vendor can run are left out.
    """
    searched = any(isinstance(tool, ToolSearchBody) and tool.execution == "client" for tool in tools)
    shown: dict[str, tuple[Offered, ToolDefinition]] = {}
    for tool in tools:
        shown |= dict(_entries(tool, hide_deferred=searched))
    for tool in loaded:
        shown |= dict(_entries(tool, hide_deferred=False))
    return Toolbox(
        definitions=tuple(definition for _, definition in shown.values()),
        offered={name: offered for name, (offered, _) in shown.items()},
    )


def flat_name(namespace: str | None, name: str) -> str:
    """The name that the model calls a tool of a namespace by."""
    return name if not namespace or namespace == name else f"{namespace}__{name}"


def choose(choice: str | Mapping[str, Any] | None, toolbox: Toolbox, tools: Sequence[Tool], parallel: bool | None) -> ToolChoice:
    """Which calls are allowed or asked for. A tool that only the vendor can run cannot be forced: then the model is free.

    Raises InvalidRequest for a tool that is not among the tools.
    """
    several = parallel is not False
    if choice is None or isinstance(choice, str):
        mode = _mode(choice)
        if mode == "required" and not tools and not toolbox.definitions:
            raise InvalidRequest("tool_choice = 'required' needs tools; there are none. Send tools, or leave it out.", param="tool_choice")
        return ToolChoice(mode=mode if toolbox.definitions else "auto", parallel=several)
    if choice.get("type") == "allowed_tools":
        return _allowed(choice, toolbox, several)
    names = _names(choice, toolbox)
    return ToolChoice(mode="required" if names else "auto", names=names, parallel=several)


def _mode(choice: str | None) -> Literal["auto", "none", "required"]:
    return "none" if choice == "none" else "required" if choice == "required" else "auto"


def _allowed(choice: Mapping[str, Any], toolbox: Toolbox, several: bool) -> ToolChoice:
    listed = choice.get("tools")
    if not isinstance(listed, list):
        raise InvalidRequest(
            f"tool_choice.tools = {listed!r} should be a list of objects, each with the type and the name of a tool.", param="tool_choice"
        )
    entries = [cast("Mapping[str, Any]", each) for each in cast("list[object]", listed) if isinstance(each, dict)]
    names = tuple(dict.fromkeys(name for each in entries for name in _names(each, toolbox)))
    if not names:
        return ToolChoice(mode="none" if toolbox.definitions else "auto", parallel=several)
    return ToolChoice(mode="required" if choice.get("mode") == "required" else "auto", names=names, parallel=several)


def _names(entry: Mapping[str, Any], toolbox: Toolbox) -> tuple[str, ...]:
    """The names in the toolbox that `entry` means; none where it is a tool that only the vendor can run."""
    kind, name, namespace = entry.get("type"), entry.get("name"), entry.get("namespace")
    if kind in ("function", "custom"):
        full = flat_name(namespace if isinstance(namespace, str) else None, str(name))
        found = tuple(each for each, offered in toolbox.offered.items() if full == each or (not namespace and offered.name == name))
        if not found:
            known = ", ".join(repr(each) for each in list(toolbox.offered)[:_SHOWN_NAMES]) or "none"
            raise InvalidRequest(f"tool_choice names the tool {name!r}, which is not among the tools: {known}.", param="tool_choice")
        return found[:1] if full not in found else (full,)
    if kind == "namespace":
        return tuple(each for each, offered in toolbox.offered.items() if offered.namespace == name)
    return tuple(each for each, offered in toolbox.offered.items() if offered.kind == kind)


def _entries(tool: Tool, *, hide_deferred: bool) -> Iterable[tuple[str, tuple[Offered, ToolDefinition]]]:
    match tool:
        case FunctionToolBody() | CustomToolBody():
            yield from _named(tool, None, "", hide_deferred)
        case NamespaceBody():
            for inner in tool.tools:
                if isinstance(inner, FunctionToolBody | CustomToolBody):
                    yield from _named(inner, tool.name, tool.description or "", hide_deferred)
        case ToolSearchBody():
            if tool.execution == "client":
                definition = ToolDefinition(
                    name="tool_search",
                    description=tool.description or "Find further tools. What is found can be called from then on.",
                    parameters=tool.parameters or _SEARCH,
                )
                yield "tool_search", (Offered(kind="tool_search", name="tool_search"), definition)
        case _:
            for kind, definition in _BUILT_IN.items():
                if tool.get("type") == kind:
                    yield kind, (Offered(kind=kind, name=kind), definition)


def _named(
    tool: FunctionToolBody | CustomToolBody, namespace: str | None, about: str, hide_deferred: bool
) -> Iterable[tuple[str, tuple[Offered, ToolDefinition]]]:
    if hide_deferred and tool.defer_loading:
        return
    name = flat_name(namespace, tool.name)
    described = "\n\n".join(part for part in (about, tool.description or "") if part)
    if isinstance(tool, FunctionToolBody):
        definition = ToolDefinition(name=name, description=described, parameters=tool.parameters or {}, strict=bool(tool.strict))
        yield name, (Offered(kind="function", name=tool.name, namespace=namespace), definition)
    else:
        form = tool.format or InputFormat()
        definition = replace(custom_tool(name, described, form.syntax or "", form.definition or ""), strict=True)
        yield name, (Offered(kind="custom", name=tool.name, namespace=namespace), definition)


def _object(required: Sequence[str], **properties: object) -> Mapping[str, object]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_STRING = {"type": "string"}
_STRINGS = {"type": "array", "items": _STRING}
_SEARCH = _object(["query"], query={"type": "string", "description": "What the tools should be able to do."}, limit={"type": "integer"})
_BUILT_IN: Mapping[Kind, ToolDefinition] = {
    "shell": ToolDefinition(
        name="shell",
        description="Run shell commands, one after the other, and get their output.",
        parameters=_object(["commands"], commands=_STRINGS, timeout_ms={"type": "integer"}, max_output_length={"type": "integer"}),
        strict=True,
    ),
    "local_shell": ToolDefinition(
        name="local_shell",
        description="Run one command on this machine and get its output. `command` is the program and its arguments.",
        parameters=_object(["command"], command=_STRINGS, working_directory=_STRING, timeout_ms={"type": "integer"}),
        strict=True,
    ),
    "apply_patch": ToolDefinition(
        name="apply_patch",
        description=(
            "Create, update or delete one file. `diff` is a V4A diff: for a new file every line begins with '+'; for an update, hunks "
            "begin with '@@', unchanged lines with ' ', removed ones with '-', added ones with '+'. Deleting needs no diff."
        ),
        parameters=_object(["type", "path"], type={"enum": ["create_file", "update_file", "delete_file"]}, path=_STRING, diff=_STRING),
        strict=True,
    ),
}
