"""The official JSON-Schema-Test-Suite, draft 2020-12: what is accepted is enforced to the letter, the rest is refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from pomona.core.errors import InvalidRequest
from pomona.core.generation import OutputFormat
from pomona.text.grammar.formats import grammar_of
from tests.unit.text.grammar.acceptance import matches
from tests.unit.text.samples import DATA

SUITE = DATA / "json_schema_test_suite" / "draft2020-12"
FILES = sorted(path.relative_to(SUITE).as_posix() for path in SUITE.rglob("*.json"))
# How many schemas of a file are accepted; the others are refused. Files that are not here are accepted as a whole.
ACCEPTED = {
    "allOf.json": 10,
    "anyOf.json": 7,
    "boolean_schema.json": 1,
    "const.json": 16,
    "contains.json": 0,
    "defs.json": 0,
    "dependentSchemas.json": 3,
    "dynamicRef.json": 1,
    "ecmascript-regex.json": 18,
    "enum.json": 13,
    "format.json": 11,
    "if-then-else.json": 4,
    "maxContains.json": 1,
    "minContains.json": 2,
    "multipleOf.json": 4,
    "not.json": 3,
    "oneOf.json": 2,
    "patternProperties.json": 3,
    "ref.json": 34,
    "refRemote.json": 0,
    "unevaluatedItems.json": 12,
    "unevaluatedProperties.json": 23,
    "uniqueItems.json": 3,
    "vocabulary.json": 0,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A schema of the suite and what fits it."""

    name: str
    schema: object
    instances: list[tuple[str, object, bool]]


def cases(file: str) -> Iterator[Case]:
    """The schemas of one file."""
    for group in json.loads((SUITE / file).read_text()):
        yield Case(group["description"], group["schema"], [(each["description"], each["data"], each["valid"]) for each in group["tests"]])


def grammar(schema: object) -> str | None:
    """None where it is refused."""
    source = grammar_or_refusal(schema)
    return source if isinstance(source, str) else None


def grammar_or_refusal(schema: object) -> str | InvalidRequest:
    return _made(json.dumps(schema))


@cache
def _made(source: str) -> str | InvalidRequest:
    try:
        return grammar_of(OutputFormat(kind="json_schema", source=source))
    except InvalidRequest as error:
        return error


def unwritten(file: str, test: str, value: object) -> bool:
    """Valid instances that no answer spells in this way."""
    whole_number_with_fraction = "float" in test or ".0" in json.dumps(value)
    format_that_only_annotates = file == "format.json" and "only an annotation" in test
    rare_spelling_of_a_format = file.startswith("format/")
    control_character = isinstance(value, str) and any(ord(char) < 32 for char in value)
    python_has_other_blanks = value == "\ufeff"
    return any(
        (
            whole_number_with_fraction,
            format_that_only_annotates,
            rare_spelling_of_a_format,
            control_character,
            python_has_other_blanks,
        )
    )


@pytest.mark.parametrize("file", FILES)
def test_no_invalid_instance_is_accepted(file: str) -> None:
    for case in cases(file):
        source = grammar(case.schema)
        wrong = [test for test, value, valid in case.instances if source is not None and not valid and matches(source, value)]
        assert not wrong, (case.name, wrong)


@pytest.mark.parametrize("file", FILES)
def test_every_valid_instance_is_accepted(file: str) -> None:
    for case in cases(file):
        source = grammar(case.schema)
        valid = [(test, value) for test, value, fits in case.instances if fits and not unwritten(file, test, value)]
        wrong = [test for test, value in valid if source is not None and not matches(source, value)]
        assert not wrong, (case.name, wrong)


@pytest.mark.parametrize("file", FILES)
def test_what_can_be_enforced_is_not_refused(file: str) -> None:
    enforced = [case.name for case in cases(file) if grammar(case.schema) is not None]
    assert len(enforced) == ACCEPTED.get(file, len(list(cases(file)))), enforced


@pytest.mark.parametrize("file", FILES)
def test_a_refusal_says_where_and_why(file: str) -> None:
    refusals = [each for each in (grammar_or_refusal(case.schema) for case in cases(file)) if isinstance(each, InvalidRequest)]
    assert all(each.param and each.param.startswith("response_format") and each.param in each.message for each in refusals)
    assert not any("\n" in each.message or len(each.message) > 700 for each in refusals)


def test_the_suite_is_all_here() -> None:
    assert (Path(SUITE).parent / "LICENSE").is_file()
    assert sum(len(case.instances) for file in FILES for case in cases(file)) > 1500
