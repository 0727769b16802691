"""Streamed completions, with all that repeats prepared once."""

from pomona.core.generation import Delta, Finished, PromptScored, TextDelta
from pomona.server.openai.answer import to_json
from pomona.server.openai.call import Call
from pomona.server.openai.logprobs import characters, prompt_logprobs, text_logprobs


class CompletionChunks:
    """Chunks of text: the prompt where it is to be repeated, the answer, and an empty one with the reason of the end."""

    def __init__(self, call: Call, head: bytes) -> None:
        self._call = call
        self._fronts = [b"data: " + head + b',"choices":[{"index":%d,"text":' % index for index in range(len(call.requests))]
        self._end = b',"usage":null}\n\n' if call.include_usage else b"}\n\n"
        self._plain_end = b',"logprobs":null,"finish_reason":null}]' + self._end
        self._echoes = call.echoes or ("",) * len(call.requests)
        self._offsets = [len(each) for each in self._echoes]

    def opening(self, index: int) -> bytes:
        """The prompt, where it is to be repeated without scores."""
        if not self._echoes[index] or self._call.logprobs:
            return b""
        return self._fronts[index] + to_json(self._echoes[index]) + self._plain_end

    def delta(self, index: int, event: Delta | PromptScored) -> bytes:
        """More text, or the prompt with its scores."""
        match event:
            case TextDelta():
                return self._text(index, event) if event.text or event.logprobs else b""
            case PromptScored() if self._call.logprobs:
                scores = prompt_logprobs(event.first, event.rest, self._echoes[index])
                return self._scored(index, self._echoes[index], to_json(scores))
            case _:
                return b""

    def closing(self, index: int, event: Finished) -> bytes:
        """Empty text with the reason, and what a person should know."""
        warnings = b',"warnings":' + to_json(event.warnings) if event.warnings else b""
        return self._fronts[index] + b'"","logprobs":null,"finish_reason":' + to_json(event.reason) + b"}]" + warnings + self._end

    def _text(self, index: int, event: TextDelta) -> bytes:
        if not event.logprobs:
            return self._fronts[index] + to_json(event.text) + self._plain_end
        scores = text_logprobs(event.logprobs, self._offsets[index])
        self._offsets[index] += characters(event.logprobs)
        return self._scored(index, event.text, to_json(scores))

    def _scored(self, index: int, text: str, scores: bytes) -> bytes:
        return self._fronts[index] + to_json(text) + b',"logprobs":' + scores + b',"finish_reason":null}]' + self._end
