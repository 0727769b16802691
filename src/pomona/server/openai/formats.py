"""The form that an answer must have: OpenAI's response_format, our further types of it, and vLLM's names for the same."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import OutputFormat
from pomona.server.openai.wire import ResponseFormat, SamplingBody

PARAM = "response_format"


def output_format(body: SamplingBody) -> OutputFormat | None:
    """The form that `body` asks for, by whichever of its names; None for free text. Raises InvalidRequest and UnsupportedField."""
    asked = [found for found in (_of_response_format(body.response_format), *_of_guides(body)) if found is not None]
    if len(asked) > 1:
        names = " and ".join(each.param for each in asked)
        raise InvalidRequest(f"{names} each ask for a form of the answer; it can have one. Leave all but one out.", param=asked[1].param)
    return asked[0] if asked else None


def _of_response_format(body: ResponseFormat | None) -> OutputFormat | None:
    if body is None or body.type == "text":
        return None
    read = _KINDS.get(body.type)
    if read is None:
        known = ", ".join(repr(each) for each in ("text", *_KINDS))
        raise UnsupportedField(f"{PARAM}.type = {body.type!r} is not known; {known} are.", param=PARAM)
    return read(body)


def _json_object(body: ResponseFormat) -> OutputFormat:
    del body
    return OutputFormat(kind="json_object")


def _json_schema(body: ResponseFormat) -> OutputFormat:
    if body.json_schema is None:
        raise _missing("json_schema", "json_schema", "an object with a `name` and a `schema`")
    if body.json_schema.schema_ is None:
        return OutputFormat(kind="json_object")  # OpenAI's schema is optional: any object fits
    return OutputFormat(kind="json_schema", source=_text_of(body.json_schema.schema_), param=f"{PARAM}.json_schema.schema")


def _regex(body: ResponseFormat) -> OutputFormat:
    if not body.pattern:
        raise _missing("regex", "pattern", "a regular expression")
    return OutputFormat(kind="regex", source=body.pattern, param=f"{PARAM}.pattern")


def _choice(body: ResponseFormat) -> OutputFormat:
    if not body.choices:
        raise _missing("choice", "choices", "a list of strings")
    return OutputFormat(kind="choice", source=_text_of(body.choices), param=f"{PARAM}.choices")


def _lark(body: ResponseFormat) -> OutputFormat:
    if not body.grammar:
        raise _missing("lark", "grammar", "a Lark grammar with a rule `start`")
    return OutputFormat(kind="lark", source=body.grammar, param=f"{PARAM}.grammar")


def _xml(body: ResponseFormat) -> OutputFormat:
    if body.schema_ is None:
        raise _missing("xml_schema", "schema", "a JSON Schema of the elements")
    return OutputFormat(kind="xml", source=_text_of(body.schema_), param=f"{PARAM}.schema")


_KINDS: Mapping[str, Callable[[ResponseFormat], OutputFormat]] = {
    "json_object": _json_object,
    "json_schema": _json_schema,
    "regex": _regex,
    "choice": _choice,
    "lark": _lark,
    "xml_schema": _xml,
}


def _of_guides(body: SamplingBody) -> list[OutputFormat]:
    found: list[OutputFormat] = []
    if body.guided_json is not None:
        source = body.guided_json if isinstance(body.guided_json, str) else _text_of(body.guided_json)
        found.append(OutputFormat(kind="json_schema", source=source, param="guided_json"))
    if body.guided_regex is not None:
        found.append(OutputFormat(kind="regex", source=body.guided_regex, param="guided_regex"))
    if body.guided_choice is not None:
        found.append(OutputFormat(kind="choice", source=_text_of(body.guided_choice), param="guided_choice"))
    if body.guided_grammar is not None:
        found.append(OutputFormat(kind="lark", source=body.guided_grammar, param="guided_grammar"))
    return found


def _missing(kind: str, field: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{PARAM} of type {kind!r} needs a field {field!r}: {what}.", param=f"{PARAM}.{field}")


def _text_of(value: Any) -> str:
    """As JSON text, in the order of the client's keys: answers have their members in that order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
