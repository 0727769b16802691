"""JSON Schemas as items of a Lark grammar."""

import json
from collections.abc import Mapping
from typing import cast

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.text.grammar.compiling import DEADLY, problem_of
from pomona.text.grammar.limits import check_depth, check_source
from pomona.text.grammar.rewriting.alternatives import Alternatives, children
from pomona.text.grammar.rewriting.document import Document
from pomona.text.grammar.rewriting.exits import cut_endless
from pomona.text.grammar.rewriting.parts import Schema

STYLE = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?", "json_allowed_escapes": 'nrbtf\\"'}
"""One line, at most one space behind a comma or a colon: what Python and what JavaScript write. Models that may choose freely can
fill an answer with blanks, and templates show calls in this form. Without `\\u` no key has two spellings."""
_ANY_OBJECT: Schema = {"type": "object"}
_MOST_TRIALS = 200
"""Compilations that the search for the place of a problem may take."""
_MOST_REPAIRS = 8


def json_item(schema: Mapping[str, object], *, strict: bool = False, param: str = "parameters") -> str:
    """A Lark item that matches one JSON value of `schema`, such as the arguments of a tool; without a schema, any JSON object.

    Use it in a rule: `call: "<tool_call>" item`. Objects that name properties and do not say whether they take others take none.
    With `strict` a schema that cannot be enforced in full raises UnsupportedField or InvalidRequest, whose `param` begins with
    `param`; else what cannot be enforced is left out, and it never raises.
    """
    if not schema:
        return _item(_ANY_OBJECT, {})
    try:
        _check(schema, param)
        return _Compilation(schema, param, strict=strict, closed=True).item()
    except InvalidRequest:
        if strict:
            raise
        return _item(_ANY_OBJECT, {})


def schema_item(schema: object, *, param: str, closed: bool = False) -> str:
    """A Lark item that matches the JSON values of `schema` and no others. Raises InvalidRequest and UnsupportedField."""
    _check(schema, param)
    return _Compilation(as_schema(schema, param), param, strict=True, closed=closed).item()


def rewritten(schema: object, *, param: str) -> tuple[Schema, dict[str, Schema]]:
    """`schema` in keywords that llguidance enforces, closed objects, and its definitions. Raises InvalidRequest and UnsupportedField."""
    _check(schema, param)
    compilation = _Compilation(as_schema(schema, param), param, strict=True, closed=True)
    compilation.item()
    return compilation.root, compilation.definitions


def as_schema(schema: object, param: str) -> Mapping[str, object]:
    """`schema`, where it is an object or a flag. Raises InvalidRequest."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{param} is {type(schema).__name__}, not a JSON Schema: an object, true or false.", param=param)
    return cast("Mapping[str, object]", schema)


def _check(schema: object, param: str) -> None:
    check_depth(schema, param)
    try:
        check_source(json.dumps(schema, ensure_ascii=False), param)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{param} is not JSON: {error}.", param=param) from None


class _Compilation:
    """One schema on its way to an item."""

    def __init__(self, schema: Mapping[str, object], param: str, *, strict: bool, closed: bool = False) -> None:
        self._param = param
        self._strict = strict
        document = Document(schema, param, strict=strict, closed=closed)
        self.definitions, self._places = document.definitions, document.places
        self.root = cut_endless(document.root, self.definitions)
        alternatives = Alternatives(self.definitions, self._overlap)
        for each in (self.root, *self.definitions.values()):
            alternatives.settle(each)
        if self.root is False:
            reason = "nothing fits it: it forbids every value, or demands a value within a value without end."
            raise UnsupportedField(f"{param}: {reason}", param=param)

    def item(self) -> str:
        """The item, once llguidance has taken it."""
        for _ in range(_MOST_REPAIRS):
            item = _item(self.root, self.definitions)
            problem = problem_of(f"start: {item}")
            if problem is None:
                return item
            culprit = None if problem in DEADLY else self._culprit(self.root, [_MOST_TRIALS])
            if not self._strict and culprit is not None:
                _loosen(culprit)
                continue
            path = self._places.get(id(culprit), self._param)
            raise UnsupportedField(f"{path} cannot be enforced: {problem}.", param=path)
        return _item(_ANY_OBJECT, {})

    def _overlap(self, schema: dict[str, object], first: int, second: int) -> None:
        if not self._strict:
            return
        path = self._places.get(id(schema), self._param)
        reason = (
            f"members {first} and {second} are not sure to exclude each other. Use `anyOf`, or give them a property with other constants."
        )
        raise UnsupportedField(f"{path}.oneOf cannot be enforced: {reason}", param=f"{path}.oneOf")

    def _culprit(self, schema: Schema, trials: list[int]) -> dict[str, object] | None:
        """The smallest schema within `schema` that llguidance does not take by itself."""
        if isinstance(schema, bool):
            return None
        for child in [*children(schema), *(self.definitions.values() if schema is self.root else ())]:
            trials[0] -= 1
            if trials[0] < 0:
                break
            if isinstance(child, dict) and problem_of(f"start: {_item(child, self.definitions)}") is not None:
                return self._culprit(child, trials) or child
        return schema


def _loosen(schema: dict[str, object]) -> None:
    """Leave only what llguidance takes in every case."""
    types = schema.get("type")
    schema.clear()
    if types is not None:
        schema["type"] = types


def _item(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    body: dict[str, object] = {"x-guidance": STYLE}
    body |= schema if isinstance(schema, dict) else {"allOf": [schema]}
    if definitions:
        body["$defs"] = definitions
    return "%json " + json.dumps(body, ensure_ascii=False)
