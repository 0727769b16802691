"""The bundled model, in one process with its engine: whatever the format and the temperature, what it finishes is of the format."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from pomona.core.generation import Finished, GenerateRequest, OutputFormat, ReasoningOptions, SamplingParams, TextDelta
from pomona.core.messages import Message, TextPart
from pomona.engine.engine import Engine
from pomona.text.grammar.xml_reading import read_xml
from pomona.text.output import TextOutput
from pomona.text.prompt import PromptBuilder
from pomona.text.templates import load_chat_template
from tests.engine.harness import make_engine
from tests.unit.text.grammar.test_suite import FILES, cases, grammar
from tests.unit.text.samples import TINY, tokenizer

TEMPERATURES = (0.0, 0.7, 1.5)
MAX_TOKENS = 48
SAMPLE = 60
MOST_STEPS = 100_000
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a<b", "c&d"]}, "maxItems": 2},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
PATTERNS = (r"[a-c]{2,5}d", r"\d{3}-\w{1,8}", r"(yes|no), (very|not) [a-z]{1,6}", r"[^\s\d]{1,10}!")
CHOICES = ["yes", "no", 'say "no"', "é\n", "yes and no"]
Fits = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A format and what its answers must be."""

    name: str
    format: OutputFormat
    fits: Fits


def _schemas() -> list[Wanted]:
    """All of the suite that are accepted and that the validator can judge: Python knows no `\\p{Letter}`."""
    found = [(f"{file}: {case.name}", case.schema) for file in FILES for case in cases(file) if grammar(case.schema) is not None]
    return [_schema(name, schema) for name, schema in found if "\\p{" not in str(schema) and "\\c" not in str(schema)]


def _schema(name: str, schema: object) -> Wanted:
    validator = _validator(_exact(json.dumps(schema)))
    return Wanted(name, _format("json_schema", json.dumps(schema)), lambda text: _valid(validator, _exact(text)))


def _exact(text: str) -> object:
    """1.2 is a multiple of 0.0001, which it is not as a binary fraction."""
    return cast("object", json.loads(text, parse_float=Decimal))


def _validator(schema: object) -> Draft202012Validator:
    return Draft202012Validator(cast("bool", schema), format_checker=FormatChecker())


def _valid(validator: Draft202012Validator, value: object) -> bool:
    return validator.is_valid(cast("str", value))


def _others() -> list[Wanted]:
    person = _validator(PERSON)
    return [
        Wanted("object", _format("json_object"), lambda text: isinstance(json.loads(text), dict)),
        Wanted("choice", _format("choice", json.dumps(CHOICES)), lambda text: text in CHOICES),
        Wanted("xml", _format("xml", json.dumps(PERSON)), lambda text: _valid(person, read_xml(PERSON, text))),
        _schema("person", PERSON),
        *(Wanted(pattern, _format("regex", pattern), _matching(pattern)) for pattern in PATTERNS),
    ]


def _matching(pattern: str) -> Fits:
    return lambda text: re.fullmatch(pattern, text) is not None


def _format(kind: Literal["json_object", "json_schema", "regex", "choice", "xml"], source: str = "") -> OutputFormat:
    return OutputFormat(kind=kind, source=source)


def _answers(wanted: Sequence[Wanted], seeds: Sequence[int]) -> dict[tuple[int, float, int], tuple[str, Finished]]:
    """The answer to each format at each temperature and seed, all of them waiting for one engine at once."""
    engine = make_engine("pomona-tiny", max_rows=64, max_waiting=2**16, page_tokens=32, kv_cache_bytes=2**28, step_token_budget=1024)
    keys = [(index, heat, seed) for index in range(len(wanted)) for heat in TEMPERATURES for seed in (seeds if heat else seeds[:1])]
    outputs: dict[str, TextOutput] = {}
    by = tokenizer(TINY)
    builder = PromptBuilder(by, load_chat_template(TINY, variables=by.template_variables), max_context=512)
    for number, (index, heat, seed) in enumerate(keys):
        request = _request(str(number), wanted[index].format, SamplingParams(temperature=heat, seed=seed))
        planned = builder.plan(request)
        outputs[request.id] = TextOutput(by, request, len(planned.prompt.token_ids), plan=planned.answer)
        engine.add(planned.prompt)
    ended = _run(engine, outputs)
    return {key: ended[str(number)] for number, key in enumerate(keys)}


def _request(id: str, format: OutputFormat, sampling: SamplingParams) -> GenerateRequest:
    message = Message(role="user", content=(TextPart(text="Give an example."),))
    return GenerateRequest(
        id=id,
        model="pomona-tiny",
        messages=(message,),
        output_format=format,
        sampling=sampling,
        max_tokens=MAX_TOKENS,
        reasoning=ReasoningOptions(enabled=False),
    )


def _run(engine: Engine, outputs: dict[str, TextOutput]) -> dict[str, tuple[str, Finished]]:
    texts = dict.fromkeys(outputs, "")
    ended: dict[str, Finished] = {}
    for _ in range(MOST_STEPS):
        if not engine.has_work:
            break
        for id, step in engine.step():
            assert step.failure is None, step.failure
            for event in outputs[id].push(step):
                texts[id] += event.text if isinstance(event, TextDelta) else ""
                if isinstance(event, Finished):
                    ended[id] = event
    engine.check_integrity()
    return {id: (texts[id], ended[id]) for id in outputs}


def _expect_formats(wanted: Sequence[Wanted], seeds: Sequence[int]) -> None:
    answers = _answers(wanted, seeds)
    stopped = [(key, text) for key, (text, end) in answers.items() if end.reason == "stop"]
    wrong = [(wanted[index].name, heat, seed, text) for (index, heat, seed), text in stopped if not wanted[index].fits(text)]
    assert wrong == []
    cut = [end for _, end in answers.values() if end.reason != "stop"]
    assert {(end.reason, end.usage.completion_tokens) for end in cut} <= {("length", MAX_TOKENS)}
    assert len(stopped) > len(answers) / 2


def test_finished_answers_are_of_their_format() -> None:
    schemas = _schemas()
    sample = [schemas[index * len(schemas) // SAMPLE] for index in range(SAMPLE)]
    _expect_formats([*_others(), *sample], seeds=[7])


@pytest.mark.soak
def test_finished_answers_are_of_their_format_for_all_schemas_of_the_suite() -> None:
    _expect_formats([*_others(), *_schemas()], seeds=[1, 2, 3])
