"""What a model that takes no pictures is given in their place."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pomona.core.errors import UnsupportedField
from pomona.core.messages import Message, Part, PicturePart, TextPart

_TYPE = re.compile(r"data:([\w.+-]+/[\w.+-]+)[;,]", re.IGNORECASE)
_BASE64_RATIO = 3 / 4


def holds_pictures(messages: Sequence[Message] | None) -> bool:
    """Whether there is any picture in them."""
    return any(message.pictures for message in messages or ())


def without_pictures(messages: Sequence[Message], model: str, seeing: Sequence[str] = ()) -> tuple[Message, ...]:
    """`messages` for a model that reads text. Raises UnsupportedField, which names the models in `seeing`, that take pictures.

    A person's picture cannot be left out without a word, for the answer would be about something else. One that a tool returned can:
    the model is told that there was one, and an agent could not take it out of its history.
    """
    return tuple(_as_text(message, model, seeing) if message.pictures else message for message in messages)


def _as_text(message: Message, model: str, seeing: Sequence[str]) -> Message:
    if message.role != "tool":
        param = message.pictures[0].param
        others = f"Models here that do: {', '.join(map(repr, seeing))}." if seeing else "No model here does."
        what = _with_article(_name(message.pictures[0]))
        raise UnsupportedField(f"{param} holds {what}, and the model {model!r} takes no pictures. {others} Or leave it out.", param=param)
    return replace(message, content=_lines(message.content))


def _lines(content: Sequence[Part]) -> tuple[Part, ...]:
    """Each picture as a line of its own."""
    text, own_line = "", False
    for part in content:
        is_text = isinstance(part, TextPart)
        said = part.text if is_text else f"[{_name(part)}: this model cannot see pictures]"
        breaks = (own_line or not is_text) and text and said and not (text[-1].isspace() or said[0].isspace())
        text += f"\n{said}" if breaks else said
        own_line = not is_text
    return (TextPart(text=text),)


def _name(part: Part) -> str:
    if not isinstance(part, PicturePart) or part.url is None:
        return "picture"
    match = _TYPE.match(part.url)
    if match is None:
        return "picture"
    kind = match[1].lower()
    kibibytes = max(1, round((len(part.url) - part.url.find(",")) * _BASE64_RATIO / 1024))
    return f"PDF document of {kibibytes} KiB" if kind == "application/pdf" else f"{kind} picture of {kibibytes} KiB"


def _with_article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
