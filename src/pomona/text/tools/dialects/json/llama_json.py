"""Llama 3.x: the answer is one JSON object, with `parameters`, perhaps behind `<|python_tag|>`."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

LLAMA_JSON = dialect(
    "llama_json",
    lambda source: '"parameters": dictionary of argument name' in source or ("<|python_tag|>" in source and "<function=" not in source),
    Reading(opens=("<|python_tag|>",), unsure=("<|python_tag|>",), bare=True),
    Writing(head='{"name": "%NAME%", "parameters": ', between="; "),
    stops=("<|eom_id|>",),
)
