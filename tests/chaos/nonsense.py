"""Requests that are none: what is sent, and what may come back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

HEAD_SECONDS, BODY_SECONDS = 2.0, 2.0
"""How long the server waits for a head and a body."""
MAX_BODY_BYTES = 65536
_CHAT = {"model": "pomona-tiny", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """`answers` are the statuses that are right; 0: the connection ends without one. `ends`: the client closes its sending side."""

    sent: bytes
    answers: frozenset[int]
    ends: bool = False


def _post(body: bytes, *, length: int | None = None, media_type: str = "application/json") -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\n"
    return f"{head}content-length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def _chat(**fields: object) -> bytes:
    return _post(json.dumps({**_CHAT, **fields}).encode())


def _bad(sent: bytes, *answers: int, ends: bool = False) -> Bad:
    return Bad(sent=sent, answers=frozenset(answers), ends=ends)


_CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
BAD: Mapping[str, Bad] = {
    "cut JSON": _bad(_post(json.dumps(_CHAT).encode()[:40]), 400),
    "empty body": _bad(_post(b""), 400),
    "not an object": _bad(_post(b"[1, 2, 3]"), 400),
    "wrong types": _bad(_chat(messages=5, max_tokens="many"), 400),
    "not UTF-8": _bad(_post(b'{"model": "\xff\xfe"}'), 400),
    "deep nesting": _bad(_post(b"[" * 60_000), 400),
    "huge number": _bad(_post(json.dumps(_CHAT).encode()[:-1] + b', "top_k": 1e400}'), 400),
    "out of range": _bad(_chat(temperature=-5), 400),
    "unknown model": _bad(_chat(model="no-such-model"), 404),
    "bad schema": _bad(_chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}), 400),
    "too long a prompt": _bad(_chat(messages=[{"role": "user", "content": "word " * 12_000}]), 400),
    "wrong media type": _bad(_post(json.dumps(_CHAT).encode(), media_type="text/plain"), 415),
    "declared too large": _bad(_post(b"{", length=10**9), 413),
    "grows too large": _bad(_CHUNKED + b"ffff\r\n" + b" " * 0xFFFF + b"\r\nffff\r\n" + b" " * 0xFFFF + b"\r\n0\r\n\r\n", 413),
    "length too long": _bad(_post(json.dumps(_CHAT).encode(), length=1000), 0, ends=True),
    "length too short": _bad(_post(json.dumps(_CHAT).encode(), length=20), 400),
    "body that stops": _bad(_post(b"{", length=1000), 408),
    "bad chunk": _bad(_CHUNKED + b"zz\r\n{}\r\n", 0, 400),
    "not HTTP": _bad(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 0, 400),
    "large head": _bad(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-large: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    "head that stops": _bad(b"POST /v1/messages HT", 0, 408),
    "nothing": _bad(b"", 0, 408),
}
KINDS = tuple(BAD)
