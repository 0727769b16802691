"""Smaller families whose calls are JSON: Apertus, GigaChat, Solar, Functionary."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

APERTUS = dialect(
    "apertus",
    lambda source: "<|tools_prefix|>" in source,
    Reading(opens=("<|tools_prefix|>",), closes=("<|tools_suffix|>",), keyed=True),
    Writing(first="<|tools_prefix|>[", head='{"%NAME%": ', between=", ", last="]<|tools_suffix|>"),
    mark="<|tools_prefix|>",
)
GIGACHAT = dialect(
    "gigachat",
    lambda source: "<|function_call|>" in source,
    Reading(opens=("<|function_call|>",), closes=("<|message_sep|>",)),
    Writing(begin="<|function_call|>"),
    mark="<|function_call|>",
)
GIGACHAT_ROLE = dialect(
    "gigachat_role",
    lambda source: "'role': 'function call'" in source and "<|role_sep|>" in source,
    Reading(opens=("<|message_sep|>\n\nfunction call<|role_sep|>\n", "function call<|role_sep|>\n"), closes=("<|message_sep|>",)),
    Writing(begin="<|message_sep|>\n\nfunction call<|role_sep|>\n"),
)
SOLAR = dialect(
    "solar",
    lambda source: "<|tool_call:begin|>" in source,
    Reading(
        opens=("<|tool_call:begin|>",),
        closes=("<|tool_call:end|>", "<|calls|>"),
        skips=("<|tool_calls|>", "<|calls|>"),
        drops_before=("<|tool_call:name|>",),
        name_ends=("<|tool_call:args|>",),
    ),
    Writing(
        first="<|tool_calls|>",
        begin="<|tool_call:begin|>",
        head="%ID%<|tool_call:name|>%NAME%<|tool_call:args|>",
        id="/[A-Za-z0-9_-]{1,64}/",
        tail="",
        end="<|tool_call:end|>",
    ),
    mark="<|tool_calls|>",
    stops=("<|calls|>",),
)
FUNCTIONARY = dialect(
    "functionary",
    lambda source: "<function=example_function_name>" in source,
    Reading(opens=("<function=",), closes=("</function>",), name_ends=(">",)),
    Writing(begin="<function=", head="%NAME%>", tail="", end="</function>"),
    stops=("<|eom_id|>",),
)
