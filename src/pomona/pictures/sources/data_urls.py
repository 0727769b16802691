"""data: addresses, which carry the picture themselves (RFC 2397)."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from pomona.core.errors import PictureRefused

_BASE64_LENGTH = 4 / 3


def read_data_url(url: str, *, max_bytes: int, param: str) -> bytes:
    """The bytes that `url` carries. Raises PictureRefused, for one that is too large before it is decoded."""
    head, comma, data = url.partition(",")
    if not comma:
        raise PictureRefused(f"{param} = {shortened(url)} is no data: address: it has no comma. Send data:image/png;base64,….", param=param)
    is_base64 = head.lower().rstrip().endswith(";base64")
    if len(data) / (_BASE64_LENGTH if is_base64 else 1) > max_bytes * (1.05 if is_base64 else 3):  # line breaks; percent signs
        raise too_large(max_bytes, param)
    found = _decode_base64(data, param) if is_base64 else unquote_to_bytes(data)
    if len(found) > max_bytes:
        raise too_large(max_bytes, param)
    return found


def too_large(max_bytes: int, param: str) -> PictureRefused:
    """The refusal of a picture of more than `max_bytes`."""
    return PictureRefused(
        f"{param} has more than {max_bytes:,} bytes, the most that one picture may have here. Send a smaller one, or raise the setting "
        "pictures.max_bytes.",
        param=param,
    )


def shortened(text: str, most: int = 80) -> str:
    """`text` in quotes, cut where it is long."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}…"


def _decode_base64(data: str, param: str) -> bytes:
    """Line breaks, missing padding and the alphabet for addresses are taken; other signs are not."""
    plain = "".join(unquote_to_bytes(data).decode("ascii", "replace").split() if "%" in data else data.split())
    plain = plain.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureRefused(f"{param} is not base64 that can be read: {error}.", param=param) from None
