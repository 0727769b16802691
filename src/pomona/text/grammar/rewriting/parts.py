"""One schema while it is rewritten, and what every keyword needs to say no."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, cast

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.text.grammar.limits import check_count
from pomona.text.grammar.rewriting.references import Node, join

Schema = dict[str, object] | bool
"""A rewritten schema: only keywords that llguidance enforces exactly."""


class Rewriting(Protocol):
    """What rewrites the schemas within a schema."""

    def rewrite(self, node: object, path: str, base: str, *, closable: bool = False) -> Schema:
        """`node` in keywords that can be enforced. `closable` where the schema alone describes its value."""
        ...

    def rewrite_reference(self, reference: object, path: str, base: str, *, closable: bool = False) -> Schema:
        """A `$ref` as a reference to a definition of the rewritten document."""
        ...

    def follow(self, node: object, base: str, path: str) -> object:
        """`node`, or what it refers to where it is nothing but a `$ref`."""
        ...


@dataclass(slots=True, kw_only=True)
class Part:
    """One schema: its source, and what it has become so far."""

    source: Node
    path: str
    base: str
    closable: bool
    rewriting: Rewriting
    simple: dict[str, object] = field(default_factory=dict[str, object])
    also: list[Schema] = field(default_factory=list[Schema])
    """Schemas that must hold too."""
    never: bool = False
    """No value fits."""

    def at(self, *steps: str | int) -> str:
        """The path of something within."""
        path = self.path
        for step in steps:
            path = join(path, str(step))
        return path

    def child(self, node: object, *steps: str | int, closable: bool = True) -> Schema:
        """The schema `node` that stands at `steps`, rewritten."""
        return self.rewriting.rewrite(node, self.at(*steps), self.base, closable=closable)

    def wrong(self, keyword: str, reason: str) -> NoReturn:
        """The schema is not a schema."""
        raise InvalidRequest(f"{self.at(keyword)} {reason}", param=self.at(keyword))

    def refuse(self, keyword: str, reason: str) -> NoReturn:
        """The schema is right and cannot be enforced."""
        raise UnsupportedField(f"{self.at(keyword)} {reason}", param=self.at(keyword))

    def mapping(self, keyword: str, most: int) -> Mapping[str, object]:
        """The value of `keyword`, a mapping."""
        value = self.source[keyword]
        if not isinstance(value, dict):
            self.wrong(keyword, f"is {shown(value)}, not an object.")
        found = cast("dict[str, object]", value)
        check_count("members", len(found), most, self.at(keyword))
        return found

    def sequence(self, keyword: str, most: int) -> list[object]:
        """The value of `keyword`, a list."""
        value = self.source[keyword]
        if not isinstance(value, list):
            self.wrong(keyword, f"is {shown(value)}, not a list.")
        found = cast("list[object]", value)
        check_count("members", len(found), most, self.at(keyword))
        return found

    def texts(self, keyword: str, value: object) -> list[str]:
        """`value`, a list of strings."""
        if not isinstance(value, list) or not all(isinstance(each, str) for each in cast("list[object]", value)):
            self.wrong(keyword, f"is {shown(cast('object', value))}, not a list of strings.")
        return list(dict.fromkeys(cast("list[str]", value)))

    def count(self, keyword: str, most: int) -> int:
        """The value of `keyword`, a whole number of at least 0 that may be written as 2.0."""
        value = self.source[keyword]
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value // 1:
            self.wrong(keyword, f"is {shown(value)}, not a whole number of at least 0.")
        if value > most:
            self.refuse(keyword, f"is {shown(value)}; at most {most} can be enforced.")
        return int(value)

    def types(self) -> frozenset[str]:
        """The types that values may have by this schema's own `type`; all where it has none."""
        value = self.source.get("type")
        named = [value] if isinstance(value, str) else cast("list[str]", value) if isinstance(value, list) else TYPES
        return frozenset(named)


Handler = Callable[[Part], None]
TYPES = ("null", "boolean", "number", "integer", "string", "array", "object")


def shown(value: object) -> str:
    """`value` for a message: short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
