"""Finds out how a chat template wants its messages. Templates disagree, and say so nowhere; so each is tried out once.

Source of the method: the trial renderings of llama.cpp's minja (`chat-template.hpp`), which knows the same disagreements.
"""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

from pomona.core.messages import Message, Role, TextPart, ToolCall, ToolDefinition
from pomona.text.conversation import Arguments, Empty, Fields, Style, Thoughts, message_fields
from pomona.text.pictures.marks import mark_of
from pomona.text.tools.teaching import listed, tool_fields

Trial = Callable[[Sequence[Fields], Sequence[Fields]], str | None]
"""Renders messages and tools, None where the template refuses them."""
MARK, KEY, VALUE, TOOL, LAST = "pomona mark", "pomona_key", "pomona_value", "pomona_tool", "pomona last"
THOUGHT_TAGS = (("<think>", "</think>"),)
PART_TYPE = re.compile(r"""==\s*["']thinking["']""")
"""A template that looks for parts of the type `thinking`; others print parts that they do not know."""


def find_style(source: str, trial: Trial, thinking: Trial, placeholder: str | None = None) -> Style:
    """Try the template out on small conversations. `thinking` is a trial with thinking switched on; `placeholder` is what it may write
    for a picture.
    """
    style = Style(developer="'developer'" in source or '"developer"' in source)
    asked = trial(message_fields([_message("developer", MARK), _message("user")], style), [])
    style = replace(style, developer=style.developer and _shows_text(asked))
    style = _with_content(style, "user", trial)
    shown = trial(message_fields([_message("user")], style), TOOLS) or ""
    style = replace(style, tools=TOOL in shown)
    if not style.tools:
        trial, thinking = _without_tools(trial), _without_tools(thinking)
        style = replace(style, tools_field=_reads_tools_field(style, trial))
    style = _with_calls(style, trial, shown.count("None"))
    for role in ("system", "assistant", "tool"):
        style = _with_content(style, role, trial)
    style = _with_thoughts(_with_turns(_with_system(style, trial), trial), source, thinking)
    return _with_pictures(style, placeholder, trial) if placeholder else style


def _without_tools(trial: Trial) -> Trial:
    """Where a template does not show tools, it is not given any."""
    return lambda messages, _: trial(messages, [])


def _reads_tools_field(style: Style, trial: Trial) -> bool:
    shown = trial([{"role": "system", "content": "Hello", "tools": listed(DEFINITIONS)}, *message_fields([_message("user")], style)], [])
    return shown is not None and listed(DEFINITIONS) in shown


def _with_content(style: Style, role: Role, trial: Trial) -> Style:
    """A string is what most templates want; a list of parts only where a string does not come through."""
    messages = {
        "user": [_message("user", MARK)],
        "system": [_message("system", MARK), _message("user")],
        "assistant": [_message("user"), _message("assistant", MARK), _message("user")],
        "tool": [_message("user"), _message("assistant", "", CALL), _message("tool", MARK)],
    }[role]
    if role == "tool" and not (style.tools or style.tools_field or style.calls):
        return replace(style, results=False)
    plain = trial(message_fields(messages, style), TOOLS)
    if _shows_text(plain):
        return style
    with_parts = replace(style, parts=style.parts | {role})
    if _shows_text(trial(message_fields(messages, with_parts), TOOLS)):
        return with_parts
    return _without_role(style, role, refused=plain is None)


def _without_role(style: Style, role: Role, *, refused: bool) -> Style:
    """The text of a role that the template leaves out or refuses goes into the user's turns, if it is not the user's own."""
    if role == "system":
        return replace(style, system=False, many_system=False, in_place=False)
    if role == "tool":
        return replace(style, results=False)
    return style if refused else replace(style, lost=style.lost | {role})


def _with_calls(style: Style, trial: Trial, nones: int) -> Style:
    """The first form of calls that comes through; objects as arguments and null as content come first, as OpenAI has them.

    `nones` counts the word None in the template's own text.
    """
    for short, arguments, empty in itertools.product((False, True), get_args(Arguments), get_args(Empty)):
        candidate = replace(style, short_call_ids=short, arguments=arguments, empty=empty)
        if _shows_call(_try_call("", candidate, trial), nones):
            shown = _try_call(MARK, candidate, trial)
            beside = _shows_call(shown, nones)
            return replace(candidate, text_beside_calls=beside, parallel_calls=_takes_two_calls(candidate, trial))
    return replace(style, calls=False, empty="empty")


def _try_call(text: str, style: Style, trial: Trial) -> str | None:
    return trial(message_fields([_message("user"), _message("assistant", text, CALL), _message("tool", "done")], style), TOOLS)


def _takes_two_calls(style: Style, trial: Trial) -> bool:
    results = [_message("tool", "done"), replace(_message("tool", "done"), tool_call_id=OTHER.id)]
    shown = trial(message_fields([_message("user"), _message("assistant", "", CALL, OTHER), *results], style), TOOLS)
    return shown is not None and f"{VALUE}_2" in shown


def _with_system(style: Style, trial: Trial) -> Style:
    """Whether several system messages may come first, and whether one may come later and then stays behind what came before it."""
    if not style.system:
        return style
    several = trial(message_fields([_message("system", LAST), _message("system", MARK), _message("user")], style), [])
    later = [_message("user", LAST), _message("assistant"), _message("system", MARK), _message("user")]
    shown = trial(message_fields(later, style), [])
    in_place = shown is not None and _shows_text(shown) and shown.find(LAST) < shown.find(MARK)
    return replace(style, many_system=_shows_text(several) and LAST in (several or ""), in_place=in_place)


def _with_turns(style: Style, trial: Trial) -> Style:
    """Whether two turns of one role may follow one another, and a user's turn results."""
    alone = trial(message_fields([_message("user")], style), [])
    in_a_row = trial(message_fields([_message("user"), _message("user", MARK)], style), [])
    results = [_message("user"), _message("assistant", "", CALL), _message("tool", "done")]
    answered = trial(message_fields(results, style), TOOLS)
    asked = trial(message_fields([*results, _message("user", MARK)], style), TOOLS)
    refused = style.calls and style.results and answered is not None and asked is None
    return replace(style, alternates=alone is not None and in_a_row is None, user_after_results=not refused)


def _with_thoughts(style: Style, source: str, trial: Trial) -> Style:
    """The first form in which a thought comes through, before calls or at the end."""
    tags = next((tags for tags in THOUGHT_TAGS if _splits_at(tags[1], source)), ("", ""))
    for form in get_args(Thoughts)[1:]:
        if (form == "tags" and not tags[0]) or (form == "part" and PART_TYPE.search(source) is None):
            continue
        candidate = replace(style, thoughts=form, thought_tags=tags)
        shown = [_try_thought(text, candidate, trial) for text in ("", LAST)]
        if any(_shows_text(each) for each in shown):
            return replace(candidate, thoughts_beside_text=_shows_text(shown[1]))
    return style


def _with_pictures(style: Style, placeholder: str, trial: Trial) -> Style:
    """Roles whose pictures come through as parts, beside text and alone."""
    picture = mark_of(0)
    for role in ("user", "tool"):
        candidate = replace(style, picture_parts=style.picture_parts | {role})
        beside, alone = (_try_picture(role, text, candidate, trial) for text in (f"{picture}{MARK}", picture))
        without = _try_picture(role, MARK, style, trial)
        if _shows_text(beside) and None not in (alone, without):
            added = (beside or "").count(placeholder) - (without or "").count(placeholder)
            style = candidate if added == 1 and picture not in (beside or "") else style
    return style


def _try_picture(role: Role, text: str, style: Style, trial: Trial) -> str | None:
    before = [_message("user"), _message("assistant", "", CALL)] if role == "tool" else []
    return trial(message_fields([*before, _message(role, text)], style), TOOLS if role == "tool" else [])


def _splits_at(mark: str, source: str) -> bool:
    """The template takes thoughts out of the content; others would show them for ever."""
    return re.search(rf"""split\(\s*["']{re.escape(mark)}""", source) is not None


def _try_thought(text: str, style: Style, trial: Trial) -> str | None:
    calls = () if not style.calls or not style.tools else (CALL,)
    said = replace(_message("assistant", text, *calls), reasoning=MARK)
    return trial(message_fields([_message("user"), said, *([_message("tool", "done")] if calls else [])], style), TOOLS if calls else [])


def _shows_text(rendered: str | None) -> bool:
    """A list printed as Python would show the text in quotes."""
    return rendered is not None and MARK in rendered and f"'{MARK}'" not in rendered


def _shows_call(rendered: str | None, nones: int) -> bool:
    """Neither Python's way of printing an object, nor JSON inside a JSON string, nor a printed None."""
    if rendered is None or VALUE not in rendered or rendered.count("None") > nones:
        return False
    return f"'{KEY}'" not in rendered and f'\\"{KEY}' not in rendered


def _message(role: Role, text: str = "Hello", *calls: ToolCall) -> Message:
    return Message(
        role=role, content=(TextPart(text=text),) if text else (), tool_calls=calls, tool_call_id=CALL.id if role == "tool" else None
    )


OTHER = ToolCall(id="call_fedcba9876543210", name=TOOL, arguments=json.dumps({KEY: f"{VALUE}_2"}))
CALL = ToolCall(id="call_0123456789abcdef", name=TOOL, arguments=json.dumps({KEY: VALUE}))
DEFINITIONS = (
    ToolDefinition(
        name=TOOL,
        description="A tool.",
        parameters={"type": "object", "properties": {"word": {"type": "string", "description": "A word."}}, "required": ["word"]},
    ),
)
TOOLS = tool_fields(DEFINITIONS)
