"""Content blocks as text and pictures: what a model is shown of each."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, cast

from pydantic_core import to_json

from pomona.core.errors import UnsupportedField
from pomona.core.messages import Part, PicturePart, TextPart
from pomona.server.anthropic.wire import (
    Block,
    CompactionBlock,
    Content,
    DocumentBlock,
    HostedResultBlock,
    ImageBlock,
    OtherBlock,
    SearchResultBlock,
    Source,
    TextBlock,
    ToolReferenceBlock,
)

_UNREADABLE = {"type", "signature", "cache_control", "citations"}
_ERROR_BEGINNINGS = ("error", "<tool_use_error>", "<error>")
Parts = tuple[Part, ...]


class Reader:
    """Reads blocks as parts. Stored files and things elsewhere are refused, unless `placeholders` may stand for them.

    What a person sends cannot be left out without a word, for the answer would be about something else. What a tool returned can: the
    model is told that there was something, and can ask the tool for text.
    """

    def __init__(self, *, placeholders: bool) -> None:
        self._placeholders = placeholders

    def content(self, content: Content | None, path: str) -> Parts:
        """A string, or what blocks hold."""
        if content is None or isinstance(content, str):
            return said(content or "")
        return join_parts(self.block(block, f"{path}[{index}]") for index, block in enumerate(content))

    def block(self, block: Block, path: str) -> Parts:
        """The text and the pictures of one block; none where it has none. Raises UnsupportedField."""
        match block:
            case ImageBlock():
                return self._picture(block.source, f"{path}.source")
            case DocumentBlock():
                return join_parts((said(block.title), said(block.context), self._document(block.source, f"{path}.source")))
            case SearchResultBlock():
                return join_parts((said(block.title), said(block.source), self.content(block.content, f"{path}.content")))
            case _:
                return said(_text(block))

    def _picture(self, source: Source, path: str) -> Parts:
        found = _embedded(source, source.media_type or "image", path)
        return found or self._unseen(*_ELSEWHERE.get(source.type, (f"picture of source type {source.type!r}", _UNREADABLE_HERE)), path)

    def _document(self, source: Source, path: str) -> Parts:
        if source.type == "text":
            return said(source.data)
        if source.type == "content":
            return self.content(source.content, f"{path}.content")
        found = _embedded(source, "application/pdf", path)
        return found or self._unseen(*_ELSEWHERE.get(source.type, (f"document of source type {source.type!r}", _UNREADABLE_HERE)), path)

    def _unseen(self, what: str, reason: str, path: str) -> Parts:
        if self._placeholders:
            return said(f"[{what}: {reason}]")
        raise UnsupportedField(f"{path} holds a {what}, and {reason}. Send it as text, or leave it out.", param=path)


_UNREADABLE_HERE = "it cannot be read here"
_ELSEWHERE = {"file": ("stored file", "this server keeps no files")}


def _embedded(source: Source, media_type: str, path: str) -> Parts:
    """A picture or PDF in the request itself or at an address; nothing has looked at it yet."""
    if source.type == "base64" and source.data is not None:
        return (PicturePart(url=f"data:{media_type};base64,{source.data}", param=path),)
    if source.type == "url" and source.url is not None:
        return (PicturePart(url=source.url, param=path),)
    return ()


def said(text: str | None) -> Parts:
    """`text` as parts; none where it is empty."""
    return (TextPart(text=text),) if text else ()


def words_of(parts: Parts) -> str:
    """The text of `parts`."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def join_parts(runs: Iterable[Parts]) -> Parts:
    """Runs of parts one after the other. Texts that meet become one, each on a line of its own unless it brings its own space."""
    joined: list[Part] = []
    for part in chain.from_iterable(runs):
        last = joined[-1] if joined else None
        if isinstance(part, TextPart) and isinstance(last, TextPart):
            joined[-1] = TextPart(text=join((last.text, part.text)))
        else:
            joined.append(part)
    return tuple(joined)


def _text(block: Block) -> str:
    match block:
        case TextBlock():
            return block.text
        case CompactionBlock():
            return block.content or ""
        case ToolReferenceBlock():
            return f"The tool {block.tool_name} can be used now." if block.tool_name else ""
        case OtherBlock():
            return _other(block)
        case _:
            return ""


def _other(block: OtherBlock) -> str:
    """What can be read of a block from the future, or from the vendor's cloud."""
    if block.type == "browser_state":
        return readable(block.model_extra)
    text = (block.model_extra or {}).get("text")
    return text if isinstance(text, str) else ""


def join(texts: Iterable[str]) -> str:
    """Texts one after the other, each on a line of its own unless it brings its own space."""
    joined = ""
    for text in texts:
        glued = not joined or not text or joined[-1].isspace() or text[0].isspace()
        joined += text if glued else f"\n{text}"
    return joined


def hosted_result(block: HostedResultBlock) -> str:
    """What the vendor's cloud found, as far as it is not encrypted."""
    return as_result(readable(block.content), failed=bool(block.is_error))


def as_result(text: str, *, failed: bool) -> str:
    """The result of a call; one that failed says so."""
    return f"Error: {text}" if failed and not text.lower().startswith(_ERROR_BEGINNINGS) else text


def readable(value: Any) -> str:
    """The strings and numbers of a JSON value, line by line."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value).items()
        return "\n".join(filter(None, (readable(each) for name, each in fields if _is_shown(name))))
    if isinstance(value, list):
        return "\n".join(filter(None, map(readable, cast("Sequence[Any]", value))))
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


def json_text(value: Any) -> str:
    """A client's JSON value as it came, also with integers of more than 64 bits; what JSON cannot say (1e999) as null."""
    return to_json(value, inf_nan_mode="null").decode()


def _is_shown(name: str) -> bool:
    return name not in _UNREADABLE and not name.startswith("encrypted")
