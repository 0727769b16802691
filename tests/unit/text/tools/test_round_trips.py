"""Calls as the real templates write them are read back as the same calls, whatever the pieces, and the grammars make exactly them."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.messages import ToolCall
from pomona.text.conversation import Style
from pomona.text.tools.catalog import JSON, find_dialect
from pomona.text.tools.dialect import Dialect
from pomona.text.tools.grammars import literal
from tests.unit.text.tools.renderings import NAMES, TOOLS, accepted, accepts_up_to, call, cut, read, source, summary, template, turn

TEXT = "I look."
LAST = 987654
PLAIN = [call(1, "get_weather", {"city": "Paris"}), call(2, "add", {"a": 1, "b": LAST})]
HARD = call(
    1,
    "get_weather",
    {"city": 'A "b" <c> {d} é 日本 \\ line\nnext </tool', "days": [1, -2], "deep": {"deeper": {"key one": "it's", "k": ""}, "x": "{}"}},
)
cuts = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def _style(name: str) -> Style:
    return template(name).style(with_tools=True)


SHOW_TOOLS = tuple(name for name in NAMES if _style(name).tools)
SHOW_CALLS = tuple(name for name in SHOW_TOOLS if _style(name).calls and "command-r-plus" not in name)
TWO_CALLS = tuple(name for name in SHOW_CALLS if _style(name).parallel_calls)


def _read(name: str, text: str, lengths: Sequence[int]) -> tuple[str, list[tuple[str, object, bool]], list[str]]:
    parser = find_dialect(source(name)).parser(TOOLS)
    shown, calls = summary(read(parser, cut(text, lengths)))
    return shown, calls, parser.warnings


def _made(calls: Sequence[ToolCall]) -> list[tuple[str, object, bool]]:
    return [(each.name, json.loads(each.arguments), True) for each in calls]


def test_every_family_is_there() -> None:
    found = {find_dialect(source(name)).name for name in SHOW_CALLS}
    assert len(SHOW_CALLS) > 35
    assert found >= {
        "hermes",
        "mistral_names",
        "mistral_ids",
        "mistral_list",
        "deepseek_fenced",
        "command_r",
        "apertus",
        "solar",
        "llama_json",
    }


@pytest.mark.parametrize("name", SHOW_CALLS)
@settings(max_examples=5, deadline=None)
@given(lengths=cuts)
def test_one_call_comes_back(name: str, lengths: list[int]) -> None:
    shown, calls, warnings = _read(name, turn(name, [HARD]), lengths)
    assert (calls, warnings) == (_made([HARD]), [])
    assert "日本" not in shown


@pytest.mark.parametrize("name", TWO_CALLS)
@settings(max_examples=5, deadline=None)
@given(lengths=cuts)
def test_two_calls_and_text_come_back(name: str, lengths: list[int]) -> None:
    written = turn(name, PLAIN, TEXT)
    shown, calls, warnings = _read(name, written, lengths)
    assert (calls, warnings) == (_made(PLAIN), [])
    assert (TEXT in shown) == (TEXT in written)


@pytest.mark.parametrize("name", [name for name in SHOW_CALLS if find_dialect(source(name)) in JSON])
def test_the_grammar_makes_what_the_template_writes(name: str) -> None:
    dialect = find_dialect(source(name))
    assert accepts_up_to(dialect, turn(name, PLAIN[1:]), str(LAST), parallel=False)
    if name in TWO_CALLS:
        assert accepts_up_to(dialect, turn(name, PLAIN), str(LAST))


@pytest.mark.parametrize("dialect", JSON, ids=lambda dialect: dialect.name)
def test_the_grammar_makes_what_the_dialect_writes(dialect: Dialect) -> None:
    assert dialect.written is not None
    for parallel, calls in ((True, PLAIN), (True, PLAIN[:1]), (False, PLAIN[:1])):
        assert accepted(dialect.calls(TOOLS, literal, parallel), dialect.written(calls))
    assert not accepted(dialect.calls(TOOLS, literal, False), dialect.written(PLAIN))
    assert not accepted(dialect.calls(TOOLS[1:], literal, True), dialect.written(PLAIN[:1]))


@pytest.mark.parametrize("name", [name for name in SHOW_TOOLS if not _style(name).calls])
def test_templates_without_a_place_for_calls_get_them_as_text(name: str) -> None:
    dialect = find_dialect(source(name))
    assert dialect.written is not None
    assert summary(read(dialect.parser(TOOLS), [dialect.written(PLAIN)]))[1] == _made(PLAIN)
