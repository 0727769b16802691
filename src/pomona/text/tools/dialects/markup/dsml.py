"""DeepSeek V3.2 and later: MiniMax's form with marks of its own, and each key says whether its value is text or JSON."""

from dataclasses import replace

from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.markup.tag_grammar import Layout, tag_grammar, tag_trigger
from pomona.text.tools.dialects.markup.tag_writing import tag_written
from pomona.text.tools.dialects.markup.tags import Tags, tag_parser

NAME = "｜DSML｜"
TAGS = Tags(
    section=f"<{NAME}function_calls>",
    section_end=f"</{NAME}function_calls>",
    call=f'<{NAME}invoke name="',
    name_ends=('">',),
    call_end=f"</{NAME}invoke>",
    key=f'<{NAME}parameter name="',
    key_ends={'" string="true">': "text", '" string="false">': "json"},
    value_end=f"</{NAME}parameter>",
    token=NAME,
)
LATER_TAGS = replace(TAGS, section=f"<{NAME}tool_calls>", section_end=f"</{NAME}tool_calls>")
LAYOUT = Layout(after_section="\n", before_section_end="\n", after_name="\n", after_value="\n", many_in_section=True)

DSML = Dialect(
    name="dsml",
    recognises=lambda source: NAME in source and "function_calls" in source,
    parser=tag_parser(TAGS),
    calls=tag_grammar(TAGS, LAYOUT),
    trigger=tag_trigger(TAGS, LAYOUT),
    written=tag_written(TAGS, LAYOUT),
    visible=(NAME,),
)
DSML_TOOL_CALLS = Dialect(
    name="dsml_tool_calls",
    recognises=lambda source: NAME in source,
    parser=tag_parser(LATER_TAGS),
    calls=tag_grammar(LATER_TAGS, LAYOUT),
    trigger=tag_trigger(LATER_TAGS, LAYOUT),
    written=tag_written(LATER_TAGS, LAYOUT),
    visible=(NAME,),
)
