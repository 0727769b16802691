"""Calls as tags, for templates that show tools but leave out the calls of earlier turns."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from pomona.core.messages import ToolCall
from pomona.text.tools.dialects.markup.tag_grammar import Layout
from pomona.text.tools.dialects.markup.tags import Tags


def tag_written(tags: Tags, layout: Layout) -> Callable[[Sequence[ToolCall]], str]:
    """What makes `Dialect.written`."""

    def written(calls: Sequence[ToolCall]) -> str:
        bodies = [_call(tags, layout, call) for call in calls]
        opening, closing = f"{tags.section}{layout.after_section}", f"{layout.before_section_end}{tags.section_end}"
        if layout.many_in_section:
            bodies = [layout.between.join(bodies)]
        return layout.between.join(f"{opening}{body}{closing}" for body in bodies)

    return written


def _call(tags: Tags, layout: Layout, call: ToolCall) -> str:
    """What the model once wrote may be no JSON object; then it stands where the values would."""
    ends = tags.name_ends[0] if tags.name_ends[0].strip() else ""
    head = f"{tags.call}{call.name}{ends}{layout.after_name}"
    try:
        arguments = cast("object", json.loads(call.arguments or "{}"))
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return f"{head}{call.arguments}{tags.call_end}"
    pairs = (_pair(tags, layout, name, value) for name, value in cast("Mapping[str, object]", arguments).items())
    return f"{head}{''.join(pairs)}{tags.call_end}"


def _pair(tags: Tags, layout: Layout, name: str, value: object) -> str:
    wanted = "text" if isinstance(value, str) else "json"
    end = next(end for end, written in tags.key_ends.items() if written in ("", wanted))
    key = f"{tags.key}{name}{end}{layout.after_key}{tags.value}"
    return f"{key}{tags.pad}{_value(layout, value)}{tags.pad}{tags.value_end}{layout.after_value}"


def _value(layout: Layout, value: object) -> str:
    if isinstance(value, str):
        return value
    if layout.words and (value is None or isinstance(value, bool)):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
