"""Streams byte for byte, against transcripts that were checked by hand."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from pomona.core.errors import EngineFailed
from pomona.core.generation import Finished, Started, TextDelta, TokenText, Usage
from tests.api.gateway import MODEL, Gateway
from tests.doubles import Script, answer

TRANSCRIPTS = Path(__file__).parent / "transcripts"
CHAT: Mapping[str, object] = {"messages": [{"role": "user", "content": "Hello?"}]}
TOKEN = TokenText(token_id=1, text="Hi", bytes=b"Hi", logprob=-0.5, top=(TokenText(token_id=1, text="Hi", bytes=b"Hi", logprob=-0.5),))
SCORED = [
    Started(prompt_tokens=1),
    TextDelta(text="Hi", logprobs=(TOKEN,)),
    Finished(reason="length", usage=Usage(prompt_tokens=1, completion_tokens=1)),
]
CASES: dict[str, tuple[str, Mapping[str, object], Script]] = {
    "chat": ("chat/completions", CHAT, answer("Grüße", ' "🍎"\n')),
    "chat-usage": ("chat/completions", {**CHAT, "stream_options": {"include_usage": True}}, answer("Hi", prompt_tokens=4, cached_tokens=3)),
    "chat-logprobs": ("chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 1}, SCORED),
    "chat-empty": ("chat/completions", CHAT, answer()),
    "chat-error": ("chat/completions", CHAT, [*answer("Hi")[:2], EngineFailed("The engine died. It is being restarted: send it again.")]),
    "completion": ("completions", {"prompt": "Say: ", "echo": True}, answer("Hi", " you")),
    "completion-usage": ("completions", {"prompt": "p", "stream_options": {"include_usage": True}}, answer("Hi")),
    "completion-logprobs": ("completions", {"prompt": "p", "logprobs": 1}, SCORED),
}


@pytest.mark.parametrize("name", CASES)
def test_transcript(gateway: Gateway, name: str) -> None:
    path, body, script = CASES[name]
    gateway.generator.script = script
    response = gateway.http().post(f"/v1/{path}", json={**body, "model": MODEL, "stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["transfer-encoding"] == "chunked"
    assert steady(response.text) == (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8")


def steady(text: str) -> str:
    """`text` without what differs from run to run."""
    text = re.sub(r'"id":"(\w+)-[0-9a-f]{32}"', r'"id":"\1-ID"', text)
    return re.sub(r'"created":\d+', '"created":0', text)
