"""Phi-4: `<|tool_call|>` around a list of objects. Firefunction and older Phi fine-tunes write `functools` before the list."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

PHI = dialect(
    "phi",
    lambda source: "<|/tool_call|>" in source or "<|/tool|>" in source,
    Reading(opens=("<|tool_call|>", "functools"), closes=("<|/tool_call|>",), unsure=("functools",)),
    Writing(first="<|tool_call|>[", between=", ", last="]<|/tool_call|>"),
    mark="<|tool_call|>",
)
FUNCTOOLS = dialect(
    "functools",
    lambda source: "functools[" in source,
    Reading(opens=("functools",), unsure=("functools",)),
    Writing(first="functools[", between=", ", last="]"),
)
