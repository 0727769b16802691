"""A JSON Schema of drafts 4 to 2020-12, in the part of the language that llguidance enforces exactly.

References become definitions of their own, keywords that only say the same in other words are written out, annotations go, and what
is left over is refused with its path. llguidance alone ignores what it does not know, reads `$ref` by its letters, and takes keys
that are spelt with escapes for other keys.
"""

from collections.abc import Mapping
from typing import cast

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.text.grammar.limits import MAX_ALTERNATIVES, MAX_SCHEMAS, check_count
from pomona.text.grammar.rewriting import containers, scalars
from pomona.text.grammar.rewriting.parts import TYPES, Handler, Part, Schema, shown
from pomona.text.grammar.rewriting.references import Node, References, join

_DRAFTS = ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
_INDEPENDENT = {"$ref", "anyOf", "oneOf", "enum", "pattern"}
_LONGEST_CHAIN = 100
"""References that refer to references."""


class Document:
    """A schema, rewritten: `root`, `definitions` by name, and where each part of it came from."""

    def __init__(self, root: Node, param: str, *, strict: bool, closed: bool = False) -> None:
        self.definitions: dict[str, Schema] = {}
        self.places: dict[int, str] = {}
        """The path of what stands at an identity: of every rewritten schema that is an object."""
        self._references = References(root)
        self._param = param
        self._strict = strict
        self._closed = closed
        self._count = 0
        self._names: dict[tuple[int, bool], str] = {}
        self._pending: list[tuple[str, object, str, str, bool]] = []
        _check_draft(root, param)
        self.root = self.rewrite(root, param, "", closable=True)
        while self._pending:
            name, node, base, path, closable = self._pending.pop()
            self.definitions[name] = self.rewrite(node, path, base, closable=closable)

    def rewrite(self, node: object, path: str, base: str, *, closable: bool = False) -> Schema:
        """`node` in keywords that can be enforced. Raises InvalidRequest, and UnsupportedField if strict."""
        self._count += 1
        check_count("schemas", self._count, MAX_SCHEMAS, self._param)
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            raise InvalidRequest(f"{path} is {shown(node)}, not a schema: an object, true or false.", param=path)
        source = cast("Node", node)
        base = self._references.base(source, base)
        part = Part(source=source, path=path, base=base, closable=closable and self._closed, rewriting=self)
        for keyword in source:
            if keyword in _HANDLERS:
                self._handle(part, keyword)
        rewritten = _assembled(part)
        if isinstance(rewritten, dict):
            self.places[id(rewritten)] = path
        return rewritten

    def rewrite_reference(self, reference: object, path: str, base: str, *, closable: bool = False) -> Schema:
        """A `$ref` to a definition of this document, which it may be the first to need."""
        node, target_base, target_path = self._resolve(reference, path, base)
        key = (id(node), closable)
        if isinstance(node, bool):
            return node
        if key not in self._names:
            self._names[key] = f"d{len(self._names)}"
            self._pending.append((self._names[key], node, target_base, join(self._param, target_path), closable))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def follow(self, node: object, base: str, path: str) -> object:
        """`node`, or what it refers to where it is nothing but a `$ref`."""
        for _ in range(_LONGEST_CHAIN):
            if not isinstance(node, dict) or set(cast("Node", node)) & set(_HANDLERS) != {"$ref"}:
                return cast("object", node)
            node, base, _ = self._resolve(cast("Node", node)["$ref"], path, base)
        return True

    def _resolve(self, reference: object, path: str, base: str) -> tuple[object, str, str]:
        if not isinstance(reference, str):
            raise InvalidRequest(f"{path}.$ref is {shown(reference)}, not a string.", param=f"{path}.$ref")
        try:
            return self._references.resolve(reference, base)
        except (LookupError, ValueError):
            message = f"{path}.$ref is {shown(reference)}, and there is no such place in this schema. Nothing is fetched."
            raise UnsupportedField(message, param=f"{path}.$ref") from None

    def _handle(self, part: Part, keyword: str) -> None:
        if self._strict:
            _HANDLERS[keyword](part)
            return
        try:
            _HANDLERS[keyword](part)
        except UnsupportedField:
            part.simple.pop(keyword, None)


def _check_draft(root: Node, param: str) -> None:
    draft = root.get("$schema", "draft/2020-12")
    if not isinstance(draft, str) or not any(known in draft for known in _DRAFTS):
        path = f"{param}.$schema"
        raise UnsupportedField(f"{path} is {shown(draft)}; drafts 4, 6, 7, 2019-09 and 2020-12 are known.", param=path)


def _assembled(part: Part) -> Schema:
    """What the keywords became. Those for the same value come last: llguidance then sees the names of all properties before them."""
    if part.never or False in part.also:
        return False
    also = [each for each in part.also if each is not True and each != {}]
    types = part.simple.get("type")
    if isinstance(types, list):
        part.simple["type"] = [name for name in cast("list[str]", types) if name != "integer" or "number" not in types]
    if not also:
        return part.simple
    if len(also) == 1 and isinstance(only := also[0], dict) and _may_merge(only, part.simple):
        return {**part.simple, **only}
    return {**part.simple, "allOf": also}


def _may_merge(schema: dict[str, object], simple: dict[str, object]) -> bool:
    """Whether its keywords mean among others what they mean alone."""
    return not simple or (set(schema) <= _INDEPENDENT and not set(schema) & set(simple))


def _reference(part: Part) -> None:
    others = set(part.source) & set(_HANDLERS) - {"$ref"}
    rewritten = part.rewriting.rewrite_reference(part.source["$ref"], part.path, part.base, closable=part.closable and not others)
    part.also.append(rewritten)


def _all_of(part: Part) -> None:
    members = part.sequence("allOf", MAX_ALTERNATIVES)
    part.also += [part.child(each, "allOf", index, closable=False) for index, each in enumerate(members)]


def _any_of(part: Part) -> None:
    _alternatives(part, "anyOf")


def _one_of(part: Part) -> None:
    _alternatives(part, "oneOf")


def _alternatives(part: Part, keyword: str) -> None:
    members = part.sequence(keyword, MAX_ALTERNATIVES)
    if not members:
        part.wrong(keyword, "is empty; no value would fit.")
    alone = set(part.source) & set(_HANDLERS) == {keyword}
    options = [part.child(each, keyword, index, closable=part.closable and alone) for index, each in enumerate(members)]
    part.also.append(options[0] if len(options) == 1 else {keyword: options})


def _not(part: Part) -> None:
    """Only what can be turned round: a schema of anything or nothing, of types, or of one forbidden property."""
    value = part.source["not"]
    members: Mapping[str, object] = cast("Node", value) if isinstance(value, dict) else {}
    asserted = {keyword: each for keyword, each in members.items() if keyword in _HANDLERS}
    if value is False:
        return
    if set(asserted) == {"not"}:
        part.also.append(part.child(asserted["not"], "not", "not", closable=False))
    elif not asserted:
        part.never = True
    elif set(asserted) == {"type"}:
        _not_types(part, asserted["type"])
    elif set(asserted) == {"required"} and len(names := part.texts("not", asserted["required"])) == 1:
        part.also.append({"type": "object", "properties": {names[0]: False}})
    else:
        part.refuse("not", "can be enforced for `type` alone, or for `required` with one name.")


def _not_types(part: Part, types: object) -> None:
    named = [types] if isinstance(types, str) else part.texts("not", types)
    forbidden = {*named, "integer"} if "number" in named else set(named)
    if "integer" in forbidden and "number" in part.types() - forbidden:
        part.refuse("not", "cannot be enforced for `integer`: a number with a fraction of zero is one too.")
    part.also.append({"type": [name for name in TYPES if name not in forbidden and name != "integer"]})
    if len(forbidden & set(TYPES)) == len(TYPES):
        part.never = True


def _condition(part: Part) -> None:
    if "then" in part.source or "else" in part.source:
        part.refuse("if", "cannot be enforced; list the cases with `anyOf`.")


def _unknown_reference(keyword: str) -> Handler:
    def refuse(part: Part) -> None:
        part.refuse(keyword, "cannot be enforced; use `$ref`.")

    return refuse


_HANDLERS: dict[str, Handler] = {
    **scalars.HANDLERS,
    **containers.HANDLERS,
    "$ref": _reference,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _condition,
    "$dynamicRef": _unknown_reference("$dynamicRef"),
    "$recursiveRef": _unknown_reference("$recursiveRef"),
}
