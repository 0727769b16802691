"""Whatever a model writes: no parser fails, the pieces of the text do not matter, and what is no call is not lost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.text.tools.catalog import MARKUP_AND_CHANNELS
from pomona.text.tools.dialect import Dialect
from tests.unit.text.tools.dialects.samples import TOOLS, cuts, read

MARKS = sorted({mark for dialect in MARKUP_AND_CHANNELS for mark in dialect.visible})
TAGS = [
    "<function=",
    "</function>",
    "<parameter=",
    "</parameter>",
    '<invoke name="',
    "</invoke>",
    '<parameter name="',
    '">',
    "call:",
    ">>>",
]
NAMES = ["write_file", "find", "lose", "list_files", "words", "text", "count", "limit", "all", "final", "functions.", " to=functions."]
SIGNS = [
    *"<>=(){}[],:\"'\n 1a-\\",
    "\n\n",
    '{"words": "a"}',
    "{'a': 1}",
    "True",
    "null",
    "=3",
    '"name": ',
    '"arguments": ',
    "｜DSML｜invoke name=",
]
WORDS = [*MARKS, *TAGS, *NAMES, *SIGNS]
CALLS = {
    "qwen3_coder": "<tool_call>\n<function=find>\n<parameter=words>\na<b\n</parameter>\n"
    "<parameter=limit>\n3\n</parameter>\n</function>\n</tool_call>",
    "seed": "<seed:tool_call>\n<function=write_file>\n<parameter=text>a</parameter>\n"
    "<parameter=options>{'b': [1]}</parameter>\n</function>\n</seed:tool_call>",
    "glm": "<tool_call>find\n<arg_key>words</arg_key>\n<arg_value>a<b</arg_value>\n"
    "<arg_key>limit</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    "minimax": '<minimax:tool_call>\n<invoke name="find">\n<parameter name="words">a<b</parameter>\n</invoke>\n</minimax:tool_call>',
    "dsml": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="write_file">\n<｜DSML｜parameter name="options" string="false">{"a": [1]}'
    "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "gemma": '<|tool_call>call:write_file{items:[1,None,<|"|>a<|"|>],options:{a:<|"|>b<|"|>},text:<|"|>c<|"|>}<tool_call|>',
    "function_gemma": "<start_function_call>call:find{limit:3,words:<escape>a<escape>}<end_function_call>",
    "lfm2": "<|tool_call_start|>[find(words='a\\'b', limit=3), list_files()]<|tool_call_end|>",
    "olmo": '<function_calls>find(words="a", limit=3)\nlist_files()</function_calls>',
    "llama_pythonic": "[find(words='a\\'b', limit=3), list_files()]",
    "harmony": "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    "<|channel|>commentary to=functions.find <|constrain|>json<|message|>"
    '{"words": "a", "limit": 3}<|call|>',
    "kimi": '<|tool_calls_section_begin|><|tool_call_begin|>functions.find:0<|tool_call_argument_begin|>{"words": "a"}<|tool_call_end|>'
    "<|tool_calls_section_end|>",
    "nemotron": '<TOOLCALL>[{"name": "find", "arguments": {"words": "a"}}, {"name": "list_files", "arguments": {}}]</TOOLCALL>',
    "functionary_recipients": 'all\nWell.>>>find\n{"words": "a"}>>>list_files\n{}',
}
CALLS["dsml_tool_calls"] = CALLS["dsml"].replace("function_calls", "tool_calls")
pieces = st.lists(st.sampled_from(WORDS), max_size=24)
each_dialect = pytest.mark.parametrize("dialect", MARKUP_AND_CHANNELS, ids=lambda dialect: dialect.name)


@each_dialect
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_pieces_do_not_matter(dialect: Dialect, data: st.DataObject) -> None:
    answer = "".join(data.draw(pieces))
    whole = read(dialect.parser(TOOLS), [answer])
    assert read(dialect.parser(TOOLS), list(answer)) == whole
    assert read(dialect.parser(TOOLS), data.draw(cuts(answer))) == whole


@each_dialect
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_pieces_of_a_damaged_call_do_not_matter(dialect: Dialect, data: st.DataObject) -> None:
    call = CALLS[dialect.name]
    assert read(dialect.parser(TOOLS), [call]).calls
    answer = data.draw(st.sampled_from(["", "Now. "])) + call + data.draw(st.sampled_from(["", "\n" + call, " Done."]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(answer)))
        end = start + data.draw(st.integers(0, 12))
        answer = answer[:start] + data.draw(st.sampled_from(["", *WORDS])) + answer[end:]
    whole = read(dialect.parser(TOOLS), [answer])
    assert read(dialect.parser(TOOLS), list(answer)) == whole
    assert read(dialect.parser(TOOLS), data.draw(cuts(answer))) == whole
    if not whole.calls and not whole.cut and not dialect.reads_thoughts:
        assert _letters(whole.text, dialect) == _letters(answer, dialect)


@each_dialect
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_without_calls_all_text_stays(dialect: Dialect, data: st.DataObject) -> None:
    """All but white space and the marks of messages, which are no text."""
    answer = "".join(data.draw(pieces))
    result = read(dialect.parser(()), list(answer))
    assert (result.calls, result.cut) == ([], ())
    if not dialect.reads_thoughts:
        assert _letters(result.text, dialect) == _letters(answer, dialect)


def _letters(text: str, dialect: Dialect) -> str:
    before = ""
    while text != before:  # marks taken out of marks leave marks
        before = text
        for mark in dialect.visible:
            text = text.replace(mark, "")
    return re.sub(r"\s", "", text)
