"""Pictures that a person names on the command line or in the chat: by path, by address, or by dropping a file on the terminal."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pomona.core.errors import InvalidRequest
from pomona.core.messages import Message, PicturePart, TextPart

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".pdf"})
_ADDRESS = ("http://", "https://", "data:")
_LARGEST_BYTES = 2**30
_WORD = re.compile(r"""'[^']+'|"[^"]+"|(?:\\.|[^\s'"\\])+""")
_ESCAPED = re.compile(r"\\(.)")


def picture_from(text: str) -> PicturePart:
    """The picture or PDF at a path or an address. Files are read now, addresses by whoever answers. Raises InvalidRequest."""
    if text.lower().startswith(_ADDRESS):
        return PicturePart(url=text, param=text[:80])
    path = _path(text)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise InvalidRequest(f"{str(path)!r} is larger than a gigabyte: no picture.")
        return PicturePart(data=path.read_bytes(), param=str(path))
    except OSError as error:
        raise InvalidRequest(f"Cannot read the picture {str(path)!r}: {error.strerror}.") from None


def dropped_pictures(line: str) -> tuple[str, list[PicturePart]]:
    """What a person said beside the files that were dropped on the terminal, which writes their whole paths; and the files."""
    found: list[PicturePart] = []
    said, position = "", 0
    for match in _WORD.finditer(line):
        name = _unquoted(match[0])
        if _is_dropped(name):
            found.append(picture_from(name))
            said += line[position : match.start()]
            position = match.end()
    return (said + line[position:]).strip() if found else line, found


def user_turn(text: str, pictures: list[PicturePart]) -> Message:
    """What a person says, pictures first, as models have learnt it."""
    return Message(role="user", content=(*pictures, *((TextPart(text=text),) if text or not pictures else ())))


def _unquoted(word: str) -> str:
    return word[1:-1] if word[0] in "'\"" else _ESCAPED.sub(r"\1", word)


def _is_dropped(name: str) -> bool:
    if not name.startswith(("/", "~/", "file://")) or Path(name).suffix.lower() not in SUFFIXES:
        return False
    try:
        return _path(name).is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _path(text: str) -> Path:
    return Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text).expanduser()
