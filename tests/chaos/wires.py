"""Questions in the words of each API, and what their answers say, streamed or whole."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.plan import PROMPTS, Question, Wire

PATHS: Mapping[Wire, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}


@dataclass(slots=True)
class Answer:
    """What was said. `complete`: its API's own sign of the end came; `error`: what an error in it says; `problems`: it broke the form."""

    text: str = ""
    tokens: int | None = None
    reason: str | None = None
    complete: bool = False
    error: str | None = None
    problems: list[str] = field(default_factory=list[str])

    def same(self, other: "Answer") -> bool:
        """They say the same, with as many tokens, and ended for the same reason."""
        return (self.text, self.tokens, self.reason) == (other.text, other.tokens, other.reason)


def body_of(question: Question, *, streamed: bool) -> bytes:
    """The JSON of a request."""
    text = PROMPTS[question.prompt]
    fields: dict[str, object] = {"model": question.model, "stream": streamed}
    fields |= {"temperature": 0} if question.seed is None else {"temperature": 0.9, "top_p": 0.95, "seed": question.seed}
    match question.wire:
        case "responses":
            fields |= {"input": text, "max_output_tokens": question.max_tokens, "store": False}
        case "completions":
            fields |= {"prompt": text, "max_tokens": question.max_tokens}
        case "chat" | "messages":
            fields |= {"messages": [{"role": "user", "content": text}], "max_tokens": question.max_tokens}
    if streamed and question.wire in {"chat", "completions"}:
        fields["stream_options"] = {"include_usage": True}
    if question.logprobs:
        fields |= {"logprobs": True, "top_logprobs": 20}
    return json.dumps(fields).encode()


def read_answer(wire: Wire, body: bytes, *, streamed: bool) -> Answer:
    """What `body` says, be it complete or not."""
    answer = Answer()
    if not streamed:
        _read_whole(wire, json.loads(body), answer)
        return answer
    for data in _events(body):
        if answer.complete:
            answer.problems.append(f"something came after the end: {data[:80]!r}")
        elif data == "[DONE]":
            answer.complete = True
        else:
            _read_event(wire, json.loads(data), answer)
    return answer


def _events(body: bytes) -> Iterator[str]:
    """The data of each complete event."""
    *events, _ = body.split(b"\n\n")
    for event in events:
        for line in event.decode().split("\n"):
            if line.startswith("data: "):
                yield line.removeprefix("data: ")


def _read_event(wire: Wire, event: dict[str, Any], answer: Answer) -> None:
    match wire:
        case "chat" | "completions":
            _read_chunk(event, answer)
        case "messages":
            _read_message_event(event, answer)
        case "responses":
            _read_response_event(event, answer)


def _read_chunk(event: dict[str, Any], answer: Answer) -> None:
    if "error" in event:
        answer.error = event["error"]["message"]
        return
    for choice in event["choices"]:
        delta = choice.get("delta") or choice
        answer.text += (delta.get("reasoning_content") or "") + (delta.get("content") or delta.get("text") or "")
        answer.reason = choice.get("finish_reason") or answer.reason
    if event.get("usage"):
        answer.tokens = event["usage"]["completion_tokens"]


def _read_message_event(event: dict[str, Any], answer: Answer) -> None:
    match event["type"]:
        case "error":
            answer.error = event["error"]["message"]
        case "content_block_delta":
            answer.text += event["delta"].get("thinking") or event["delta"].get("text") or ""
        case "message_delta":
            answer.reason, answer.tokens = event["delta"]["stop_reason"], event["usage"]["output_tokens"]
        case "message_stop":
            answer.complete = True
        case _:
            pass


def _read_response_event(event: dict[str, Any], answer: Answer) -> None:
    match event["type"]:
        case "response.failed":
            answer.error = event["response"]["error"]["message"]
        case "error":
            answer.error = str(event.get("message") or event)
        case "response.output_text.delta" | "response.reasoning_text.delta":
            answer.text += event["delta"]
        case "response.completed" | "response.incomplete":
            said = answer.text
            _read_response(event["response"], answer)
            if answer.text != said:
                answer.problems.append(f"the pieces said {said!r}, the end says {answer.text!r}")
        case _:
            pass


def _read_whole(wire: Wire, document: dict[str, Any], answer: Answer) -> None:
    answer.complete = True
    match wire:
        case "chat":
            [choice] = document["choices"]
            answer.text = (choice["message"].get("reasoning_content") or "") + (choice["message"]["content"] or "")
            answer.reason, answer.tokens = choice["finish_reason"], document["usage"]["completion_tokens"]
        case "completions":
            [choice] = document["choices"]
            answer.text, answer.reason, answer.tokens = choice["text"], choice["finish_reason"], document["usage"]["completion_tokens"]
        case "messages":
            answer.text = "".join(block.get("thinking") or block.get("text") or "" for block in document["content"])
            answer.reason, answer.tokens = document["stop_reason"], document["usage"]["output_tokens"]
        case "responses":
            _read_response(document, answer)


def _read_response(document: dict[str, Any], answer: Answer) -> None:
    parts = [part for item in document["output"] for part in item.get("content") or ()]
    answer.text = "".join(part.get("text") or "" for part in parts)
    details: dict[str, Any] | None = document.get("incomplete_details")
    answer.reason, answer.tokens = details["reason"] if details else document["status"], document["usage"]["output_tokens"]
    answer.complete = True
