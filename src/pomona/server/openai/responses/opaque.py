"""Text that clients carry for us without reading it: thoughts in `reasoning` items and summaries in `compaction` items.

Clients that ask us to store nothing give it back with the next request. It is packed, not secret: whoever holds it may read it.
"""

import base64
import binascii
import zlib

_MARK = "pomona1."
_MOST_BYTES = 8 * 2**20  # a few kilobytes can unpack to gigabytes


def seal(text: str) -> str:
    """`text` as `encrypted_content`."""
    return _MARK + base64.urlsafe_b64encode(zlib.compress(text.encode())).decode()


def unseal(content: str | None) -> str | None:
    """The text that `seal` packed; None for what somebody else made, or what was damaged on its way."""
    if content is None or not content.startswith(_MARK):
        return None
    try:
        packed = base64.urlsafe_b64decode(content.removeprefix(_MARK).encode())
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, _MOST_BYTES)
        return text.decode() if unpacker.eof else None
    except (binascii.Error, zlib.error, UnicodeError):
        return None
