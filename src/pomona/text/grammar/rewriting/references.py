"""Where a `$ref` points: within the same document, by JSON pointer, `$id`, `$anchor`, or any mix of them."""

from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import unquote, urldefrag, urljoin

Node = Mapping[str, object]
_ONE = {"items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"} | {
    "unevaluatedItems",
    "unevaluatedProperties",
}
_MANY = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_NAMED = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}


class References:
    """The schemas of one document by address. Schemas are known by identity: the document must outlive this object."""

    def __init__(self, root: Node) -> None:
        self._bases: dict[int, str] = {}
        self._by_address: dict[str, object] = {"": root}
        self._paths: dict[int, str] = {}
        pending: list[tuple[Node, str, str]] = [(root, "", "")]
        while pending:
            node, base, path = pending.pop()
            base = self._register(node, base, path)
            pending += [(child, base, join(path, step)) for step, child in subschemas(node)]

    def resolve(self, reference: str, base: str) -> tuple[object, str, str]:
        """The schema that `reference` names, its base address and its path. Raises LookupError: nothing of that name is in here."""
        joined = base + reference if reference.startswith("#") else urljoin(base, reference)
        address, fragment = urldefrag(joined)
        whole = f"{address}#{fragment}"
        if fragment and not fragment.startswith("/"):
            if whole not in self._by_address:
                raise LookupError(reference)
            return self._found(self._by_address[whole], address, whole)
        if address not in self._by_address:
            raise LookupError(reference)
        node = self._by_address[address]
        path = self._paths.get(id(node), "")
        for segment in unquote(fragment).split("/")[1:]:
            step = segment.replace("~1", "/").replace("~0", "~")
            node, path = _child(node, step, reference), join(path, step)
        return self._found(node, address, path)

    def base(self, node: Node, inherited: str) -> str:
        """The address that references within `node` are relative to."""
        return self._bases.get(id(node), inherited)

    def _register(self, node: Node, inherited: str, path: str) -> str:
        base = inherited
        identifier = node.get("$id")
        if isinstance(identifier, str) and not identifier.startswith("#"):
            base = urldefrag(urljoin(inherited, identifier))[0]
            self._by_address.setdefault(base, node)
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := node.get(keyword), str):
                self._by_address.setdefault(f"{base}#{anchor}", node)
        self._bases[id(node)] = base
        self._paths[id(node)] = path
        return base

    def _found(self, node: object, address: str, path: str) -> tuple[object, str, str]:
        return node, self._bases.get(id(node), address), self._paths.get(id(node), path)


def subschemas(node: Node) -> Iterator[tuple[str, Node]]:
    """The schemas directly within `node` that are objects, each with its path from it."""
    for keyword, value in node.items():
        if keyword in _ONE and isinstance(value, dict):
            yield keyword, cast("Node", value)
        elif keyword in _MANY and isinstance(value, list):
            members = enumerate(cast("list[object]", value))
            yield from ((f"{keyword}.{index}", cast("Node", each)) for index, each in members if isinstance(each, dict))
        elif keyword in _NAMED and isinstance(value, dict):
            named = cast("dict[str, object]", value).items()
            yield from ((f"{keyword}.{name}", cast("Node", each)) for name, each in named if isinstance(each, dict))


def join(path: str, step: str) -> str:
    """`path` with one step more."""
    return f"{path}.{step}" if path else step


def _child(node: object, step: str, reference: str) -> object:
    if isinstance(node, dict) and step in node:
        return cast("dict[str, object]", node)[step]
    if isinstance(node, list) and step.isdecimal() and int(step) < len(cast("list[object]", node)):
        return cast("list[object]", node)[int(step)]
    raise LookupError(reference)
