"""Streams byte for byte, against transcripts that were checked by hand: together they have every event that this server sends."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from pomona.core.errors import EngineFailed
from pomona.core.generation import CacheReport, Finished, Started, TextDelta, TokenText, Usage
from tests.api.gateway import MODEL, Gateway
from tests.api.responses.scripts import called, function, said, script, thought
from tests.doubles import Script, answer

TRANSCRIPTS = Path(__file__).parent / "transcripts"
TOKEN = TokenText(token_id=1, text="Hi", bytes=b"Hi", logprob=-0.5, top=(TokenText(token_id=1, text="Hi", bytes=b"Hi", logprob=-0.5),))
SCORED: Script = [
    Started(prompt_tokens=1),
    TextDelta(text="Hi", logprobs=(TOKEN,)),
    Finished(reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=1)),
]
PATCH = {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}}
GROUP = {"type": "namespace", "name": "shop", "description": "A shop.", "tools": [function("get")]}
SEARCH = {"type": "tool_search", "execution": "client"}
CASES: dict[str, tuple[Mapping[str, object], Script]] = {
    "text": ({}, answer("Grüße", ' "🍎"\n')),
    "text-logprobs": ({"top_logprobs": 1, "include": ["message.output_text.logprobs"]}, SCORED),
    "empty": ({}, answer()),
    "incomplete": ({"max_output_tokens": 1}, answer("Hi", reason="length")),
    "failed": ({}, [*answer("Hi")[:2], EngineFailed("The engine died. It is being restarted: send it again.")]),
    "reasoning": ({}, script(thought("Let me", " see."), said("\n\n", "Yes."))),
    "reasoning-summary": (
        {"reasoning": {"summary": "auto", "effort": "low"}, "include": ["reasoning.encrypted_content"]},
        script(thought("Let me", " see."), said("Yes."), cache=CacheReport(reason="none", shared_tokens=8)),
    ),
    "function-calls": (
        {"tools": [function("look"), GROUP]},
        script(said("I look."), called("look", '{"a"', ":1}"), called("shop__get", "{}", index=1), reason="tool_calls"),
    ),
    "custom-call": ({"tools": [PATCH]}, script(called("apply_patch", '{"inp', 'ut":"*** Begin\\n', '+\\"a\\""}'), reason="tool_calls")),
    "shell-calls": (
        {"tools": [{"type": "shell"}, {"type": "local_shell"}]},
        script(called("shell", '{"commands":["ls","pwd"]}'), called("local_shell", '{"command":["ls"]}', index=1), reason="tool_calls"),
    ),
    "patch-and-search": (
        {"tools": [{"type": "apply_patch"}, SEARCH]},
        script(
            called("apply_patch", '{"type":"create_file","path":"a","diff":"+b"}'),
            called("tool_search", '{"query":"q"}', index=1),
            reason="tool_calls",
        ),
    ),
    "compaction": ({"input": [{"role": "user", "content": "x"}, {"type": "compaction_trigger"}]}, script(said("In", " short."))),
    "background": ({"background": True}, answer("Hi")),
}


@pytest.mark.parametrize("name", CASES)
def test_transcript(gateway: Gateway, name: str) -> None:
    body, events = CASES[name]
    gateway.generator.script = events
    response = gateway.http().post("/v1/responses", json={"input": "Hello?", **body, "model": MODEL, "stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert steady(response.text) == (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8")


def test_the_transcripts_have_every_event() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in TRANSCRIPTS.glob("*.txt"))
    source = Path("src/pomona/server/openai/responses/writing")
    written = "".join(path.read_text(encoding="utf-8") for path in (Path(__file__).parents[3] / source).glob("*.py"))
    kinds = set(re.findall(r'"(response\.[a-z_.]+)"', written))
    assert len(kinds) > 10
    assert [kind for kind in sorted(kinds) if f"event: {kind}\n" not in text] == []


def steady(text: str) -> str:
    """`text` without what differs from run to run, or from zlib to zlib: ids are numbered, times are 0, seals have no content."""
    ids: dict[str, str] = {}
    text = re.sub(r"\b([a-z]+)_[0-9a-f]{32}\b", lambda found: ids.setdefault(found[0], f"{found[1]}_{len(ids)}"), text)
    text = re.sub(r'"pomona1\.[\w=-]+"', '"SEALED"', text)
    return re.sub(r'"(created_at|completed_at)":\d+', r'"\1":0', text)
