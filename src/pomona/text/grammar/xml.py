"""XML for a JSON Schema.

The answer is one element, named by the schema's `title` where that is a name, else `answer`. A property is an element of its name, an
item of a list an element `item`, null an element without content (`<name/>`). Text has `&lt;`, `&gt;` and `&amp;`; numbers and flags
are as in JSON. There are no attributes. Between elements there may be a new line and blanks. Objects have the named properties only.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

from pomona.core.errors import UnsupportedField
from pomona.text.grammar.rewriting.parts import Schema
from pomona.text.grammar.rewriting.patterns import PatternError, whole_of_search
from pomona.text.grammar.schemas import STYLE, rewritten

_NAME = re.compile(r"(?!(?i:xml))[A-Za-z_][A-Za-z0-9_.-]*")
_CHARACTER = r"(?:[^<>&\x00-\x08\x0B-\x1F\x7F]|&lt;|&gt;|&amp;)"
_PLAIN = r"/[^<>&\x00-\x08\x0B-\x1F\x7F]*/"
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPACE = r"SPACE: /(?:\n {0,24})?/"


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlSchema:
    """A schema as XML sees it: the name of the answer's element, its schema, and the definitions that are referred to."""

    root_name: str
    root: Schema
    definitions: Mapping[str, Schema]

    @classmethod
    def of(cls, schema: object, *, param: str) -> "XmlSchema":
        """Raises InvalidRequest and UnsupportedField."""
        root, definitions = rewritten(schema, param=param)
        title = cast("Mapping[str, object]", schema).get("title") if isinstance(schema, dict) else None
        name = title if isinstance(title, str) and _NAME.fullmatch(title) else "answer"
        return cls(root_name=name, root=root, definitions=definitions)

    def resolve(self, schema: Schema) -> Schema:
        """`schema`, or what it refers to."""
        while isinstance(schema, dict) and set(schema) == {"$ref"}:
            schema = self.definitions[cast("str", schema["$ref"]).rpartition("/")[2]]
        return schema

    def split(self, schema: Schema) -> tuple[Schema | None, bool]:
        """What `schema` allows beside null, and whether it allows null. The first is None for null alone."""
        resolved = self.resolve(schema)
        if not isinstance(resolved, dict):
            return schema, False
        if isinstance(options := resolved.get("anyOf"), list) and set(resolved) == {"anyOf"}:
            return self._split_options(schema, cast("list[Schema]", options))
        values = resolved.get("enum")
        if isinstance(values, list) and None in values:
            rest = [each for each in cast("list[object]", values) if each is not None]
            return ({**resolved, "enum": rest} if rest else None), True
        types = resolved.get("type")
        if types == "null":
            return None, True
        if isinstance(types, list) and "null" in types and values is None:
            others = [name for name in cast("list[str]", types) if name != "null"]
            return {**resolved, "type": others[0] if len(others) == 1 else others}, True
        return schema, False

    def _split_options(self, schema: Schema, options: list[Schema]) -> tuple[Schema | None, bool]:
        parts = [self.split(each) for each in options if each is not False]
        others = [rest for rest, _ in parts if rest is not None]
        if len(others) > 1:
            return schema, False
        return (others[0] if others else None), any(null for _, null in parts)


def xml_grammar(schema: object, *, param: str) -> str:
    """Lark for the XML of `schema`. Raises InvalidRequest and UnsupportedField."""
    return _Writer(XmlSchema.of(schema, param=param), param).grammar()


def escaped(text: str) -> str:
    """`text` as content of an element."""
    return re.sub("[&<>]", lambda found: _ENTITIES[found.group()], text)


class _Writer:
    def __init__(self, schema: XmlSchema, param: str) -> None:
        self._schema = schema
        self._param = param
        self._rules: list[str] = [_SPACE]
        self._named: dict[str, str] = {}
        self._writers = {
            "string": self._string,
            "boolean": self._flag,
            "integer": self._number,
            "number": self._number,
            "array": self._array,
            "object": self._object,
        }

    def grammar(self) -> str:
        start = self._element(self._schema.root_name, self._schema.root, self._param)
        return "\n".join([f"start: {start}", *self._rules])

    def _element(self, name: str, schema: Schema, path: str) -> str:
        if not _NAME.fullmatch(name):
            self._refuse(path, f"{name!r} cannot be the name of an element")
        content, nullable = self._schema.split(schema)
        empty = json.dumps(f"<{name}/>")
        if content is None:
            return empty
        full = f'"<{name}>" {self._content(content, path)} "</{name}>"'
        return f"({full} | {empty})" if nullable else f"({full})"

    def _content(self, schema: Schema, path: str) -> str:
        if isinstance(schema, dict) and set(schema) == {"$ref"}:
            return self._definition(cast("str", schema["$ref"]).rpartition("/")[2], path)
        if not isinstance(schema, dict) or {"allOf", "anyOf", "$ref"} & set(schema):
            self._refuse(path, "it needs one type that is known beforehand, or null")
        if "enum" in schema:
            return self._terminal(" | ".join(json.dumps(text, ensure_ascii=False) for text in self._constants(schema, path)))
        write = self._writers.get(cast("str", schema.get("type")) if isinstance(schema.get("type"), str) else "")
        if write is None:
            self._refuse(path, f"it has the type {schema.get('type')!r}; XML needs one, or null beside it")
        return write(schema, path)

    def _number(self, schema: dict[str, object], path: str) -> str:
        return "%json " + json.dumps({"x-guidance": STYLE, **schema})

    def _flag(self, schema: dict[str, object], path: str) -> str:
        return '("true" | "false")'

    def _definition(self, name: str, path: str) -> str:
        if name not in self._named:
            self._named[name] = f"def_{name}"
            content, _ = self._schema.split(self._schema.definitions[name])
            self._rules.append(f"def_{name}: {self._content(content if content is not None else False, path)}")
        return self._named[name]

    def _constants(self, schema: dict[str, object], path: str) -> list[str]:
        values = cast("list[object]", schema["enum"])
        texts = [escaped(each) if isinstance(each, str) else json.dumps(each) for each in values]
        if any(isinstance(each, dict | list) for each in values) or len(set(texts)) != len(texts) or set(schema) - {"enum", "type"}:
            self._refuse(path, "it has constants that cannot be told apart as text, or other keywords beside them")
        return texts

    def _string(self, schema: dict[str, object], path: str) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", "")
        if "pattern" not in schema:
            return self._terminal(f"/{_CHARACTER}{{{least},{most}}}/")
        try:
            pattern = whole_of_search(cast("str", schema["pattern"]))
        except PatternError as error:
            self._refuse(path, f"it has a pattern that {error}")
        return self._terminal(f"/{pattern}/ & {_PLAIN} & /(?s:.{{{least},{most}}})/")

    def _array(self, schema: dict[str, object], path: str) -> str:
        if "prefixItems" in schema:
            self._refuse(path, "it lists items one by one; use `items` alone")
        least, most = schema.get("minItems", 0), schema.get("maxItems", "")
        if schema.get("items") is False or most == 0:
            return "SPACE"
        item = self._element("item", cast("Schema", schema.get("items", True)), f"{path}.items")
        return f"(SPACE {item}){{{least},{most}}} SPACE"

    def _object(self, schema: dict[str, object], path: str) -> str:
        if "properties" not in schema or schema.get("additionalProperties") is not False or set(schema) & {"patternProperties"}:
            self._refuse(path, "it must name its `properties`, and no others can be allowed")
        if limits := set(schema) & {"minProperties", "maxProperties"}:
            self._refuse(path, f"it has {limits.pop()!r}; use `required`")
        needed = cast("list[str]", schema.get("required", []))
        pieces: list[str] = []
        for name, each in cast("dict[str, Schema]", schema["properties"]).items():
            if each is not False:
                element = f"SPACE {self._element(name, each, f'{path}.properties.{name}')}"
                pieces.append(element if name in needed else f"({element})?")
        if unnamed := [name for name in needed if name not in cast("dict[str, Schema]", schema["properties"])]:
            self._refuse(path, f"it requires {unnamed[0]!r}, which its `properties` do not name")
        return " ".join([*pieces, "SPACE"])

    def _terminal(self, expression: str) -> str:
        name = f"TEXT_{len(self._rules)}"
        self._rules.append(f"{name}: {expression}")
        return name

    def _refuse(self, path: str, reason: str) -> NoReturn:
        raise UnsupportedField(f"{path} cannot be written as XML: {reason}.", param=path)
