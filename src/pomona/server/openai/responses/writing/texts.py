"""The items of text: messages, thoughts and summaries."""

from collections.abc import Sequence

from pomona.core.generation import TokenText
from pomona.server.openai.responses.ids import fresh_id
from pomona.server.openai.responses.opaque import seal
from pomona.server.openai.responses.writing.events import PLAIN_TAIL, EventWriter, delta_front

Fields = dict[str, object]
_NOTHING: tuple[object, ...] = ()
_LEAST_LOGPROB = -9999.0  # what OpenAI sends for minus infinity, which JSON cannot say


class MessageText:
    """`message` with one part of text."""

    def __init__(self, writer: EventWriter, index: int) -> None:
        self._writer = writer
        self._place: Fields = {"output_index": index}
        self._item: Fields = {"id": fresh_id("msg"), "type": "message", "role": "assistant"}
        self._where: Fields = {"item_id": self._item["id"], **self._place, "content_index": 0}
        self._front = delta_front("response.output_text.delta", {**self._where, "logprobs": _NOTHING})
        self._texts: list[str] = []
        self._logprobs: list[Fields] = []

    def begin(self) -> list[bytes]:
        """The item, and an empty part."""
        item = {**self._item, "status": "in_progress", "content": _NOTHING}
        return [
            self._writer.write("response.output_item.added", {**self._place, "item": item}),
            self._writer.write("response.content_part.added", {**self._where, "part": _part("", [])}),
        ]

    def push(self, text: str, logprobs: Sequence[TokenText]) -> list[bytes]:
        """More text."""
        self._texts.append(text)
        if not logprobs:
            return [self._writer.delta(self._front, text, PLAIN_TAIL)]
        scored = [_scored(token) for token in logprobs]
        self._logprobs += scored
        return [self._writer.write("response.output_text.delta", {**self._where, "delta": text, "logprobs": scored})]

    def end(self, *, complete: bool) -> tuple[list[bytes], Fields]:
        """The whole text, part and item."""
        text = "".join(self._texts)
        part = _part(text, self._logprobs)
        item = {**self._item, "status": "completed" if complete else "incomplete", "content": [part]}
        return [
            self._writer.write("response.output_text.done", {**self._where, "text": text, "logprobs": self._logprobs}),
            self._writer.write("response.content_part.done", {**self._where, "part": part}),
            self._writer.write("response.output_item.done", {**self._place, "item": item}),
        ], item


class Thought:
    """`reasoning`, its text in full or called a summary, which is what clients show."""

    def __init__(self, writer: EventWriter, index: int, *, summarised: bool, sealed: bool) -> None:
        self._writer = writer
        self._place: Fields = {"output_index": index}
        self._item: Fields = {"id": fresh_id("rs"), "type": "reasoning"}
        self._summarised = summarised
        self._sealed = sealed
        inside = "summary_index" if summarised else "content_index"
        self._where: Fields = {"item_id": self._item["id"], **self._place, inside: 0}
        self._kind = "reasoning_summary" if summarised else "reasoning"
        self._front = delta_front(f"response.{self._kind}_text.delta", self._where)
        self._texts: list[str] = []

    def begin(self) -> list[bytes]:
        """The item, and an empty part of a summary."""
        item = {**self._item, "summary": _NOTHING, "status": "in_progress"}
        return [self._writer.write("response.output_item.added", {**self._place, "item": item}), *self._part("added", "")]

    def push(self, text: str) -> list[bytes]:
        """More of the thought."""
        self._texts.append(text)
        return [self._writer.delta(self._front, text, PLAIN_TAIL)]

    def end(self, *, complete: bool) -> tuple[list[bytes], Fields]:
        """The whole thought."""
        text = "".join(self._texts)
        item: Fields = {**self._item, "summary": [{"type": "summary_text", "text": text}] if self._summarised else _NOTHING}
        if not self._summarised:
            item["content"] = [{"type": "reasoning_text", "text": text}]
        if self._sealed:
            item["encrypted_content"] = seal(text)
        item["status"] = "completed" if complete else "incomplete"
        return [
            self._writer.write(f"response.{self._kind}_text.done", {**self._where, "text": text}),
            *self._part("done", text),
            self._writer.write("response.output_item.done", {**self._place, "item": item}),
        ], item

    def _part(self, step: str, text: str) -> list[bytes]:
        if not self._summarised:
            return []
        return [
            self._writer.write(f"response.reasoning_summary_part.{step}", {**self._where, "part": {"type": "summary_text", "text": text}})
        ]


class Summary:
    """`compaction`: the conversation in short. Nothing of it is shown before it is complete."""

    def __init__(self, writer: EventWriter, index: int) -> None:
        self._writer = writer
        self._place: Fields = {"output_index": index}
        self._item: Fields = {"id": fresh_id("cmp"), "type": "compaction"}
        self._texts: list[str] = []

    def begin(self) -> list[bytes]:
        """The item, and that it is being made."""
        item = {**self._item, "encrypted_content": ""}
        return [
            self._writer.write("response.output_item.added", {**self._place, "item": item}),
            self._writer.write("response.compaction.compacting", {"item_id": self._item["id"], **self._place}),
        ]

    def push(self, text: str) -> None:
        """More of it."""
        self._texts.append(text)

    def end(self) -> tuple[list[bytes], Fields]:
        """The item. A summary that was cut is one all the same."""
        item = {**self._item, "encrypted_content": seal("".join(self._texts).strip())}
        return [self._writer.write("response.output_item.done", {**self._place, "item": item})], item


def _part(text: str, logprobs: Sequence[Fields]) -> Fields:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _scored(token: TokenText) -> Fields:
    return {**_token(token), "top_logprobs": [_token(other) for other in token.top]}


def _token(token: TokenText) -> Fields:
    return {"token": token.text, "logprob": max(token.logprob, _LEAST_LOGPROB), "bytes": list(token.bytes)}
