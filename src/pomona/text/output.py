"""Engine steps in ids to events in words: text without stop strings, log-probabilities beside it, usage at the end."""

from collections import deque
from dataclasses import dataclass

from pomona.core.generation import Finished, FinishReason, GenerateRequest, TextDelta, TokenLogprobs, TokenStep, TokenText, Usage
from pomona.text.detokenizer import make_detokenizer
from pomona.text.prompt import stop_token_ids
from pomona.text.stop_strings import StopStrings
from pomona.text.tokenizer import Tokenizer


class TextOutput:
    """The answer to one request. Feed it every step; when `finished`, close the token source, which cancels the row."""

    def __init__(self, tokenizer: Tokenizer, request: GenerateRequest, prompt_tokens: int) -> None:
        self.finished = False
        self._tokenizer = tokenizer
        continues = request.messages is None or request.continue_last_message
        self._detokenizer = make_detokenizer(tokenizer, continues=continues)
        self._stops = StopStrings(request.stop)
        self._ends = stop_token_ids(tokenizer, request)
        self._end_texts = {tokenizer.special_tokens[stop]: stop for stop in request.stop if stop in tokenizer.special_tokens}
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = 0
        self._completion_tokens = 0
        self._read = 0
        self._shown = 0
        self._waiting: deque[_Waiting] = deque()

    def push(self, step: TokenStep) -> list[TextDelta | Finished]:
        """The events of one step; none where all its text is held back, and none after the end."""
        if self.finished:
            return []
        if step.cached_tokens:
            self._cached_tokens = max(self._cached_tokens, step.cached_tokens)
        ids, reason = step.token_ids, step.finish_reason
        stop: str | None = None
        if not self._ends.isdisjoint(ids):
            end = next(index for index, token_id in enumerate(ids) if token_id in self._ends)
            self._completion_tokens += 1
            ids, reason, stop = ids[:end], "stop", self._end_texts.get(ids[end])
        self._completion_tokens += len(ids)
        return self._events(self._read_ids(ids, step.logprobs), reason, stop)

    def _events(self, text: str, reason: FinishReason | None, stop: str | None) -> list[TextDelta | Finished]:
        if reason is not None:
            text += self._detokenizer.finish()
        shown, matched = self._stops.push(text)
        if matched is not None:
            reason, stop = "stop", matched
        elif reason is not None:
            shown += self._stops.flush()
        self._shown += len(shown)
        logprobs = self._due(everything=reason is not None and matched is None) if self._waiting else ()
        events: list[TextDelta | Finished] = [TextDelta(text=shown, logprobs=logprobs)] if shown or logprobs else []
        if reason is not None:
            self.finished = True
            events.append(Finished(reason=reason, usage=self._usage(), stop_sequence=stop))
        return events

    def _read_ids(self, ids: tuple[int, ...], logprobs: tuple[TokenLogprobs, ...]) -> str:
        if not logprobs:
            text = self._detokenizer.push(ids)
            self._read += len(text)
            return text
        texts: list[str] = []
        for token_id, logprob in zip(ids, logprobs, strict=False):
            self._waiting.append(_Waiting(start=self._read, token=self._token_text(token_id, logprob.logprob, logprob.top)))
            text = self._detokenizer.push((token_id,))
            self._read += len(text)
            texts.append(text)
        return "".join(texts)

    def _due(self, *, everything: bool) -> tuple[TokenText, ...]:
        """Tokens of which some text has been shown. At the end all others too, unless a stop string cut them off."""
        due: list[TokenText] = []
        while self._waiting and (everything or self._waiting[0].start < self._shown):
            due.append(self._waiting.popleft().token)
        return tuple(due)

    def _token_text(self, token_id: int, logprob: float, top: tuple[tuple[int, float], ...] = ()) -> TokenText:
        spelled = self._tokenizer.token_bytes(token_id)
        others = tuple(self._token_text(other, its_logprob) for other, its_logprob in top)
        return TokenText(token_id=token_id, text=spelled.decode("utf-8", "replace"), bytes=spelled, logprob=logprob, top=others)

    def _usage(self) -> Usage:
        return Usage(prompt_tokens=self._prompt_tokens, cached_tokens=self._cached_tokens, completion_tokens=self._completion_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A token with log-probabilities whose text begins at `start`, in characters of the text as read."""

    start: int
    token: TokenText
