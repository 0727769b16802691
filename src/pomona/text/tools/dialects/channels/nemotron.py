"""Nemotron Nano 2: a list of JSON objects between `<TOOLCALL>` tags. Nemotron 3 speaks Qwen3-Coder."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

NEMOTRON = dialect(
    "nemotron",
    lambda source: "<TOOLCALL>" in source,
    Reading(opens=("<TOOLCALL>",), closes=("</TOOLCALL>",)),
    Writing(first="<TOOLCALL>[", between=", ", last="]</TOOLCALL>"),
    mark="<TOOLCALL>",
)
