"""Content blocks as text: what a model that only reads text is shown of each."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from pydantic_core import to_json

from pomona.core.errors import UnsupportedField
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
_BASE64_RATIO = 3 / 4


class Reader:
    """Reads blocks as text. Pictures, PDFs and things elsewhere are refused, unless `placeholders` may stand for them.

    A person's picture cannot be left out without a word, for the answer would be about something else. One that a tool returned can:
    the model is told that there was one, and can ask the tool for text.
    """

    def __init__(self, *, placeholders: bool) -> None:
        self._placeholders = placeholders

    def content(self, content: Content | None, path: str) -> str:
        """A string, or the text of blocks."""
        if content is None or isinstance(content, str):
            return content or ""
        return join(self.block(block, f"{path}[{index}]") for index, block in enumerate(content))

    def block(self, block: Block, path: str) -> str:
        """The text of one block; empty where it has none. Raises UnsupportedField."""
        match block:
            case TextBlock():
                text = block.text
            case ImageBlock():
                text = self._unseen(_picture(block.source), "this model cannot see pictures", path)
            case DocumentBlock():
                text = join((block.title or "", block.context or "", self._source(block.source, f"{path}.source")))
            case SearchResultBlock():
                text = join((block.title, block.source, self.content(block.content, f"{path}.content")))
            case CompactionBlock():
                text = block.content or ""
            case ToolReferenceBlock():
                text = f"The tool {block.tool_name} can be used now." if block.tool_name else ""
            case OtherBlock():
                text = _other(block)
            case _:
                text = ""
        return text

    def _source(self, source: Source, path: str) -> str:
        if source.type == "text":
            return source.data or ""
        if source.type == "content":
            return self.content(source.content, f"{path}.content")
        what, reason = _ELSEWHERE.get(source.type, (f"document of source type {source.type!r}", "it cannot be read here"))
        return self._unseen(what, reason, path)

    def _unseen(self, what: str, reason: str, path: str) -> str:
        if self._placeholders:
            return f"[{what}: {reason}]"
        raise UnsupportedField(f"{path} holds a {what}, and {reason}. Send it as text, or leave it out.", param=path)


_ELSEWHERE = {
    "base64": ("PDF document", "this server does not read PDFs; send their text as a source of type 'text'"),
    "url": ("document by its address", "this server fetches nothing from other places"),
    "file": ("stored file", "this server keeps no files"),
}


def _picture(source: Source) -> str:
    if source.data is not None:
        return f"{source.media_type or 'image'} picture of {max(1, round(len(source.data) * _BASE64_RATIO / 1024))} KiB"
    return "picture"


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
