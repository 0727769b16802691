"""Mistral: `[TOOL_CALLS]` before a list of objects, or, since 2025, before each name, with `[ARGS]` before its arguments."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

MARK = "[TOOL_CALLS]"
READING = Reading(opens=(MARK,), name_ends=("[ARGS]",), drops_after=("[CALL_ID]",))
"""Reads both forms: fine-tuned models mix them up."""

MISTRAL_NAMES = dialect(
    "mistral_names",
    lambda source: MARK in source and "[ARGS]" in source and "[CALL_ID]" not in source,
    READING,
    Writing(begin=MARK, head="%NAME%[ARGS]", tail=""),
    mark=MARK,
)
MISTRAL_IDS = dialect(
    "mistral_ids",
    lambda source: MARK in source and "[CALL_ID]" in source,
    READING,
    Writing(begin=MARK, head="%NAME%[CALL_ID]%ID%[ARGS]", tail=""),
    mark=MARK,
)
MISTRAL_LIST = dialect(
    "mistral_list",
    lambda source: MARK in source,
    READING,
    Writing(first=f"{MARK}[", tail=', "id": "%ID%"}', between=", ", last="]"),
    mark=MARK,
)
