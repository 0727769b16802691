"""Whole completions, and the best of several candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pomona.core.generation import Delta, Finished, PromptScored, TextDelta, TokenText
from pomona.server.openai.answer import Document
from pomona.server.openai.call import Call
from pomona.server.openai.logprobs import TextLogprobs, joined, prompt_logprobs, text_logprobs


class CompletionChoices:
    """The candidates of one call while they grow."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._grown = [_Grown() for _ in call.requests]

    def add(self, index: int, event: Delta | PromptScored | Finished) -> None:
        """More of candidate `index`, or its end."""
        grown = self._grown[index]
        match event:
            case TextDelta():
                grown.text.append(event.text)
                grown.logprobs.extend(event.logprobs)
            case PromptScored():
                grown.prompt = event
            case Finished():
                grown.reason = event.reason
            case _:
                pass

    def documents(self) -> Sequence[Document]:
        """Of each prompt's candidates as many as are asked for, the likeliest first, numbered from 0 over all prompts."""
        kept: list[int] = []
        for start in range(0, len(self._grown), self._call.copies):
            group = list(range(start, start + self._call.copies))
            if self._call.kept < self._call.copies:
                group.sort(key=lambda index: self._grown[index].mean_logprob, reverse=True)
            kept += group[: self._call.kept]
        return [self._choice(number, index) for number, index in enumerate(kept)]

    def _choice(self, number: int, index: int) -> Document:
        grown, echo = self._grown[index], self._call.echoes[index] if self._call.echoes else ""
        return {
            "index": number,
            "text": echo + "".join(grown.text),
            "logprobs": self._logprobs(grown, echo) if self._call.logprobs else None,
            "finish_reason": grown.reason,
        }

    def _logprobs(self, grown: "_Grown", echo: str) -> TextLogprobs:
        answer = text_logprobs(grown.logprobs, len(echo))
        return answer if grown.prompt is None else joined([prompt_logprobs(grown.prompt.first, grown.prompt.rest, echo), answer])


@dataclass(slots=True)
class _Grown:
    """One candidate."""

    text: list[str] = field(default_factory=list[str])
    logprobs: list[TokenText] = field(default_factory=list[TokenText])
    prompt: PromptScored | None = None
    reason: str = "stop"

    @property
    def mean_logprob(self) -> float:
        """How likely the model finds it, per token; an empty one is the least likely."""
        if not self.logprobs:
            return float("-inf")
        return sum(token.logprob for token in self.logprobs) / len(self.logprobs)
