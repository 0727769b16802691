"""What the grammars of dialects are made of: Lark items for literal text, names and arguments. See docs of llguidance for the syntax."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from pomona.core.messages import ToolDefinition
from pomona.text.grammar.schemas import json_item
from pomona.text.tools.dialect import Marks

NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}


def literal(text: str) -> str:
    """`text` as a Lark string; nothing where it is empty."""
    return json.dumps(text, ensure_ascii=False) if text else ""


def arguments_item(tool: ToolDefinition) -> str:
    """A Lark item for the arguments of `tool` as a JSON object. Raises UnsupportedField for a strict tool that cannot be enforced."""
    return _arguments_item(json.dumps(tool.parameters or NO_PARAMETERS), tool.strict, tool.name)


@lru_cache(maxsize=1024)
def _arguments_item(parameters: str, strict: bool, name: str) -> str:
    """Checking a schema takes a millisecond, and agents send dozens of tools with each request."""
    return json_item({"type": "object", **json.loads(parameters)}, strict=strict, param=f"tools[{name}].parameters")


def call_rules(tools: Sequence[ToolDefinition], call: Callable[[ToolDefinition], str]) -> str:
    """Lark rules whose `call` is a call of any of the tools; the function given writes the body of one."""
    names = [f"call_{index}" for index in range(len(tools))]
    bodies = [f"{name}: {call(tool)}" for name, tool in zip(names, tools, strict=True)]
    return "\n".join([f"call: {' | '.join(names)}", *bodies])


def starting(items: Iterable[str], rules: str) -> str:
    """A grammar whose `start` is these items in a row."""
    return f"start: {' '.join(item for item in items if item)}\n{rules}"


def marked(marks: Marks, *texts: str) -> str:
    """These marks and texts in a row as Lark items."""
    return " ".join(marks(text) for text in texts if text)
