"""Python's literals become JSON as they come, whatever the pieces."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.text.tools.literals import PYTHON, literal
from pomona.text.tools.walking import CutCall, MalformedCall, Reader
from tests.unit.text.tools.dialects.samples import cuts, values


def _json(pieces: Sequence[str]) -> str:
    reader, written = Reader(), list[str]()
    steps = literal(reader, written.append, PYTHON)
    for piece in pieces:
        reader.add(piece)
        next(steps, None)
    reader.ended = True
    next(steps, None)
    return "".join(written)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_python_and_json_print_is_read(data: st.DataObject) -> None:
    value = data.draw(values)
    for written in (repr(value), json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert json.loads(_json(data.draw(cuts(written + " ")))) == value


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'''two\nlines ' \" '''", "two\nlines ' \" "),
        ('"""a"""', "a"),
        ("''", ""),
        (
            r"'\d+ \x41 \u00e9 \U0001F469 \/ \
'",
            "\\d+ A é 👩 / ",
        ),
        (r'"\ud83d\ude00"', "😀"),
        ("(1, 2,)", [1, 2]),
        ("()", []),
        ("{}", {}),
        ("{1: 'a', 'b': +1_000}", {"1": "a", "b": 1000}),
        ("[.5, 1., 0x10, -3]", [0.5, 1.0, 16, -3]),
        ("[None, True, false]", [None, True, False]),
    ],
)
def test_forms_that_only_python_has(written: str, meant: object) -> None:
    assert json.loads(_json([written + ")"])) == meant


@pytest.mark.parametrize("written", ["nan", "f(x)", "{'a'}", "{1, 2}", "[1 2]", "[,]", "b'x'", "x", r"'\xzz'", "[" * 100, "{'a': 1 'b'}"])
def test_what_is_no_literal_is_refused(written: str) -> None:
    with pytest.raises(MalformedCall):
        _json([written + ")"])


@pytest.mark.parametrize("written", ["'abc", "[1, 2", "{'a': ", "12", "'\\u00"])
def test_what_is_cut_says_so(written: str) -> None:
    with pytest.raises(CutCall):
        _json([written])
