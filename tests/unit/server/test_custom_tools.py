"""The input of custom tools comes out of the model's JSON as it streams, whatever the pieces are."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pomona.server.openai.custom_tools import InputReader, custom_arguments, custom_tool


def read(raw: str, cuts: list[int]) -> list[str]:
    """What a reader gives out for `raw`, cut at `cuts`, and at the end."""
    reader = InputReader()
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts}), len(raw)]
    return [*(reader.push(raw[begin:end]) for begin, end in pairwise(edges)), reader.finish()]


@given(text=some.text(), ascii_only=some.booleans(), cuts=some.lists(some.integers(0, 500), max_size=20))
def test_any_text_comes_back_whatever_the_pieces(text: str, ascii_only: bool, cuts: list[int]) -> None:
    raw = json.dumps({"input": text}, ensure_ascii=ascii_only)
    assert "".join(read(raw, cuts)) == text


@given(raw=some.text(alphabet='{"input:\\u0d8c3}ab ', max_size=40), cuts=some.lists(some.integers(0, 40), max_size=5))
def test_whatever_the_model_writes_is_read_the_same_in_pieces(raw: str, cuts: list[int]) -> None:
    assert "".join(read(raw, cuts)) == "".join(read(raw, []))


def test_text_is_given_out_as_soon_as_it_is_certain() -> None:
    reader = InputReader()
    assert [reader.push(piece) for piece in ('{"in', 'put": "ab', "c\\", "n\\u00e", '9d"', "}")] == ["", "ab", "c", "\n", "éd", ""]
    assert reader.finish() == ""


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('{"code": "x = 1"}', "x = 1"),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'),
        ("print(1)", "print(1)"),
        ("[1]", "[1]"),
        ("", ""),
        ('{"input": "cut', "cut"),
        ('{"input": "\\ud83d!"}', "\ufffd!"),
    ],
)
def test_other_arguments_than_were_asked_for(raw: str, text: str) -> None:
    assert "".join(read(raw, [])) == text


def test_the_function_that_stands_for_a_custom_tool() -> None:
    tool = custom_tool("sql", "Runs SQL.", "regex", "SELECT .*")
    assert tool.description == "Runs SQL.\n\nThe input must fit this grammar (regex):\nSELECT .*"
    assert tool.parameters["required"] == ["input"]
    assert json.loads(custom_arguments('a "b"\n')) == {"input": 'a "b"\n'}
