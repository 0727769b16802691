"""Pictures as programs have them, as parts of a message."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pomona.core.errors import PictureRefused

KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"BM": "image/bmp", b"%PDF": "application/pdf"}


class Savable(Protocol):
    """A picture in memory, such as `PIL.Image.Image`."""

    def save(self, fp: Any, format: str) -> None:
        """Write it."""
        ...


Picture = str | Path | bytes | Savable
"""An address (http:, https:, data:), a file, the bytes of one, or a picture in memory."""


def with_pictures(messages: Sequence[dict[str, Any]], pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """`messages` with `pictures` before the text of the last one from the user. Raises PictureRefused."""
    place = max((index for index, message in enumerate(messages) if message.get("role") == "user"), default=None)
    if place is None:
        raise PictureRefused("There are pictures and no message from the user to put them into. Add one.", param="images")
    parts = [{"type": "image_url", "image_url": {"url": url_of(picture, index)}} for index, picture in enumerate(pictures)]
    content: Any = messages[place].get("content") or []
    rest: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    return [*messages[:place], {**messages[place], "content": [*parts, *rest]}, *messages[place + 1 :]]


def url_of(picture: Picture, index: int = 0) -> str:
    """An address that holds or names `picture`. Files are read here: they are the program's own. Raises PictureRefused."""
    if isinstance(picture, str) and picture.startswith(("http:", "https:", "data:")):
        return picture
    if isinstance(picture, str | Path):
        try:
            picture = Path(picture).expanduser().read_bytes()
        except OSError as error:
            raise PictureRefused(f"The picture {str(picture)!r} cannot be read: {error}.", param=f"images[{index}]") from None
    if not isinstance(picture, bytes) and not hasattr(picture, "save"):
        raise PictureRefused(
            f"images[{index}] is {picture!r}; an address, a file, bytes or a PIL image is wanted.", param=f"images[{index}]"
        )
    if not isinstance(picture, bytes):
        held = io.BytesIO()
        picture.save(held, format="PNG")
        picture = held.getvalue()
    kind = next((kind for start, kind in KINDS.items() if picture.startswith(start)), "image/webp")
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"
