"""JSON Schemas as items of a Lark grammar."""

import json
from collections.abc import Mapping

from llguidance import LLMatcher

from pomona.core.errors import UnsupportedField

WHITESPACE = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
"""One line, at most one space behind a comma or a colon: what Python and what JavaScript write. Models that may choose freely can
fill an answer with blanks, and templates show calls in this form."""


def json_item(schema: Mapping[str, object], *, strict: bool = False, param: str = "parameters") -> str:
    """A Lark item that matches one JSON value of `schema`, such as the arguments of a tool; without a schema, any JSON object.

    Use it in a rule: `call: "<tool_call>" NAME item`. With `strict` a schema that cannot be enforced in full raises
    UnsupportedField, whose `param` begins with `param`; else what cannot be enforced is left out, and it never raises.
    """
    item = _item(schema or {"type": "object"})
    failed, reasons = LLMatcher.validate_grammar_with_warnings(f"start: {item}")
    if not failed:
        return item
    if strict:
        raise UnsupportedField(f"The schema cannot be enforced: {reasons[0][:300]}", param=param)
    return _item({"type": "object"})


def _item(schema: Mapping[str, object]) -> str:
    return "%json " + json.dumps({**schema, "x-guidance": WHITESPACE})
