"""Kimi K2: a section of calls between marks. Each begins with `functions.f:0`, the model's own number of the call."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

KIMI = dialect(
    "kimi",
    lambda source: "<|tool_call_argument_begin|>" in source,
    Reading(
        opens=("<|tool_call_begin|>",),
        closes=("<|tool_call_end|>",),
        skips=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        name_ends=("<|tool_call_argument_begin|>",),
        drops_after=(":",),
    ),
    Writing(
        first="<|tool_calls_section_begin|>",
        begin="<|tool_call_begin|>",
        head="functions.%NAME%:%ID%<|tool_call_argument_begin|>",
        id="/[0-9]{1,4}/",
        tail="",
        end="<|tool_call_end|>",
        last="<|tool_calls_section_end|>",
    ),
    mark="<|tool_calls_section_begin|>",
)
