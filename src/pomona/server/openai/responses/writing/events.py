"""Server-sent events with rising numbers."""

from collections.abc import Mapping

import msgspec

_json = msgspec.json.Encoder().encode


class EventWriter:
    """Writes the events of one response. `number` is that of the next one."""

    def __init__(self) -> None:
        self.number = 0

    def write(self, kind: str, fields: Mapping[str, object]) -> bytes:
        """One event."""
        return self._frame(kind, _json({"type": kind, "sequence_number": self._next(), **fields}))

    def write_response(self, kind: str, response: bytes) -> bytes:
        """One event that carries a response that is JSON already."""
        return self.write(kind, {"response": msgspec.Raw(response)})

    def delta(self, front: bytes, text: str, tail: bytes) -> bytes:
        """One event of which only number and text are new: `front` was made by `delta_front`."""
        return b"%b%d,%b" % (front, self._next(), b'"delta":' + _json(text) + tail)

    def _next(self) -> int:
        number, self.number = self.number, self.number + 1
        return number

    def _frame(self, kind: str, data: bytes) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def delta_front(kind: str, fields: Mapping[str, object]) -> bytes:
    """All of an event up to its number."""
    return b"event: %b\ndata: %b" % (kind.encode(), _json({"type": kind, **fields})[:-1]) + b',"sequence_number":'


PLAIN_TAIL = b"}\n\n"
"""What ends a delta that has nothing but its text."""
