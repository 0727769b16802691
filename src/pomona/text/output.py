"""Engine steps in ids to events in words: text without stop strings, log-probabilities beside it, thoughts, calls, usage at the end."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pomona.core.generation import (
    Finished,
    FinishReason,
    GenerateEvent,
    GenerateRequest,
    PromptScored,
    ReasoningDelta,
    TextDelta,
    TokenLogprobs,
    TokenStep,
    TokenText,
    ToolCallDelta,
    ToolCallFinished,
    Usage,
)
from pomona.text.answers.plan import PLAIN, AnswerPlan
from pomona.text.answers.reader import AnswerReader
from pomona.text.detokenizer import make_detokenizer
from pomona.text.prompt import stop_token_ids
from pomona.text.stop_strings import StopStrings
from pomona.text.tokenizer import Tokenizer
from pomona.text.tools.dialect import Piece


class TextOutput:
    """The answer to one request. Feed it every step; when `finished`, close the token source, which cancels the row.

    Stop strings end the text of the answer only, never a thought or a call. `prompt_ids` are needed where the prompt is scored;
    `picture_tokens` of the prompt stand for pictures.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        request: GenerateRequest,
        prompt_tokens: int,
        *,
        plan: AnswerPlan = PLAIN,
        prompt_ids: Sequence[int] = (),
        picture_tokens: int = 0,
    ) -> None:
        self.finished = False
        self._tokenizer = tokenizer
        continues = request.messages is None or request.continue_last_message
        self._detokenizer = make_detokenizer(tokenizer, continues=continues, visible=plan.visible)
        self._reader = None if plan.plain else AnswerReader(plan)
        self._one_call = not plan.parallel
        self._stop_strings = request.stop
        self._stops = StopStrings(request.stop)
        self._ends = stop_token_ids(tokenizer, request, plan)
        self._end_texts = {tokenizer.special_tokens[stop]: stop for stop in request.stop if stop in tokenizer.special_tokens}
        self._prompt_tokens = prompt_tokens
        self._prompt_ids = prompt_ids
        self._picture_tokens = picture_tokens
        self._cached_tokens = 0
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._drafted_tokens = self._accepted_tokens = 0
        self._calls = 0
        self._read = 0
        self._shown = 0
        self._step_tokens = 0
        self._gap = False
        """The last that was read is no text: a thought or a call, or a mark of theirs."""
        self._waiting: deque[_Waiting] = deque()

    def push(self, step: TokenStep) -> list[GenerateEvent]:
        """The events of one step; none where all its text is held back, and none after the end."""
        if self.finished:
            return []
        if step.cached_tokens:
            self._cached_tokens = max(self._cached_tokens, step.cached_tokens)
        self._drafted_tokens += step.drafted_tokens
        self._accepted_tokens += step.accepted_tokens
        ids, reason = step.token_ids, step.finish_reason
        stop: str | None = None
        self._step_tokens = len(ids)
        if not self._ends.isdisjoint(ids):
            end = next(index for index, token_id in enumerate(ids) if token_id in self._ends)
            self._step_tokens = end + 1
            ids, reason, stop = ids[:end], "stop", self._end_texts.get(ids[end])
        self._completion_tokens += self._step_tokens
        if self._reader is None:
            events = self._events(self._read_ids(ids, step.logprobs), reason, stop)
        else:
            events = self._read_events(self._reader, ids, step.logprobs, reason, stop)
        return [self._scored(step.prompt_logprobs), *events] if step.prompt_logprobs else events

    def _events(self, text: str, reason: FinishReason | None, stop: str | None) -> list[GenerateEvent]:
        """Of an answer that is text and nothing else."""
        if reason is not None:
            text += self._detokenizer.finish()
        shown, matched = self._stops.push(text)
        if matched is not None:
            reason, stop = "stop", matched
        elif reason is not None:
            shown += self._stops.flush()
        self._shown += len(shown)
        logprobs = self._due(everything=reason is not None and matched is None) if self._waiting else ()
        events: list[GenerateEvent] = [TextDelta(text=shown, logprobs=logprobs)] if shown or logprobs else []
        if reason is not None:
            events.append(self._finish(reason, stop))
        return events

    def _read_events(
        self, reader: AnswerReader, ids: tuple[int, ...], logprobs: tuple[TokenLogprobs, ...], reason: FinishReason | None, stop: str | None
    ) -> list[GenerateEvent]:
        """Token by token, so that nothing depends on how they came."""
        events: list[GenerateEvent] = []
        for index, token_id in enumerate(ids):
            thought = reader.thinking
            text = self._detokenizer.push((token_id,))
            if logprobs:
                self._wait(token_id, logprobs[index], len(text))
            self._read += len(text)
            matched = self._add(reader.push(text) if text else [], events)
            if thought or reader.thinking:
                self._reasoning_tokens += 1
                self._gap = True
            if matched is not None or (self._one_call and self._calls):
                self._completion_tokens -= self._step_tokens - index - 1
                return [*events, self._finish("stop", matched)]
        if reason is None:
            return events
        text = self._detokenizer.finish()
        matched = self._add([*(reader.push(text) if text else ()), *reader.finish()], events)
        if matched is None:
            self._add_text(self._flushed(), events, everything=not self._gap)
        return [*events, self._finish(reason, stop) if matched is None else self._finish("stop", matched)]

    def _add(self, pieces: Sequence[Piece], events: list[GenerateEvent]) -> str | None:
        """Show pieces; the stop string that ends the text, if one does."""
        for piece in pieces:
            if isinstance(piece, TextDelta):
                shown, matched = self._stops.push(piece.text)
                self._add_text(shown, events)
                if matched is not None:
                    return matched
                continue
            self._add_text(self._flushed(), events)
            self._calls += isinstance(piece, ToolCallFinished)
            _append(piece, events)
            self._gap = True
            if self._one_call and self._calls:
                return None
        return None

    def _add_text(self, text: str, events: list[GenerateEvent], *, everything: bool = False) -> None:
        if text and self._gap:
            self._close_gap(text)
        self._shown += len(text)
        logprobs = self._due(everything=everything) if self._waiting else ()
        if text or logprobs:
            _append(TextDelta(text=text, logprobs=logprobs), events)

    def _close_gap(self, text: str) -> None:
        """`text` is the first behind a thought or a call. It is the end of what was read; tokens before it have no text to go with."""
        self._gap = False
        self._shown = self._read - len(text)
        while self._waiting and self._waiting[0].end <= self._shown:
            self._waiting.popleft()

    def _flushed(self) -> str:
        """What may no longer become a stop string, since something else than text follows."""
        held = self._stops.flush()
        if held:
            self._stops = StopStrings(self._stop_strings)
        return held

    def _wait(self, token_id: int, score: TokenLogprobs, length: int) -> None:
        token = self._token_text(token_id, score.logprob, score.top)
        self._waiting.append(_Waiting(start=self._read, end=self._read + length, token=token))

    def _read_ids(self, ids: tuple[int, ...], logprobs: tuple[TokenLogprobs, ...]) -> str:
        if not logprobs:
            text = self._detokenizer.push(ids)
            self._read += len(text)
            return text
        texts: list[str] = []
        for token_id, logprob in zip(ids, logprobs, strict=False):
            text = self._detokenizer.push((token_id,))
            self._wait(token_id, logprob, len(text))
            self._read += len(text)
            texts.append(text)
        return "".join(texts)

    def _due(self, *, everything: bool) -> tuple[TokenText, ...]:
        """Tokens of which some text has been shown. At the end all others too, unless a stop string cut them off."""
        due: list[TokenText] = []
        while self._waiting and (everything or self._waiting[0].start < self._shown):
            due.append(self._waiting.popleft().token)
        return tuple(due)

    def _scored(self, logprobs: tuple[TokenLogprobs, ...]) -> PromptScored:
        first, *rest = self._prompt_ids
        scored = tuple(self._token_text(token, score.logprob, score.top) for token, score in zip(rest, logprobs, strict=True))
        return PromptScored(first=self._tokenizer.token_text(first), rest=scored)

    def _token_text(self, token_id: int, logprob: float, top: tuple[tuple[int, float], ...] = ()) -> TokenText:
        spelled = self._tokenizer.token_bytes(token_id)
        others = tuple(self._token_text(other, its_logprob) for other, its_logprob in top)
        return TokenText(token_id=token_id, text=spelled.decode("utf-8", "replace"), bytes=spelled, logprob=logprob, top=others)

    def _finish(self, reason: FinishReason, stop: str | None) -> Finished:
        self.finished = True
        called = reason == "stop" and stop is None and self._calls > 0
        return Finished(
            reason="tool_calls" if called else reason,
            usage=Usage(
                prompt_tokens=self._prompt_tokens,
                picture_tokens=self._picture_tokens,
                cached_tokens=self._cached_tokens,
                completion_tokens=self._completion_tokens,
                reasoning_tokens=self._reasoning_tokens,
                drafted_tokens=self._drafted_tokens,
                accepted_tokens=self._accepted_tokens,
            ),
            stop_sequence=stop,
            warnings=self._reader.warnings if self._reader else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A token with log-probabilities whose text goes from `start` to `end`, in characters of the text as read."""

    start: int
    end: int
    token: TokenText


def _append(piece: Piece, events: list[GenerateEvent]) -> None:
    """Add a piece to the events of a step, joined to the last one where they are of one kind."""
    last = events[-1] if events else None
    match last, piece:
        case TextDelta(), TextDelta():
            events[-1] = TextDelta(text=last.text + piece.text, logprobs=last.logprobs + piece.logprobs)
        case ReasoningDelta(), ReasoningDelta():
            events[-1] = ReasoningDelta(text=last.text + piece.text)
        case ToolCallDelta(), ToolCallDelta() if last.index == piece.index:
            events[-1] = ToolCallDelta(index=last.index, arguments=last.arguments + piece.arguments)
        case _:
            events.append(piece)
