"""Streams and answers byte for byte, against transcripts that were checked by hand."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pomona.core.errors import EngineFailed
from pomona.core.generation import CacheReport, Started, TextDelta, ToolCallDelta, ToolCallFinished, ToolCallStarted
from tests.api.anthropic.clients import post
from tests.api.anthropic.scripts import calling, cut_call, finished, stopped, thinking
from tests.api.gateway import Gateway
from tests.doubles import Script, answer

TRANSCRIPTS = Path(__file__).parent / "transcripts"
MISSED: Script = [
    Started(prompt_tokens=100),
    TextDelta(text="Hi"),
    finished("stop", prompt=100, completion=1, cached=40, cache=CacheReport(reason="system_changed", shared_tokens=40, missed_tokens=30)),
]
CLICKING: Script = [
    Started(prompt_tokens=9),
    ToolCallStarted(index=0, id="call_1", name="computer_left_click"),
    ToolCallDelta(index=0, arguments='{"coordinate": [3, 4]}'),
    ToolCallFinished(index=0),
    finished("tool_calls", completion=8),
]
CASES: dict[str, tuple[Mapping[str, Any], Script]] = {
    "text": ({}, answer("Grüße", ' "🍎"\n', prompt_tokens=5, cached_tokens=4)),
    "nothing": ({}, answer()),
    "thinking": ({"thinking": {"type": "adaptive"}}, thinking()),
    "thinking-omitted": ({"thinking": {"type": "adaptive", "display": "omitted"}}, thinking()),
    "calling": ({}, calling()),
    "cut-call": ({}, cut_call()),
    "stop-sequence": ({"stop_sequences": ["END"]}, stopped("END")),
    "context-end": ({"max_tokens": 32_000}, answer("a", reason="length")),
    "prewarm": ({"max_tokens": 0}, answer("a", reason="length")),
    "diagnostics": ({"diagnostics": {"previous_message_id": "msg_elsewhere"}, "context_management": {"edits": []}}, MISSED),
    "toolset": ({"tools": [{"type": "computer_toolset_20260801"}]}, CLICKING),
    "compaction": ({"compaction": {"type": "summarize"}}, thinking()),
    "error": ({}, [*answer("Hi")[:2], EngineFailed("The engine died. It is being restarted: send it again.")]),
}


@pytest.mark.parametrize("name", CASES)
def test_stream(gateway: Gateway, name: str) -> None:
    fields, gateway.generator.script = CASES[name]
    response = post(gateway, fields, stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert steady(response.text) == (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in CASES if name != "error"])
def test_whole(gateway: Gateway, name: str) -> None:
    fields, gateway.generator.script = CASES[name]
    response = post(gateway, fields)
    assert response.headers["content-type"] == "application/json"
    assert steady(response.text) + "\n" == (TRANSCRIPTS / f"{name}.json").read_text(encoding="utf-8")


def steady(text: str) -> str:
    """`text` without what differs from run to run."""
    return re.sub(r"(msg|req)_[0-9a-f]{32}", r"\1_ID", text)
