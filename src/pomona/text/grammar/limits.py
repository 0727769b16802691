"""How much a format may ask for, and why.

They keep the time of compiling below a second with llguidance 1.9.1, where it is 2 ms for usual schemas. What takes longer all the
same is stopped by `compiling`.
"""

from typing import cast

from pomona.core.errors import InvalidRequest

MAX_SOURCE_BYTES = 2**18
"""The largest schemas of real APIs are below 100 KiB."""
MAX_REGEX_CHARACTERS = 10_000
MAX_EXPANSION = 50_000
"""Characters and groups of a regular expression with its repetitions written out."""
MAX_DEPTH = 60
"""Levels of braces and brackets in a schema. The JSON reader of llguidance stops at 127, and rewriting may double a level."""
MAX_SCHEMAS = 4_000
"""Schemas within a schema, the targets of references included."""
MAX_PROPERTIES = 1_000
"""Properties that one object may name."""
MAX_PATTERNS = 50
"""`patternProperties` of one object: each is compared with every other."""
MAX_ALTERNATIVES = 2_000
"""Members of an enum, a choice, or an anyOf: llguidance keeps at most 2000 items in a row of its parser."""
MAX_ITEMS = 2_000
"""The greatest `minItems`, `maxItems`, `minProperties` and `maxProperties`: each counts one symbol of the grammar."""
MAX_LENGTH = 20_000
"""The greatest `minLength` and `maxLength`, which are counted by the states of an automaton."""


def check_source(source: str, param: str) -> None:
    """Raise InvalidRequest where `source` is too long, or holds characters that no UTF-8 text has."""
    try:
        size = len(source.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{param} holds a lone surrogate at character {error.start}, which is not text.", param=param) from None
    if size > MAX_SOURCE_BYTES:
        raise InvalidRequest(f"{param} has {size} bytes; at most {MAX_SOURCE_BYTES} are taken.", param=param)


def check_count(what: str, count: int, most: int, param: str) -> None:
    """Raise InvalidRequest where `count` is above `most`."""
    if count > most:
        raise InvalidRequest(f"{param} has {count} {what}; at most {most} are taken.", param=param)


def check_depth(value: object, param: str) -> None:
    """Raise InvalidRequest where lists and mappings are nested deeper than MAX_DEPTH."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for each in level for child in _children(each)]
        if not level:
            return
    raise InvalidRequest(f"{param} is nested deeper than {MAX_DEPTH} levels.", param=param)


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []
