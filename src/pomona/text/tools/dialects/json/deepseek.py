"""DeepSeek V3, R1 and V3.1: calls in a section, each a name and its arguments. V3 and R1 put the arguments into a fence."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

SECTION, SECTION_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"

DEEPSEEK_FENCED = dialect(
    "deepseek_fenced",
    lambda source: CALL in source and "```json" in source,
    Reading(
        opens=(CALL,),
        closes=("```", CALL_END, SECTION_END),
        skips=(SECTION, SECTION_END),
        name_ends=("\n```json\n", "\n```json", "\n"),
        drops_before=(SEPARATOR,),
    ),
    Writing(
        first=SECTION,
        begin=CALL,
        head=f"function{SEPARATOR}%NAME%\n```json\n",
        tail="",
        end=f"\n```{CALL_END}",
        between="\n",
        last=SECTION_END,
    ),
    mark=SECTION,
)
DEEPSEEK = dialect(
    "deepseek",
    lambda source: CALL in source,
    Reading(opens=(CALL,), closes=(CALL_END, SECTION_END), skips=(SECTION, SECTION_END), name_ends=(SEPARATOR,)),
    Writing(first=SECTION, begin=CALL, head=f"%NAME%{SEPARATOR}", tail="", end=CALL_END, last=SECTION_END),
    mark=SECTION,
)
