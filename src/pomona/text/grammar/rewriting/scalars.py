"""Keywords of types, constants, numbers and strings."""

import math
from decimal import Decimal
from typing import cast

from pomona.text.grammar.limits import MAX_ALTERNATIVES, MAX_LENGTH, MAX_REGEX_CHARACTERS
from pomona.text.grammar.rewriting.parts import TYPES, Handler, Part, shown
from pomona.text.grammar.rewriting.patterns import PatternError, rust_pattern
from pomona.text.grammar.rewriting.string_formats import ANNOTATIONS, FORMATS

_EXACT = 2**53
"""From here on not every whole number is a double, which is how llguidance holds bounds."""
_LAST = 2**63 - 1
"""Bounds beyond it act as this one: llguidance writes no greater whole numbers where there is a bound."""
_MOST_STATES = 10_000
"""`multipleOf` is an automaton with as many states as its value has units of its last digit."""
_SHORT_ESCAPES = "\b\t\n\f\r"


def _type(part: Part) -> None:
    value = part.source["type"]
    names = [value] if isinstance(value, str) else part.texts("type", value)
    if unknown := [name for name in names if name not in TYPES]:
        part.wrong("type", f"has {unknown[0]!r}; it must be of {', '.join(TYPES)}.")
    if not names:
        part.wrong("type", "is empty; leave it out to allow every type.")
    part.simple["type"] = names[0] if len(names) == 1 else names


def _enum(part: Part) -> None:
    values = part.sequence("enum", MAX_ALTERNATIVES)
    if not values:
        part.wrong("enum", "is empty; no value would fit.")
    part.simple["enum"] = [_constant(part, "enum", value) for value in values]


def _const(part: Part) -> None:
    value = _constant(part, "const", part.source["const"])
    if "enum" in part.source:
        part.also.append({"enum": [value]})
    else:
        part.simple["enum"] = [value]


def _constant(part: Part, keyword: str, value: object) -> object:
    if isinstance(value, str):
        _check_text(part, keyword, value)
        if any(ord(char) < 32 and char not in _SHORT_ESCAPES for char in value) or "\x7f" in value:
            part.refuse(keyword, f"has a control character in {shown(value)}, which answers never hold.")
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _constant_number(part, keyword, value)
    if isinstance(value, list):
        return [_constant(part, keyword, each) for each in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {_check_text(part, keyword, name): _constant(part, keyword, each) for name, each in members.items()}
    return value


def _constant_number(part: Part, keyword: str, value: float) -> float:
    if not math.isfinite(value):
        part.wrong(keyword, f"is {value!r}, which is no JSON number.")
    if abs(value) > _EXACT:
        part.refuse(keyword, f"is {shown(value)}; whole numbers beyond 2^53 cannot be told apart.")
    return int(value) if value == int(value) else value


def _check_text(part: Part, keyword: str, text: str) -> str:
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        part.wrong(keyword, f"has a lone surrogate in {shown(text)}, which is not text.")
    return text


def _lower_bound(part: Part) -> None:
    _bound(part, "minimum", "exclusiveMinimum", upwards=True)


def _upper_bound(part: Part) -> None:
    _bound(part, "maximum", "exclusiveMaximum", upwards=False)


def _bound(part: Part, keyword: str, exclusive: str, *, upwards: bool) -> None:
    """Also draft 4, where `exclusiveMinimum` is a flag of `minimum`."""
    if keyword in part.source:
        strict = part.source.get(exclusive) is True
        part.simple[exclusive if strict else keyword] = _limit(part, keyword, upwards=upwards)
    if exclusive in part.source and not isinstance(part.source[exclusive], bool):
        part.simple[exclusive] = _limit(part, exclusive, upwards=upwards)


def _limit(part: Part, keyword: str, *, upwards: bool) -> float:
    value = part.source[keyword]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_as_float(value)):
        part.wrong(keyword, f"is {shown(value)}, not a number between -1.7e308 and 1.7e308.")
    if abs(value) <= _EXACT:
        return int(value) if value == int(value) else value
    if "number" in part.types():
        part.refuse(keyword, f"is {shown(value)}; bounds of fractions beyond 2^53 cannot be enforced.")
    return _inward(int(value), upwards=upwards)


def _inward(value: int, *, upwards: bool) -> float:
    """The next double within the bound: a few numbers next to a bound beyond 2^53 are never written."""
    if abs(value) >= _LAST:
        return math.copysign(_LAST, value)
    near = float(value)
    outside = int(near) < value if upwards else int(near) > value
    return math.nextafter(near, math.inf if upwards else -math.inf) if outside else near


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _multiple_of(part: Part) -> None:
    value = part.source["multipleOf"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < _as_float(value) < math.inf:
        part.wrong("multipleOf", f"is {shown(value)}, not a number above 0.")
    states = Decimal(repr(value)).normalize().as_tuple()
    units = int("".join(map(str, states.digits))) * 10 ** max(int(states.exponent), 0)
    if units > _MOST_STATES or int(states.exponent) < -9:
        part.refuse("multipleOf", f"is {shown(value)}; its digits without the point may be at most {_MOST_STATES}.")
    part.simple["multipleOf"] = int(value) if value == int(value) else value


def _min_length(part: Part) -> None:
    part.simple["minLength"] = part.count("minLength", MAX_LENGTH)


def _max_length(part: Part) -> None:
    part.simple["maxLength"] = part.count("maxLength", MAX_LENGTH)


def _pattern(part: Part) -> None:
    part.simple["pattern"] = pattern_of(part, "pattern", part.source["pattern"])


def pattern_of(part: Part, keyword: str, pattern: object) -> str:
    """A pattern that stands under `keyword`, in llguidance's syntax."""
    if not isinstance(pattern, str):
        part.wrong(keyword, f"is {shown(pattern)}, not a string.")
    if len(pattern) > MAX_REGEX_CHARACTERS:
        part.refuse(keyword, f"has {len(pattern)} characters; at most {MAX_REGEX_CHARACTERS} are taken.")
    try:
        return rust_pattern(_check_text(part, keyword, pattern))
    except PatternError as error:
        part.refuse(keyword, f"{shown(pattern)} {error}.")


def _format(part: Part) -> None:
    name = part.source["format"]
    if not isinstance(name, str):
        part.wrong("format", f"is {shown(name)}, not a string.")
    if "string" not in part.types() or name in ANNOTATIONS:
        return
    if name not in FORMATS:
        part.refuse("format", f"is {name!r}, which cannot be enforced; these can: {', '.join(FORMATS)}. Leave it out to allow any string.")
    part.also.append({"pattern": FORMATS[name]})


HANDLERS: dict[str, Handler] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _lower_bound,
    "exclusiveMinimum": _lower_bound,
    "maximum": _upper_bound,
    "exclusiveMaximum": _upper_bound,
    "multipleOf": _multiple_of,
    "minLength": _min_length,
    "maxLength": _max_length,
    "pattern": _pattern,
    "format": _format,
}
