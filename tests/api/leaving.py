"""Clients that may leave at any time: raw connections."""

import json
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit


def post(url: str, body: Mapping[str, object]) -> socket.socket:
    """A connection over which a request was sent; nothing of its answer was read."""
    parts, content = urlsplit(url), json.dumps(body).encode()
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection
