"""What a dialect writes itself, for templates that leave calls out, is what it reads and what its grammar makes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.messages import ToolCall
from pomona.text.tools.catalog import MARKUP_AND_CHANNELS
from pomona.text.tools.dialect import Dialect
from tests.unit.text.tools.dialects.samples import TOOLS, Made, accepts, grammar_of, made_calls, members, read, strings

keys = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
shown = {
    **members,
    "options": st.dictionaries(keys, strings, max_size=3),
    "items": st.lists(st.booleans() | strings | st.none(), max_size=3),
}
each_dialect = pytest.mark.parametrize("dialect", MARKUP_AND_CHANNELS, ids=lambda dialect: dialect.name)


@each_dialect
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_and_made(dialect: Dialect, data: st.DataObject) -> None:
    made = data.draw(made_calls(most=1 if dialect.name == "harmony" else 2, values=shown))
    assert dialect.written is not None
    written = dialect.written([ToolCall(id="", name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False)) for call in made])
    assert read(dialect.parser(TOOLS), [written]).calls == made
    answer = written.removeprefix(">>>") if dialect.name == "functionary_recipients" else written
    assert accepts(grammar_of(dialect), answer)


@each_dialect
def test_arguments_that_are_no_json_stand_as_they_are(dialect: Dialect) -> None:
    assert dialect.written is not None
    assert "oops" in dialect.written([ToolCall(id="", name="find", arguments="oops")])
    written = dialect.written([ToolCall(id="", name="list_files", arguments="")])
    assert read(dialect.parser(TOOLS), [written]).calls == [Made("list_files", {})]
