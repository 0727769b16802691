"""Keywords of objects and arrays."""

from typing import cast

from pomona.text.grammar.limits import MAX_ALTERNATIVES, MAX_ITEMS, MAX_PATTERNS, MAX_PROPERTIES
from pomona.text.grammar.rewriting.parts import Handler, Part, Schema, shown
from pomona.text.grammar.rewriting.scalars import pattern_of

IN_PLACE = ("$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "dependencies", "not")
"""Keywords that bring schemas for the same value."""
_MOST_DEPENDENCIES = 8
"""Each doubles the object's grammar."""


def _properties(part: Part) -> None:
    named = part.mapping("properties", MAX_PROPERTIES)
    part.simple["properties"] = {name: part.child(value, "properties", name) for name, value in named.items()}
    if part.closable and not any(keyword in part.source for keyword in ("additionalProperties", "patternProperties", *IN_PLACE)):
        part.simple["additionalProperties"] = False


def _required(part: Part) -> None:
    part.simple["required"] = part.texts("required", part.source["required"])


def _additional_properties(part: Part) -> None:
    part.simple["additionalProperties"] = part.child(part.source["additionalProperties"], "additionalProperties")


def _pattern_properties(part: Part) -> None:
    patterns: dict[str, Schema] = {}
    for pattern, value in part.mapping("patternProperties", MAX_PATTERNS).items():
        translated = pattern_of(part, "patternProperties", pattern)
        if translated in patterns:
            part.refuse("patternProperties", f"has two spellings of {pattern!r}.")
        patterns[translated] = part.child(value, "patternProperties", pattern)
    part.simple["patternProperties"] = patterns


def _min_properties(part: Part) -> None:
    """Keys that a schema does not name may come twice, and count once: only one such key can be demanded."""
    least = part.count("minProperties", MAX_ITEMS)
    required = set(_listed(part, "required"))
    missing = least - len(required)
    optional = [name for name in _named(part) if name not in required]
    if missing <= 0:
        return
    if _is_closed(part) and missing == len(optional):
        part.also.append({"required": optional})
        return
    if missing > 1 or (optional and not _is_closed(part)):
        part.refuse(
            "minProperties",
            f"is {least}: that can be enforced for one property more than `required` has, and where `properties` names"
            " all or none of the others.",
        )
    part.simple["minProperties"] = len(required) + 1


def _max_properties(part: Part) -> None:
    most = part.count("maxProperties", MAX_ITEMS)
    if not (_is_closed(part) and most >= len(_named(part))):
        part.simple["maxProperties"] = most


def _named(part: Part) -> list[str]:
    named = part.source.get("properties")
    return list(cast("dict[str, object]", named)) if isinstance(named, dict) else []


def _listed(part: Part, keyword: str) -> list[str]:
    return part.texts(keyword, part.source[keyword]) if keyword in part.source else []


def _is_closed(part: Part) -> bool:
    return part.source.get("additionalProperties") is False and not part.source.get("patternProperties")


def _property_names(part: Part) -> None:
    node = part.rewriting.follow(part.source["propertyNames"], part.base, part.at("propertyNames"))
    names = part.child(node, "propertyNames")
    if names is True or names == {"type": "string"}:
        return
    if names is False:
        part.also.append({"maxProperties": 0})
        return
    flat = _flat(names)
    if "enum" in flat and set(flat) <= {"enum", "type"}:
        allowed = [name for name in cast("list[object]", flat["enum"]) if isinstance(name, str)]
        part.also.append({"properties": dict.fromkeys(allowed, True), "additionalProperties": False})
        return
    pattern = _pattern_of_names(part, flat)
    part.also.append({"patternProperties": {pattern: True}, "additionalProperties": False})


def _flat(schema: dict[str, object]) -> dict[str, object]:
    """A schema and the one in its `allOf`, where they do not meet."""
    also = cast("list[dict[str, object]]", schema.get("allOf", []))
    simple = {key: value for key, value in schema.items() if key != "allOf"}
    return simple | also[0] if len(also) == 1 and not set(simple) & set(also[0]) else schema


def _pattern_of_names(part: Part, names: dict[str, object]) -> str:
    asserted = set(names) - {"type"} if names.get("type", "string") == "string" else {"type"}
    if asserted == {"pattern"}:
        return cast("str", names["pattern"])
    if asserted <= {"minLength", "maxLength"}:
        return f"^(?s:.){{{names.get('minLength', 0)},{names.get('maxLength', '')}}}$"
    return part.refuse("propertyNames", "can be enforced as an enum, as one pattern or format, or as limits of length.")


def _dependent_required(part: Part) -> None:
    for name, needed in part.mapping("dependentRequired", _MOST_DEPENDENCIES).items():
        part.also.append(_unless(name, {"type": "object", "required": part.texts("dependentRequired", needed)}))


def _dependent_schemas(part: Part, keyword: str = "dependentSchemas") -> None:
    for name, node in part.mapping(keyword, _MOST_DEPENDENCIES).items():
        rewritten = part.child(node, keyword, name, closable=False)
        part.also.append(_unless(name, {"type": "object", "required": [name], "allOf": [rewritten]}))


def _dependencies(part: Part) -> None:
    """Draft 7: both in one."""
    for name, needed in part.mapping("dependencies", _MOST_DEPENDENCIES).items():
        if isinstance(needed, list):
            names = part.texts("dependencies", cast("object", needed))
            part.also.append(_unless(name, {"type": "object", "required": names}))
        else:
            rewritten = part.child(needed, "dependencies", name, closable=False)
            part.also.append(_unless(name, {"type": "object", "required": [name], "allOf": [rewritten]}))


def _unless(name: str, schema: Schema) -> Schema:
    return {"anyOf": [{"properties": {name: False}}, schema]}


def _unevaluated_properties(part: Part) -> None:
    _unevaluated(part, "unevaluatedProperties", "additionalProperties")


def _unevaluated_items(part: Part) -> None:
    _unevaluated(part, "unevaluatedItems", "items")


def _unevaluated(part: Part, keyword: str, plain: str) -> None:
    """Without schemas for the same value it says what `plain` says, and nothing where that is given."""
    value = part.source[keyword]
    if value is True or value == {}:
        return
    if met := [other for other in (*IN_PLACE, "contains") if other in part.source]:
        part.refuse(keyword, f"cannot be enforced beside {met[0]!r}; write the whole schema in one place.")
    if plain not in part.source:
        part.simple[plain] = part.child(value, keyword)


def _items(part: Part) -> None:
    """Also drafts up to 2019-09, where a list of schemas is what `prefixItems` is now."""
    value = part.source["items"]
    if not isinstance(value, list):
        part.simple["items"] = part.child(value, "items")
        return
    tuples = part.sequence("items", MAX_ALTERNATIVES)
    part.simple["prefixItems"] = [part.child(each, "items", index) for index, each in enumerate(tuples)]
    if "additionalItems" in part.source:
        part.simple["items"] = part.child(part.source["additionalItems"], "additionalItems")


def _prefix_items(part: Part) -> None:
    given = part.sequence("prefixItems", MAX_ALTERNATIVES)
    part.simple["prefixItems"] = [part.child(each, "prefixItems", index) for index, each in enumerate(given)]


def _min_items(part: Part) -> None:
    part.simple["minItems"] = part.count("minItems", MAX_ITEMS)


def _max_items(part: Part) -> None:
    part.simple["maxItems"] = part.count("maxItems", MAX_ITEMS)


def _unique_items(part: Part) -> None:
    value = part.source["uniqueItems"]
    if not isinstance(value, bool):
        part.wrong("uniqueItems", f"is {shown(value)}, not true or false.")
    most = part.source.get("maxItems")
    if value and "array" in part.types() and not (isinstance(most, int) and most <= 1):
        part.refuse("uniqueItems", "cannot be enforced: what came before is not known when an item is written.")


def _contains(part: Part) -> None:
    if "array" in part.types() and not (part.source.get("minContains") == 0 and "maxContains" not in part.source):
        part.refuse("contains", "cannot be enforced; say what each item is with `items` or `prefixItems`.")


HANDLERS: dict[str, Handler] = {
    "properties": _properties,
    "required": _required,
    "additionalProperties": _additional_properties,
    "patternProperties": _pattern_properties,
    "minProperties": _min_properties,
    "maxProperties": _max_properties,
    "propertyNames": _property_names,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "dependencies": _dependencies,
    "unevaluatedProperties": _unevaluated_properties,
    "unevaluatedItems": _unevaluated_items,
    "items": _items,
    "prefixItems": _prefix_items,
    "minItems": _min_items,
    "maxItems": _max_items,
    "uniqueItems": _unique_items,
    "contains": _contains,
}
