"""Hermes and Qwen: `<tool_call>` around one JSON object. Many families took it over, Granite 4 among them; Apriel puts a list into it."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

HERMES = dialect(
    "hermes",
    lambda source: "<tool_call>" in source,
    Reading(opens=("<tool_call>",), closes=("</tool_call>",)),
    Writing(begin="<tool_call>\n", between="\n", end="\n</tool_call>"),
    mark="<tool_call>",
)
APRIEL = dialect(
    "apriel",
    lambda source: "<tool_calls>[" in source,
    Reading(opens=("<tool_calls>",), closes=("</tool_calls>",)),
    Writing(first="<tool_calls>[", perhaps=', "id": "%ID%"', id="/[A-Za-z0-9_-]{1,64}/", between=", ", last="]</tool_calls>"),
    mark="<tool_calls>",
)
