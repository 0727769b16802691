"""What a string parameter's schema says about its text, as a regular expression for a value without quotes."""

from functools import lru_cache

from pomona.core.errors import UnsupportedField
from pomona.text.grammar.compiling import problem_of
from pomona.text.grammar.rewriting.patterns import PatternError, rust_pattern, whole_of_search
from pomona.text.tools.schema_types import Schema

ANY_TEXT = "(?s:.*)"
LONGEST = 2000
"""Characters up to which a length is enforced: a bound costs states of the automaton, one for each character."""


def text_pattern(schema: Schema, param: str, *, strict: bool) -> str:
    """The texts of `schema`. With `strict`, raises UnsupportedField for a pattern that cannot be enforced; else it is left out."""
    pattern = schema.get("pattern")
    if not isinstance(pattern, str):
        return _by_length(schema)
    expression = _by_pattern(pattern)
    if expression is None and strict:
        raise UnsupportedField(f"The pattern {pattern!r} cannot be enforced. Simplify it, or leave out `strict`.", param=f"{param}.pattern")
    return expression or ANY_TEXT


def _by_length(schema: Schema) -> str:
    least, most = schema.get("minLength"), schema.get("maxLength")
    low = least if isinstance(least, int) and 0 < least <= LONGEST else 0
    high = most if isinstance(most, int) and low <= most <= LONGEST else None
    return f"(?s:.{{{low},{'' if high is None else high}}})" if low or high is not None else ANY_TEXT


@lru_cache(maxsize=256)
def _by_pattern(pattern: str) -> str | None:
    try:
        expression = f"(?:{whole_of_search(rust_pattern(pattern))})"
    except PatternError:
        return None
    return expression if problem_of(f"start: /{expression}/") is None else None
