"""Streams byte for byte, against transcripts that were checked by hand."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from pomona.core.errors import EngineFailed
from pomona.core.generation import (
    Finished,
    PromptScored,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenText,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
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
SCORED_PROMPT = [
    Started(prompt_tokens=2),
    PromptScored(first="Say", rest=(TokenText(token_id=2, text=": ", bytes=b": ", logprob=-1.5, top=(TOKEN,)),)),
    TextDelta(text="Hi", logprobs=(TOKEN,)),
    Finished(reason="length", usage=Usage(prompt_tokens=2, completion_tokens=1)),
]
CALLS = [
    Started(prompt_tokens=5),
    ReasoningDelta(text="The weather, then"),
    ReasoningDelta(text=" code."),
    TextDelta(text="Let me see."),
    ToolCallStarted(index=0, id="call_a", name="weather"),
    ToolCallDelta(index=0, arguments='{"city":'),
    ToolCallDelta(index=0, arguments='"Rome"}'),
    ToolCallFinished(index=0),
    ToolCallStarted(index=1, id="call_b", name="python"),
    ToolCallDelta(index=1, arguments='{"input": "print('),
    ToolCallDelta(index=1, arguments='\\"hi\\")'),
    ToolCallDelta(index=1, arguments='"}'),
    ToolCallFinished(index=1),
    Finished(
        reason="tool_calls",
        usage=Usage(prompt_tokens=5, cached_tokens=2, completion_tokens=9, reasoning_tokens=3),
        warnings=("A third call could not be read.",),
    ),
]
OLD_CALL = [CALLS[0], *CALLS[4:8], Finished(reason="tool_calls", usage=Usage(prompt_tokens=5, completion_tokens=4))]
TOOLS: Mapping[str, object] = {
    **CHAT,
    "tools": [{"type": "function", "function": {"name": "weather"}}, {"type": "custom", "custom": {"name": "python"}}],
}
CASES: dict[str, tuple[str, Mapping[str, object], Script]] = {
    "chat": ("chat/completions", CHAT, answer("Grüße", ' "🍎"\n')),
    "chat-usage": ("chat/completions", {**CHAT, "stream_options": {"include_usage": True}}, answer("Hi", prompt_tokens=4, cached_tokens=3)),
    "chat-logprobs": ("chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 1}, SCORED),
    "chat-empty": ("chat/completions", CHAT, answer()),
    "chat-error": ("chat/completions", CHAT, [*answer("Hi")[:2], EngineFailed("The engine died. It is being restarted: send it again.")]),
    "chat-calls": ("chat/completions", {**TOOLS, "service_tier": "fast", "stream_options": {"include_usage": True}}, CALLS),
    "chat-function-call": ("chat/completions", {**CHAT, "functions": [{"name": "weather"}]}, OLD_CALL),
    "chat-choices": ("chat/completions", {**CHAT, "n": 2}, answer("Hi")),
    "completion-prompt-logprobs": ("completions", {"prompt": "Say: ", "echo": True, "logprobs": 1}, SCORED_PROMPT),
    "completion-error": ("completions", {"prompt": "p"}, [*answer("Hi")[:2], EngineFailed("The engine died. Send it again.")]),
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
