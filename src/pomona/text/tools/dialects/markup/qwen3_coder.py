"""Qwen3-Coder, Qwen3.5, Nemotron 3, Step 3.5 and, with marks of its own, Seed-OSS: `<function=f>` with `<parameter=k>` in it.

Values have no quotes. The templates print truth values as Python does.
"""

from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.markup.tag_grammar import Layout, tag_grammar, tag_trigger
from pomona.text.tools.dialects.markup.tag_writing import tag_written
from pomona.text.tools.dialects.markup.tags import Tags, tag_parser

TAGS = Tags(
    section="<tool_call>",
    section_end="</tool_call>",
    call="<function=",
    name_ends=(">",),
    call_end="</function>",
    key="<parameter=",
    key_ends={">": ""},
    value_end="</parameter>",
    pad="\n",
)
LAYOUT = Layout(after_section="\n", before_section_end="\n", after_name="\n", after_value="\n", words=True)

QWEN3_CODER = Dialect(
    name="qwen3_coder",
    recognises=lambda source: "<tool_call>" in source and "<function=" in source and "<parameter=" in source,
    parser=tag_parser(TAGS),
    calls=tag_grammar(TAGS, LAYOUT),
    trigger=tag_trigger(TAGS, LAYOUT),
    written=tag_written(TAGS, LAYOUT),
    visible=("<tool_call>", "</tool_call>"),
)

SEED_TAGS = Tags(
    section="<seed:tool_call>",
    section_end="</seed:tool_call>",
    call="<function=",
    name_ends=(">",),
    call_end="</function>",
    key="<parameter=",
    key_ends={">": ""},
    value_end="</parameter>",
)

SEED = Dialect(
    name="seed",
    recognises=lambda source: "<seed:tool_call>" in source,
    parser=tag_parser(SEED_TAGS),
    calls=tag_grammar(SEED_TAGS, LAYOUT),
    trigger=tag_trigger(SEED_TAGS, LAYOUT),
    written=tag_written(SEED_TAGS, LAYOUT),
    visible=("<seed:tool_call>", "</seed:tool_call>"),
)
