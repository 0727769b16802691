"""For templates that show tools in a way which no dialect knows, or not at all: whatever form in JSON the model hits upon counts.

Where the model is taught the form, it is that of Hermes."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

FENCES = ("```json", "```tool_call", "```")

GENERIC = dialect(
    "generic",
    lambda source: True,
    Reading(
        opens=("<tool_call>", "<tool_calls>", "<function_call>", "<|tool_call|>", "[TOOL_CALLS]", *FENCES),
        closes=("</tool_call>", "</tool_calls>", "</function_call>", "<|/tool_call|>", "```"),
        unsure=FENCES,
        bare=True,
    ),
    Writing(begin="<tool_call>\n", between="\n", end="\n</tool_call>"),
    mark="<tool_call>",
)
