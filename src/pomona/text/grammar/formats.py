"""From the format that an answer must have to the grammar that enforces it."""

import json
from functools import lru_cache
from typing import NoReturn, cast

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import OutputFormat
from pomona.text.grammar.compiling import problem_of
from pomona.text.grammar.limits import MAX_ALTERNATIVES, MAX_EXPANSION, MAX_REGEX_CHARACTERS, check_count, check_source
from pomona.text.grammar.rewriting.patterns import PatternError, expansion, rust_pattern_of_whole
from pomona.text.grammar.schemas import json_item, schema_item
from pomona.text.grammar.xml import xml_grammar

_KEPT = 64
"""Formats whose grammars are kept: at most 64 times about 0.5 MB, usually 64 times a few KiB."""


@lru_cache(maxsize=_KEPT)
def grammar_of(format: OutputFormat, *, closed: bool = False) -> str:
    """The source of the grammar whose texts are exactly those of `format`: Lark, with a rule `start`. From any thread.

    `closed`: objects of a schema that name properties and do not say whether they take others take none. All that is written still fits
    the schema, and small models do not lose themselves in properties of their own invention.

    Raises InvalidRequest where the source of the format is wrong and UnsupportedField where it cannot be enforced, both with the
    path of the cause in `param`. Takes about a millisecond for a usual schema, up to a second for the largest; blocks.
    """
    check_source(format.source, format.param)
    match format.kind:
        case "json_object":
            return f"start: {json_item({})}"
        case "json_schema":
            return f"start: {schema_item(_parsed(format), param=format.param, closed=closed)}"
        case "xml":
            return _checked(xml_grammar(_parsed(format), param=format.param), format)
        case "regex":
            return _regex(format)
        case "choice":
            return _choice(format)
        case "lark":
            return _lark(format)


def _regex(format: OutputFormat) -> str:
    check_count("characters", len(format.source), MAX_REGEX_CHARACTERS, format.param)
    if not format.source:
        raise InvalidRequest(f"{format.param} is empty: only an empty answer would fit.", param=format.param)
    try:
        expression = rust_pattern_of_whole(format.source)
    except PatternError as error:
        raise UnsupportedField(f"{format.param}: the regular expression {error}.", param=format.param) from None
    return _checked(f"start: ANSWER\nANSWER: /{expression}/", format)


def _choice(format: OutputFormat) -> str:
    values = _parsed(format)
    choices = cast("list[object]", values) if isinstance(values, list) else []
    if not choices or not all(isinstance(each, str) for each in choices):
        raise InvalidRequest(f"{format.param} must be a list of at least one string.", param=format.param)
    check_count("choices", len(choices), MAX_ALTERNATIVES, format.param)
    return _checked("start: ANSWER\nANSWER: " + " | ".join(json.dumps(each, ensure_ascii=False) for each in dict.fromkeys(choices)), format)


def _lark(format: OutputFormat) -> str:
    if not format.source.strip() or format.source.lstrip().startswith("{"):
        raise InvalidRequest(f"{format.param} must be a grammar in Lark's syntax, with a rule `start`.", param=format.param)
    check_count("characters with repetitions written out", max(map(expansion, format.source.splitlines())), MAX_EXPANSION, format.param)
    return _checked(format.source, format)


def _checked(source: str, format: OutputFormat) -> str:
    problem = problem_of(source)
    if problem is not None and problem.startswith("no tokenizer"):
        raise UnsupportedField(f"{format.param} names tokens of a model (`<...>`); only text can be asked for.", param=format.param)
    if problem is not None:
        raise UnsupportedField(f"{format.param} cannot be enforced: {problem}", param=format.param)
    return source


def _parsed(format: OutputFormat) -> object:
    try:
        return cast("object", json.loads(format.source, parse_constant=_no_constant))
    except RecursionError:
        raise InvalidRequest(f"{format.param} is nested too deeply.", param=format.param) from None
    except ValueError as error:
        raise InvalidRequest(f"{format.param} is not JSON: {error}.", param=format.param) from None


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is no number of JSON"
    raise ValueError(message)
