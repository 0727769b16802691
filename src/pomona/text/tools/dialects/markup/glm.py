"""GLM 4.5 to 4.7: `<tool_call>f`, then `<arg_key>` and `<arg_value>` in turn. GLM 4.7 has no new lines between the tags."""

from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.markup.tag_grammar import Layout, tag_grammar, tag_trigger
from pomona.text.tools.dialects.markup.tag_writing import tag_written
from pomona.text.tools.dialects.markup.tags import Tags, tag_parser

TAGS = Tags(
    call="<tool_call>",
    name_ends=("\n",),
    call_end="</tool_call>",
    key="<arg_key>",
    key_ends={"</arg_key>": ""},
    value="<arg_value>",
    value_end="</arg_value>",
)
LAYOUT = Layout(between="\n", after_name="\n", after_key="\n", after_value="\n", optional=True)

GLM = Dialect(
    name="glm",
    recognises=lambda source: "<arg_key>" in source and "<arg_value>" in source,
    parser=tag_parser(TAGS),
    calls=tag_grammar(TAGS, LAYOUT),
    trigger=tag_trigger(TAGS, LAYOUT),
    written=tag_written(TAGS, LAYOUT),
    visible=("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    stops=("<|observation|>",),
)
