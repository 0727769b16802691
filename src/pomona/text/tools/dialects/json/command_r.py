"""Cohere: Command R7B and Command A write a list between `<|START_ACTION|>` and `<|END_ACTION|>`, Command R+ behind `Action:`."""

from pomona.text.tools.dialects.json.form_parser import Reading
from pomona.text.tools.dialects.json.forms import Writing, dialect

START, END = "<|START_ACTION|>", "<|END_ACTION|>"

COMMAND_R = dialect(
    "command_r",
    lambda source: START in source,
    Reading(opens=(START,), closes=(END,)),
    Writing(
        first=f"{START}[\n    ",
        head='{"tool_call_id": "%ID%", "tool_name": "%NAME%", "parameters": ',
        id="/[0-9]{1,4}/",
        between=",\n    ",
        last=f"\n]{END}",
    ),
    mark=START,
)
COMMAND_R_PLUS = dialect(
    "command_r_plus",
    lambda source: "Action:\\n```json" in source,
    Reading(opens=("Action:\n```json", "Action: ```json"), closes=("```",)),
    Writing(
        first="Action:\n```json\n[\n",
        begin="    {\n        ",
        head='"tool_name": "%NAME%",\n        "parameters": ',
        tail="\n    }",
        between=",\n",
        last="\n]```",
    ),
)
