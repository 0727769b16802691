"""Calls in JSON, read as they come: mended, malformed, unknown and cut ones."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.generation import TextDelta
from pomona.text.tools.catalog import dialects
from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.json.hermes import HERMES
from pomona.text.tools.dialects.json.llama_json import LLAMA_JSON
from pomona.text.tools.json_calls import JsonArguments
from pomona.text.tools.marks import Unread, find_mark
from tests.unit.text.tools.renderings import TOOLS, Made, cut, read, summary

cuts = st.lists(st.integers(1, 7), min_size=1, max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=4)


def _read(text: str, lengths: list[int] | None = None) -> tuple[str, list[Made], list[str]]:
    parser = HERMES.parser(TOOLS)
    shown, calls = summary(read(parser, cut(text, lengths or [len(text)])))
    return shown, calls, parser.warnings


def _arguments(text: str, lengths: list[int]) -> tuple[str, str, bool]:
    given: list[str] = []
    arguments, rest = JsonArguments(given.append), ""
    for piece in cut(text, lengths):
        rest += arguments.push(piece) if not arguments.done and not arguments.failed else piece
    return "".join(given), rest, arguments.done


@given(arguments=objects, lengths=cuts, indent=st.sampled_from([None, 2]))
def test_any_object_comes_through_as_it_is(arguments: dict[str, object], lengths: list[int], indent: int | None) -> None:
    given, rest, done = _arguments(json.dumps(arguments, indent=indent) + " tail", lengths)
    assert (json.loads(given), rest, done) == (arguments, " tail", True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"a": "one\ntwo\t"}', {"a": "one\ntwo\t"}),
        (r'{"a": "it\'s \d \/"}', {"a": r"it's \d /"}),
        ('{"a": [1, 2, ], }', {"a": [1, 2]}),
        ('{"a": True, "b": None, "c": False}', {"a": True, "b": None, "c": False}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ("null", {}),
        (' \n{"a": -1.5e3}', {"a": -1500.0}),
    ],
)
@settings(max_examples=25, deadline=None)
@given(lengths=cuts)
def test_what_has_one_meaning_is_mended(written: str, meant: object, lengths: list[int]) -> None:
    given, _, done = _arguments(f"{written} ", lengths)
    assert (json.loads(given), done) == (meant, True)


@pytest.mark.parametrize(
    "written", ["[1]", "{a: 1}", '{"a" 1}', '{"a": 01}', '{"a": nan}', '{"a": "\\u12x"}', '{"a": 1]', '"no"', "7 ", "{,}"]
)
def test_what_is_no_object_fails(written: str) -> None:
    arguments = JsonArguments(lambda text: None)
    arguments.push(written)
    assert arguments.failed


@given(
    text=st.text(alphabet="ab<to_lcal>/ \n", max_size=40), marks=st.sets(st.sampled_from(["<tool>", "<to", "ab", "abba", "<t"]), min_size=1)
)
def test_marks_are_found_where_a_search_finds_them(text: str, marks: set[str]) -> None:
    whole = find_mark(text, tuple(marks), final=True)
    unread, before = Unread(), ""
    for character in text:
        unread.add(character)
        taken, mark = unread.until(tuple(marks))
        before += taken
        if mark is not None:
            assert (before, mark) == whole
            return
    taken, mark = unread.until(tuple(marks), final=True)
    assert (before + taken, mark) == whole


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
ADD: Made = ("add", {"a": 1, "b": 2}, True)
NOTHING: list[Made] = []
EMPTY: dict[str, object] = {}
UNKNOWN = '<tool_call>\n{"name": "fly", "arguments": {}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "shown", "calls", "warning"),
    [
        (f"First.\n\n{CALL}\n{CALL}\n", "First.", [ADD, ADD], None),
        (f"{CALL}\n\nAnd then?", "And then?", [ADD], None),
        (" It is <tool_cal so what \n", " It is <tool_cal so what \n", NOTHING, None),
        (f"So:\n{UNKNOWN}\n", f"So:\n{UNKNOWN}\n", NOTHING, "'fly'"),
        (f"{UNKNOWN}\n{CALL}", UNKNOWN, [ADD], "'fly'"),
        ("<tool_call>\nadd(1, 2)\n</tool_call>", "<tool_call>\nadd(1, 2)\n</tool_call>", NOTHING, "cannot be read"),
        ('<tool_call>\n{"arguments": {"a": 1}}', '<tool_call>\n{"arguments": {"a": 1}}', NOTHING, "cannot be read"),
        ('Hm. <tool_call>\n{"name": "ad', 'Hm. <tool_call>\n{"name": "ad', NOTHING, "ended within"),
        ('<tool_call>{"name": "add", "arguments": {"a": 1, "b', "", [("add", '{"a": 1, "b', False)], "not complete"),
        ('<tool_call>{"name": "add", "arguments": {"a": x}} done', "x}} done", [("add", '{"a": ', False)], "no valid JSON"),
        ('<tool_call>{"arguments": {"a": 1, "b": 2}, "name": "functions.add"}', "", [ADD], None),
        ('<tool_call>[{"name": "add", "arguments": {"a": 1, "b": 2}}]</tool_call>', "", [ADD], None),
        ('<tool_call>{"name": "add"}</tool_call>', "", [("add", EMPTY, True)], None),
    ],
)
@settings(max_examples=25, deadline=None)
@given(lengths=cuts)
def test_text_around_calls_is_neither_lost_nor_leaked(
    text: str, shown: str, calls: list[Made], warning: str | None, lengths: list[int]
) -> None:
    got_text, got_calls, warnings = _read(text, lengths)
    assert (got_text, got_calls) == (shown, calls)
    assert warning in warnings[0] if warning else warnings == []


@given(
    pieces=st.lists(st.sampled_from(["<tool_call>", "</tool_call>", '{"name": "add", "arguments": ', '{"a": 1}', "}", "x ", "\n"])),
    lengths=cuts,
)
def test_no_cut_changes_what_is_read(pieces: list[str], lengths: list[int]) -> None:
    text = "".join(pieces)
    assert _read(text, lengths) == _read(text)


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
@settings(max_examples=25, deadline=None)
@given(text=st.text(alphabet="ab {}[]<>|\n'\"", max_size=40))
def test_text_without_calls_stays_as_it_is(dialect: Dialect, text: str) -> None:
    if dialect.reads_thoughts:
        return
    pieces = read(dialect.parser(TOOLS), cut(text, [3]))
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)) == text


def test_an_answer_in_json_is_no_call_of_llama() -> None:
    for text in ('{"a": 1}', '{"name": "John"} ', "{not json", '{"name": "add", "x"', " {"):
        parser = LLAMA_JSON.parser(TOOLS)
        assert summary(read(parser, cut(text, [2])))[0] in (text, "")
        assert parser.warnings == [] or '"add"' in text


def test_llama_calls_in_a_row() -> None:
    one = '{"name": "add", "parameters": {"a": 1, "b": 2}}'
    assert summary(read(LLAMA_JSON.parser(TOOLS), [f"<|python_tag|>{one}"])) == ("", [ADD])
    assert summary(read(LLAMA_JSON.parser(TOOLS), cut(f"\n{one}; {one} ; ok?", [5]))) == ("; ok?", [ADD, ADD])
