"""Tools as text, for chat templates that show none: the definitions and how to call them, as Hermes models were trained to read it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from pomona.core.messages import ToolCall, ToolDefinition

WriteCalls = Callable[[Sequence[ToolCall]], str]
"""Calls as text, as the model is to write them."""
EXAMPLE = ToolCall(id="", name="<function-name>", arguments="<args-json-object>")


def tool_fields(tools: Sequence[ToolDefinition]) -> list[dict[str, object]]:
    """Tools in the form that templates share: OpenAI's."""
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def spelled_out(tools: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The same tools for templates that fail where a schema leaves something out: a description of each parameter, a list of properties.

    Of several types the first counts. This is what the model reads; calls are held to the tool's own schema.
    """
    return [{**tool, "function": _spelled_out_function(cast("Mapping[str, object]", tool["function"]))} for tool in tools]


def lesson(tools: Sequence[ToolDefinition], write_calls: WriteCalls) -> str:
    """What a system message says about these tools. The same tools give the same text, which the prefix cache needs."""
    shown = "\n".join(json.dumps(each, ensure_ascii=False) for each in tool_fields(tools))
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        f"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{shown}\n</tools>\n\n"
        "To call a function, write its name and its arguments, a JSON object that fits its parameters, in exactly this form:\n"
        f"{write_calls([EXAMPLE]).strip()}\n\n"
        "Several calls may follow one another. End your answer behind the last one; the results come with the next message."
    )


def listed(tools: Sequence[ToolDefinition]) -> str:
    """The bare functions as one JSON list, which Phi-4 reads in a field of the system message."""
    return json.dumps([_function(tool) for tool in tools], ensure_ascii=False)


def result_text(text: str) -> str:
    """The result of a call, as Hermes models read it in a user's turn."""
    return f"<tool_response>\n{text}\n</tool_response>"


def _function(tool: ToolDefinition) -> dict[str, object]:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}


def _spelled_out_function(function: Mapping[str, object]) -> dict[str, object]:
    least: dict[str, object] = {"type": "object", "properties": {}, "required": []}
    return {**function, "parameters": _spelled_out(least | dict(cast("Mapping[str, object]", function["parameters"])))}


def _spelled_out(schema: object) -> dict[str, object]:
    said: dict[str, object] = {"description": "", **(cast("Mapping[str, object]", schema) if isinstance(schema, Mapping) else {})}
    if isinstance(said.get("type"), list):
        said["type"] = next((kind for kind in cast("list[object]", said["type"]) if kind != "null"), "null")
    properties = said.get("properties")
    if isinstance(properties, Mapping):
        said["properties"] = {name: _spelled_out(each) for name, each in cast("Mapping[str, object]", properties).items()}
    if isinstance(said.get("items"), Mapping):
        said["items"] = _spelled_out(said["items"])
    return said
