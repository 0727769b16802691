"""MiniMax M2: `<invoke name="f">` with `<parameter name="k">` in it, all calls in one `<minimax:tool_call>`."""

from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.markup.tag_grammar import Layout, tag_grammar, tag_trigger
from pomona.text.tools.dialects.markup.tag_writing import tag_written
from pomona.text.tools.dialects.markup.tags import Tags, tag_parser

TAGS = Tags(
    section="<minimax:tool_call>",
    section_end="</minimax:tool_call>",
    call='<invoke name="',
    name_ends=('">',),
    call_end="</invoke>",
    key='<parameter name="',
    key_ends={'">': ""},
    value_end="</parameter>",
    lone_calls=False,
)
LAYOUT = Layout(after_section="\n", before_section_end="\n", after_name="\n", after_value="\n", many_in_section=True)

MINIMAX = Dialect(
    name="minimax",
    recognises=lambda source: "<minimax:tool_call>" in source,
    parser=tag_parser(TAGS),
    calls=tag_grammar(TAGS, LAYOUT),
    trigger=tag_trigger(TAGS, LAYOUT),
    written=tag_written(TAGS, LAYOUT),
    visible=("<minimax:tool_call>", "</minimax:tool_call>"),
)
