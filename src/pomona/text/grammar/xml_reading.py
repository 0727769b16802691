"""XML that a grammar of `xml.py` let through, back as JSON values."""

import json
import re
from dataclasses import dataclass, field
from typing import cast

from pomona.text.grammar.rewriting.parts import Schema
from pomona.text.grammar.xml import XmlSchema, escaped

_TOKEN = re.compile(r"<(/?)([A-Za-z_][A-Za-z0-9_.-]*)(/?)>|([^<>]+)")
_CHARACTERS = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
_DEEPEST = 200


def read_xml(schema: object, text: str) -> object:
    """The JSON value that `text` writes as XML by `schema`. Raises ValueError where it is not of that form.

    Raises InvalidRequest and UnsupportedField as `xml_grammar` does.
    """
    known = XmlSchema.of(schema, param="schema")
    root = _tree(text)
    if root.name != known.root_name:
        message = f"The answer is an element {root.name!r}, not {known.root_name!r}."
        raise ValueError(message)
    return _Reader(known).value(root, known.root)


@dataclass(slots=True)
class _Element:
    name: str
    empty: bool = False
    text: str = ""
    children: "list[_Element]" = field(default_factory=list["_Element"])


def _tree(text: str) -> _Element:
    top = _Element("")
    path = [top]
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token:
            message = f"Not XML of this form at character {at}: {text[at : at + 20]!r}."
            raise ValueError(message)
        at = token.end()
        _take(token, path)
    if len(path) != 1 or len(top.children) != 1 or top.text.strip():
        message = "The answer is not one whole element."
        raise ValueError(message)
    return top.children[0]


def _take(token: re.Match[str], path: list[_Element]) -> None:
    closing, name, empty, text = token.groups()
    if text is not None:
        path[-1].text += text
    elif closing:
        if empty or path[-1].name != name:
            message = f"{token.group()!r} closes an element {path[-1].name!r}."
            raise ValueError(message)
        path.pop()
    else:
        element = _Element(name, empty=bool(empty))
        path[-1].children.append(element)
        if not empty:
            path.append(element)
    if len(path) > _DEEPEST:
        message = f"Elements are nested deeper than {_DEEPEST}."
        raise ValueError(message)


class _Reader:
    def __init__(self, schema: XmlSchema) -> None:
        self._schema = schema

    def value(self, element: _Element, schema: Schema) -> object:
        content, nullable = self._schema.split(schema)
        if element.empty:
            if not nullable:
                message = f"The element {element.name!r} cannot be null."
                raise ValueError(message)
            return None
        resolved = self._schema.resolve(content) if content is not None else False
        if not isinstance(resolved, dict):
            message = f"The element {element.name!r} must be null."
            raise ValueError(message)
        if resolved.get("type") in ("array", "object"):
            return self._container(element, resolved)
        if element.children:
            message = f"The element {element.name!r} has elements where a text was due."
            raise ValueError(message)
        return _scalar(element.text, resolved)

    def _container(self, element: _Element, schema: dict[str, object]) -> object:
        if element.text.strip(" \n"):
            message = f"The element {element.name!r} has text between its elements."
            raise ValueError(message)
        if schema["type"] == "array":
            return [self.value(child, cast("Schema", schema.get("items", True))) for child in element.children]
        named = cast("dict[str, Schema]", schema["properties"])
        found: dict[str, object] = {}
        for child in element.children:
            if child.name not in named or child.name in found:
                message = f"The element {element.name!r} has a {child.name!r} that is unknown or comes twice."
                raise ValueError(message)
            found[child.name] = self.value(child, named[child.name])
        return found


def _scalar(text: str, schema: dict[str, object]) -> object:
    if isinstance(values := schema.get("enum"), list):
        texts = {escaped(each) if isinstance(each, str) else json.dumps(each): each for each in cast("list[object]", values)}
        if text not in texts:
            message = f"{text!r} is none of {', '.join(texts)}."
            raise ValueError(message)
        return texts[text]
    if schema.get("type") == "string":
        return re.sub("&(?:lt|gt|amp);", lambda found: _CHARACTERS[found.group()], text)
    return cast("object", json.loads(text))
