"""Rules between the fields of a body, as JSON Schema: what the decoders refuse beyond types is then told in the OpenAPI document too."""

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]
REFUSED: Schema = {"type": "null"}
"""What is published of a field that is known but can only be null here."""
_IS_SET: Schema = {"not": {"type": "null"}}


def rules(*each: Schema) -> Schema:
    """The `json_schema_extra` of a model for which each of these holds."""
    return {"allOf": list(each)}


def needs(field: str, schema: Schema | None = None) -> Schema:
    """The field is there, and as in `schema`, or at least not null."""
    return {"required": [field], "properties": {field: schema or _IS_SET}}


def where(field: str, values: Sequence[object], then: Schema) -> Schema:
    """If `field` is one of `values`, `then` holds."""
    return {"if": needs(field, {"enum": list(values)}), "then": then}


def unless(field: str, values: Sequence[object], then: Schema) -> Schema:
    """If `field` is none of `values`, `then` holds."""
    return {"if": needs(field, {"enum": list(values)}), "else": then}


def given(field: str, then: Schema, schema: Schema | None = None) -> Schema:
    """If `field` is there and as in `schema`, or at least not null, `then` holds."""
    return {"if": needs(field, schema), "then": then}
