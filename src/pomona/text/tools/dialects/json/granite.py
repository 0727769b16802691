"""Granite 3: `<|tool_call|>` before a list of objects. Granite 4 speaks Hermes."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

GRANITE = dialect(
    "granite",
    lambda source: "<|tool_call|>" in source and "<|start_of_role|>" in source,
    Reading(opens=("<|tool_call|>", "<tool_call>"), closes=("</tool_call>",)),
    Writing(first="<|tool_call|>[", between=", ", last="]"),
    mark="<|tool_call|>",
)
